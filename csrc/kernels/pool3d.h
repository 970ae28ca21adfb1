// pool3d: over the window of x at p stride - padding + t dilation, t in [0, kernel):
//   kMean  y[p] = (sum of x) / count. The count is the window's size inside x, or, with count_include_pad, inside x and
//          its padding (a window that ceil_mode lets hang over the end is cut there). Dilation 1.
//   kMax   y[p] = the greatest x; NaN where one is NaN, -infinity where the window holds none.
//
// x  (planes, in_size) f32, contiguous; planes = batch * channels
// y  (planes, out_size) f32, contiguous; may not overlap x
// A mean sums in f32, within taps * 2^-24 of the mean of |x|; where the window has 256 values or more in f64,
// within 2^-23. A maximum is exact. No workspace. 2-D is D = 1 with kernel[0] = 1.
// Throws SHAPE if sizes do not fit, VALUE_RANGE if a stride or dilation is below 1, a padding above half the window, or
// a mean dilated.
// Source: torch.nn.AvgPool3d and MaxPool3d, whose definition of ceil_mode this follows.
#pragma once
#include <cstdint>

namespace covfast {

enum class PoolKind : int32_t { kMean, kMax };

struct Pool3dParams {
    const float* x;  // (planes, in_size)
    float* y;        // (planes, out_size)
    int64_t planes;
    int64_t in_size[3], out_size[3];                        // (D, H, W)
    int64_t kernel[3], stride[3], dilation[3], padding[3];  // (D, H, W)
    bool ceil_mode, count_include_pad;
    PoolKind kind;
};

// Windows along one axis: as many as fit; with ceil_mode one more if they leave values over and it begins inside x.
int64_t pool_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding, bool ceil_mode);

struct Context;
// Checks the arguments and runs on the context's backend.
void pool3d(const Pool3dParams& params, const Context& context);

}  // namespace covfast
