// pointwise_depthwise: a 1x1 convolution without bias and the depthwise convolution that alone reads it, of one image:
//   m[c, p] = sum over i of mix_weight[c, i] x[i, p], with zeros outside the image,
//   y[c, q] = epilogue(sum over t of weight[c, t] m[c, q stride - padding + t]).
//
// x           (in_channels, in_size) f32, contiguous: no batch
// mix_weight  (channels, in_channels) f32, finite: zeros outside the image are mixed as well
// weight      (channels, kernel, kernel) f32
// y           (channels, out_size) f32, contiguous; may not overlap x
// epilogue: bias and slope (channels), the others like y, which may be `before` (kernels/epilogue.h)
// Sums in f32: within (in_channels + taps) * 2^-24 of the sum of absolute products. m is never in memory as a whole. No
// workspace. The order of a sum depends on sizes alone.
// Throws SHAPE if sizes do not fit or in_channels is above kMixedChannels, VALUE_RANGE if kernel or stride are not 1 to
// kDepthwiseKernel and 1 or 2, the padding is not 0 to kernel - 1, or the epilogue lacks an operand.
// Source: the downsampling and long-path blocks of Qiu et al., MiniSeg, AAAI 2021, arXiv 2004.09750v3.
#pragma once
#include <cstdint>

#include "kernels/epilogue.h"

namespace covfast {

constexpr int64_t kMixedChannels = 8;  // the rows of so many fit into a stack's scratch
constexpr int64_t kDepthwiseKernel = 5;

struct PointwiseDepthwiseParams {
    const float* x;           // (in_channels, in_size)
    const float* mix_weight;  // (channels, in_channels)
    const float* weight;      // (channels, kernel, kernel)
    float* y;                 // (channels, out_size)
    Epilogue epilogue;
    int64_t in_channels, channels;
    int64_t in_size[2], out_size[2];  // (H, W); out_size = floor((in_size + 2 padding - kernel) / stride) + 1
    int64_t kernel, stride, padding;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void pointwise_depthwise(const PointwiseDepthwiseParams& params, const Context& context);

}  // namespace covfast
