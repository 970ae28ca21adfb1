// group_norm: y = (x - m) / sqrt(v + eps) * weight[c] + bias[c], with the mean m and the biased variance v of each
// image over the channels of one group and all positions. groups = channels is an instance norm.
//
// x     (n, channels, plane) f32, contiguous
// a, b  (channels) f32: weight and bias, or null: 1 and 0
// y     (n, channels, plane) f32, contiguous; may be x, may not overlap it otherwise
// m and v in f64, v about the mean of pieces; within some roundings of f32 of the greatest |y|. The same bits for any
// number of threads. Workspace: group_norm_workspace() floats, aligned to 8 bytes.
// Throws SHAPE if a size is negative or groups do not divide the channels, VALUE_RANGE if eps is not finite or below 0.
// Source: torch.nn.GroupNorm, and InstanceNorm3d without running statistics.
#pragma once
#include <cstdint>

namespace covfast {

struct GroupNormParams {
    const float* x;    // (n, channels, plane)
    const float* a;    // (channels) or null
    const float* b;    // (channels) or null
    float* y;          // (n, channels, plane)
    float* workspace;  // group_norm_workspace()
    int64_t n, channels, groups, plane;
    double eps;
};

constexpr int64_t kGroupNormPiece = 1 << 14;  // values whose mean and variance one item takes: 64 KiB, in L2

// Pieces of the values of one group of one image; static, as files of several instruction sets include this.
static constexpr int64_t group_norm_pieces(int64_t channels, int64_t groups, int64_t plane) {
    return (channels / groups * plane + kGroupNormPiece - 1) / kGroupNormPiece;
}

// Floats: two doubles a piece.
int64_t group_norm_workspace(int64_t n, int64_t channels, int64_t groups, int64_t plane);

struct Context;
// Checks the arguments and runs on the context's backend.
void group_norm(const GroupNormParams& params, const Context& context);

}  // namespace covfast
