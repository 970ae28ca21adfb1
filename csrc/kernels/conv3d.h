// conv3d: sum over c, t of weight[o, c, t] * x[n, g(o) C + c, p stride - padding + t dilation], with zeros outside x,
// becomes y[n, o, p] through the epilogue; g(o) is the group of o and C = in_channels / groups. 2-D is D = 1 with
// kernel[0] = 1.
//
// x       (n, in_channels, in_size) f32, contiguous
// weight  (out_channels, in_channels / groups, kernel) f32, contiguous: torch's order
// y       (n, out_channels, out_size) f32, contiguous; may not overlap x
// epilogue: bias and slope (out_channels), the others like y, which may be `before` (kernels/epilogue.h)
// Sums in f32: within taps * 2^-24 of the sum of |weight * x|. No workspace. The order of a sum depends on sizes alone.
// Throws SHAPE if sizes do not fit, VALUE_RANGE if a stride or dilation is below 1, a padding below 0, or the epilogue
// lacks an operand.
#pragma once
#include <cstdint>

#include "kernels/epilogue.h"

namespace covfast {

struct Conv3dParams {
    const float* x;       // (n, in_channels, in_size)
    const float* weight;  // (out_channels, in_channels / groups, kernel)
    float* y;             // (n, out_channels, out_size)
    Epilogue epilogue;
    int64_t n, in_channels, out_channels, groups;
    int64_t in_size[3], out_size[3];                        // (D, H, W)
    int64_t kernel[3], stride[3], dilation[3], padding[3];  // (D, H, W); padding on both sides
};

// floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1; below 1 where the kernel does not fit.
int64_t conv_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding);

struct Context;
// Checks the arguments and runs on the context's backend.
void conv3d(const Conv3dParams& params, const Context& context);

}  // namespace covfast
