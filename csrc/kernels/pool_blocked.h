// pool_blocked: the pooling of pool3d.h in the blocked layout.
//
// x  (blocks, in_size, 16) of `element`
// y  (blocks, out_size, 16) of `element`, of kU8 with the scale of x; may not overlap x
// A mean sums in f32, within taps * 2^-24 of the mean of |x|; where the window has 256 values or more within 2^-19.
// Rounded once to bf16 or u8. A maximum is exact; NaN wins. No workspace. 2-D is D = 1 with kernel[0] = 1.
// Throws SHAPE if sizes do not fit; VALUE_RANGE as pool3d, and if a window of a maximum holds no value: its -infinity
// would stand in lanes without a channel too, where zeros are expected.
#pragma once
#include <cstdint>

#include "kernels/blocked.h"
#include "kernels/pool3d.h"  // PoolKind, pool_out_size

namespace covfast {

struct PoolBlockedParams {
    const void* x;  // (blocks, in_size, 16)
    void* y;        // (blocks, out_size, 16)
    int64_t blocks;
    int64_t in_size[3], out_size[3];                        // (D, H, W)
    int64_t kernel[3], stride[3], dilation[3], padding[3];  // (D, H, W)
    bool ceil_mode, count_include_pad;
    PoolKind kind;
    Element element;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void pool_blocked(const PoolBlockedParams& params, const Context& context);

}  // namespace covfast
