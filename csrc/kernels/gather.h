// gather: y[c, p] = x[c, origin + q], q = p, or window - 1 - p along a flipped axis; `fill` where that lies outside x.
// Cuts a window out of a volume, mirrored for test-time augmentation, with what a network sees beyond the border.
//
// x  (C, D, H, W) f32, any strides in elements; a stride of 0 repeats
// y  (C, window) f32, contiguous; may not overlap x
// Exact. No workspace. Throws SHAPE if a size is negative.
#pragma once
#include <cstdint>

namespace covfast {

struct GatherParams {
    const float* x;
    int64_t channels;
    int64_t size[3];    // D, H, W of x
    int64_t stride[4];  // of x along C, D, H, W, in elements
    int64_t origin[3];  // the window's first voxel in x; it may lie outside
    int64_t window[3];
    bool flip[3];
    float fill;
    float* y;  // (C, window)
};

struct Context;
void gather(const GatherParams& params, const Context& context);

}  // namespace covfast
