// norm_blocked: the instance norm of group_norm.h in the blocked layout, what follows it included:
//   v = (x - m) / sqrt(var + eps) * weight[c] + bias[c];  v += before;  v = activation(v);  v += after;  y = v
// with the mean m and the biased variance var of each channel over all voxels.
//
// x         (blocks, plane, 16) of x_element: kF32 or kBf16
// y         (blocks, plane, 16) of y_element, kU8 with y_scale included; may be x where the elements are of one size,
//           may not overlap it otherwise
// stats     (parts, 16 blocks, 2) f32, sums and sums of squares over parts of the voxels, as conv_blocked and
//           conv_winograd leave them; or null: they are taken here, by one more pass over x
// weight, bias  (16 blocks) f32 or null: 1 and 0. A weight of 0 gives the bias, as it must where a lane has no channel
// epilogue  kind, slope, before and after; before and after are (blocks, plane, 16) of residual_element, kF32 or kBf16.
//           Its bias, other and total are not read
// m and var in f64, var = max(0, sum of squares / plane - m^2) where stats are given, so m^2 / var times their error;
// taken here, within 2^-20 of var. The same bits for any number of threads. A NaN makes its channel NaN.
// Workspace: norm_blocked_workspace() bytes, aligned to 8. Throws SHAPE, VALUE_RANGE.
// Source: torch.nn.InstanceNorm3d without running statistics.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/blocked.h"
#include "kernels/epilogue.h"

namespace covfast {

struct NormBlockedParams {
    const void* x;        // (blocks, plane, 16) of x_element
    void* y;              // (blocks, plane, 16) of y_element
    const float* stats;   // (parts, 16 blocks, 2) or null
    const float* weight;  // (16 blocks) or null
    const float* bias;    // (16 blocks) or null
    void* workspace;      // norm_blocked_workspace() bytes
    Epilogue epilogue;
    int64_t blocks, plane, parts;
    double eps;
    float y_scale;  // kU8 alone
    Element x_element, y_element, residual_element;
};

// Voxels of a part, where the sums are taken here: 128 KiB of f32, in L2.
constexpr int64_t kNormPart = 1 << 11;

size_t norm_blocked_workspace(int64_t blocks, int64_t plane, bool has_stats);

struct Context;
// Checks the arguments and runs on the context's backend.
void norm_blocked(const NormBlockedParams& params, const Context& context);

}  // namespace covfast
