#include "kernels/gather.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void gather(const GatherParams& params, const Context& context) {
    COVFAST_REQUIRE(params.channels >= 0, SHAPE, "x: got ", params.channels, " channels, expected 0 or more");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(params.size[a] >= 0 && params.window[a] >= 0, SHAPE, "x, window: got sizes of ", params.size[a],
                        " and ", params.window[a], ", expected 0 or more");
    run(context, &Backend::gather, "gather", params);
}

}  // namespace covfast
