#include "kernels/conv_transpose3d.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

int64_t conv_transpose_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding) {
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1;
}

void conv_transpose3d(const ConvTranspose3dParams& p, const Context& context) {
    COVFAST_REQUIRE(p.groups >= 1 && p.in_channels % p.groups == 0 && p.out_channels % p.groups == 0, SHAPE,
                    "groups: got ", p.groups, ", expected a divisor of ", p.in_channels, " and ", p.out_channels);
    COVFAST_REQUIRE(p.n >= 0 && p.in_channels >= 1 && p.out_channels >= 1, SHAPE, "x: got n ", p.n, " with ",
                    p.in_channels, " to ", p.out_channels, " channels, expected at least one channel");
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.kernel[a] >= 1, SHAPE, "x, weight: got size ", p.in_size[a],
                        " and kernel ", p.kernel[a], ", expected at least 1");
        COVFAST_REQUIRE(p.stride[a] >= 1 && p.dilation[a] >= 1 && p.padding[a] >= 0, VALUE_RANGE,
                        "stride, dilation, padding: got ", p.stride[a], ", ", p.dilation[a], ", ", p.padding[a],
                        ", expected at least 1, 1, 0");
        const int64_t least =
            conv_transpose_out_size(p.in_size[a], p.kernel[a], p.stride[a], p.dilation[a], p.padding[a]);
        const int64_t most = least + std::max(p.stride[a], p.dilation[a]) - 1;
        COVFAST_REQUIRE(p.out_size[a] >= std::max<int64_t>(1, least) && p.out_size[a] <= most, SHAPE, "y: got size ",
                        p.out_size[a], ", expected ", least, " to ", most, ", at least 1, for an input of ",
                        p.in_size[a]);
    }
    run(context, &Backend::conv_transpose3d, "conv_transpose3d", p);
}

}  // namespace covfast
