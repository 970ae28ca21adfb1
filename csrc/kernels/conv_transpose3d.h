// conv_transpose3d, the adjoint of a convolution: y[n, o, p] = bias[o] + sum over c, t and q with
// p = q stride - padding + t dilation of weight[c, o, t] * x[n, c, q]; c runs over the in_channels / groups channels of
// the group of o. 2-D is D = 1 with kernel[0] = 1.
//
// x       (n, in_channels, in_size) f32, contiguous
// weight  (in_channels, out_channels / groups, kernel) f32, contiguous: torch's order
// bias    (out_channels) f32, or null
// y       (n, out_channels, out_size) f32, contiguous; may not overlap x. out_size is that of output padding 0 or
//         larger by less than stride or dilation, whichever is larger
// Sums in f32: within taps * 2^-24 of the sum of |weight * x|. No workspace. The order of a sum depends on sizes alone.
// Throws SHAPE if sizes do not fit, VALUE_RANGE if a stride or dilation is below 1 or a padding below 0.
// Source: torch.nn.ConvTranspose3d.
#pragma once
#include <cstdint>

namespace covfast {

struct ConvTranspose3dParams {
    const float* x;       // (n, in_channels, in_size)
    const float* weight;  // (in_channels, out_channels / groups, kernel)
    const float* bias;    // (out_channels) or null
    float* y;             // (n, out_channels, out_size)
    int64_t n, in_channels, out_channels, groups;
    int64_t in_size[3], out_size[3];                        // (D, H, W)
    int64_t kernel[3], stride[3], dilation[3], padding[3];  // (D, H, W); padding is taken away on both sides
};

// (size - 1) stride - 2 padding + dilation (kernel - 1) + 1, to which an output padding adds.
int64_t conv_transpose_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding);

struct Context;
// Checks the arguments and runs on the context's backend.
void conv_transpose3d(const ConvTranspose3dParams& params, const Context& context);

}  // namespace covfast
