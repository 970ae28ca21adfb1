#include "kernels/copy_channels.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void copy_channels(const CopyChannelsParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.plane >= 0 && p.count >= 0, SHAPE, "x: got n ", p.n, ", plane ", p.plane, ", count ",
                    p.count, ", expected sizes of 0 or more");
    COVFAST_REQUIRE(
        p.x_first >= 0 && p.x_first <= p.x_channels - p.count && p.y_first >= 0 && p.y_first <= p.y_channels - p.count,
        SHAPE, "channels: got ", p.count, " from ", p.x_first, " of ", p.x_channels, " to ", p.y_first, " of ",
        p.y_channels, ", expected channels that both have");
    run(context, &Backend::copy_channels, "copy_channels", p);
}

}  // namespace covfast
