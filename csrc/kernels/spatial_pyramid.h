// spatial_pyramid: parallel dilated depthwise 3x3 convolutions of one image, summed up branch by branch, each sum gated
// by itself and mixed within its branch. With K branches and c_k = the convolution of dilation[k] and that padding:
//   d_1 = c_1, d_k = d_(k-1) + c_k,  gate_k = sigmoid(gate_weight[k] . d_k + gate_bias[k]),
//   y[k out_per_branch + o] = epilogue((1 + gate_k) sum over c of fuse_weight[k out_per_branch + o, c] d_k[c]).
//
// x              (m, in_size) f32, contiguous: no batch
// branch_weight  (branches, m, 3, 3) f32; an average pooling of x beside branch 0 is folded in (+ 1 / 9)
// gate_weight    (branches, m) f32;  gate_bias (branches) f32, or null
// fuse_weight    (branches * out_per_branch, m) f32
// y              (branches * out_per_branch, out_size) f32, contiguous; may not overlap x
// epilogue: bias and slope (branches * out_per_branch), the others like y, which may be `before` (kernels/epilogue.h)
// Sums in f32: within 9 m branches * 2^-24 of the sums of absolute products. No workspace. The order of a sum depends
// on sizes alone. Throws SHAPE if sizes do not fit or m is above kPyramidChannels, VALUE_RANGE if a stride or dilation
// is below 1 or the epilogue lacks an operand.
// Source: Qiu et al., MiniSeg, AAAI 2021, arXiv 2004.09750v3, attentive hierarchical spatial pyramid.
#pragma once
#include <cstdint>

#include "kernels/epilogue.h"

namespace covfast {

constexpr int64_t kPyramidBranches = 4;
constexpr int64_t kPyramidChannels = 128;  // so that a row of sums of all branches fits into a stack's scratch

struct SpatialPyramidParams {
    const float* x;              // (m, in_size)
    const float* branch_weight;  // (branches, m, 3, 3)
    const float* gate_weight;    // (branches, m)
    const float* gate_bias;      // (branches) or null
    const float* fuse_weight;    // (branches * out_per_branch, m)
    float* y;                    // (branches * out_per_branch, out_size)
    Epilogue epilogue;
    int64_t branches, m, out_per_branch;
    int64_t in_size[2], out_size[2];  // (H, W); out_size = (in_size - 1) / stride + 1
    int64_t dilation[kPyramidBranches];
    int64_t stride;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void spatial_pyramid(const SpatialPyramidParams& params, const Context& context);

}  // namespace covfast
