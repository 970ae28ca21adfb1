// resize_blocked: the interpolation of resize3d.h in the blocked layout, by the same tables.
//
// x  (blocks, in_size, 16) of `element`
// y  (blocks, out_size, 16) of `element`, of kU8 with the scale of x; may not overlap x
// Mixed in f32 along D, then H, then W: within 2^-22 of the difference of neighbours, besides the tables' own error;
// rounded once to bf16 or u8. A nearest resize copies bits. No workspace. Throws SHAPE if a size is below 1.
#pragma once
#include <cstdint>

#include "kernels/blocked.h"

namespace covfast {

struct ResizeBlockedParams {
    const void* x;  // (blocks, in_size, 16)
    void* y;        // (blocks, out_size, 16)
    int64_t blocks;
    int64_t in_size[3], out_size[3];  // (D, H, W)
    const int64_t* left[3];           // (out_size[a]), rising, 0 <= left < in_size[a]: resize_axis (resize_axis.h)
    const float* fraction[3];         // (out_size[a]); null where one sample is copied
    Element element;
};

struct Context;
// Checks the sizes and runs on the context's backend.
void resize_blocked(const ResizeBlockedParams& params, const Context& context);

}  // namespace covfast
