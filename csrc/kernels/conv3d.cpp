#include "kernels/conv3d.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"
#include "kernels/check_window.h"

namespace covfast {

int64_t conv_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding) {
    const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

void conv3d(const Conv3dParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.in_channels >= 1 && p.out_channels >= 1, SHAPE, "x: got n ", p.n, " with ",
                    p.in_channels, " to ", p.out_channels, " channels, expected at least one channel");
    COVFAST_REQUIRE(p.groups >= 1 && p.in_channels % p.groups == 0 && p.out_channels % p.groups == 0, SHAPE,
                    "groups: got ", p.groups, ", expected a divisor of ", p.in_channels, " and ", p.out_channels);
    check_conv_window(p);
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::conv3d, "conv3d", p);
}

}  // namespace covfast
