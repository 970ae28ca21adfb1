// window_hu: y = (clamp(x, low, high) - low) / (high - low), reading a box of a strided volume.
//
// x  (D, H, W) i16 or f32 box, any strides in elements
// y  (D, H, W) f32, contiguous, in [0, 1]; may not overlap x. NaN gives 0.
// Exact to 1 ulp of f32. No workspace. Throws SHAPE if a size is negative, VALUE_RANGE unless low < high.
#pragma once
#include <cstdint>

namespace covfast {

struct WindowHuParams {
    const void* x;
    bool is_float;      // f32, else i16
    int64_t size[3];    // D, H, W of the box
    int64_t stride[3];  // of x, in elements
    float low, high;    // HU that become 0 and 1
    float* y;           // (D, H, W)
};

struct Context;
void window_hu(const WindowHuParams& params, const Context& context);

}  // namespace covfast
