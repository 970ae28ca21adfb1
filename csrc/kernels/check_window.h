// The checks of ops that move a window over their input, the same for both layouts. Params: in_size, out_size, kernel,
// stride, dilation, padding of each axis. Not for files compiled per instruction set.
#pragma once
#include "core/error.h"
#include "kernels/conv3d.h"
#include "kernels/pool3d.h"

namespace covfast {

// Throws SHAPE, VALUE_RANGE as conv3d.
template <class Params>
void check_conv_window(const Params& p) {
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.kernel[a] >= 1, SHAPE, "x, weight: got size ", p.in_size[a],
                        " and kernel ", p.kernel[a], ", expected at least 1");
        COVFAST_REQUIRE(p.stride[a] >= 1 && p.dilation[a] >= 1 && p.padding[a] >= 0, VALUE_RANGE,
                        "stride, dilation, padding: got ", p.stride[a], ", ", p.dilation[a], ", ", p.padding[a],
                        ", expected at least 1, 1, 0");
        const int64_t fits = conv_out_size(p.in_size[a], p.kernel[a], p.stride[a], p.dilation[a], p.padding[a]);
        COVFAST_REQUIRE(fits >= 1 && p.out_size[a] == fits, SHAPE, "y: got size ", p.out_size[a], ", expected ", fits,
                        ", at least 1, for an input of ", p.in_size[a]);
    }
}

// Throws SHAPE, VALUE_RANGE as pool3d.
template <class Params>
void check_pool_window(const Params& p) {
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.kernel[a] >= 1, SHAPE, "x, kernel: got size ", p.in_size[a],
                        " and kernel ", p.kernel[a], ", expected at least 1");
        COVFAST_REQUIRE(p.dilation[a] >= 1 && (p.dilation[a] == 1 || p.kind == PoolKind::kMax), VALUE_RANGE,
                        "dilation: got ", p.dilation[a], ", expected 1, or more for a maximum");
        const int64_t half = (p.dilation[a] * (p.kernel[a] - 1) + 1) / 2;
        COVFAST_REQUIRE(p.stride[a] >= 1 && p.padding[a] >= 0 && p.padding[a] <= half, VALUE_RANGE,
                        "stride, padding: got ", p.stride[a], ", ", p.padding[a], ", expected at least 1 and 0 to ",
                        half);
        const int64_t fits =
            pool_out_size(p.in_size[a], p.kernel[a], p.stride[a], p.dilation[a], p.padding[a], p.ceil_mode);
        COVFAST_REQUIRE(fits >= 1 && p.out_size[a] == fits, SHAPE, "y: got size ", p.out_size[a], ", expected ", fits,
                        ", at least 1, for an input of ", p.in_size[a]);
    }
}

}  // namespace covfast
