// spline_axis: resampling along one axis by B-splines of order 0 (nearest), 1 (linear) or 3 (cubic), with half-sample
// centres: output o lies at t = (o + 0.5) * n_in / n_out - 0.5, and edge values continue outside for ever.
//   y[a, o, b] = clip(sum_k weight[o, k] * c[a, first[o] + k, b], low, high), k = 0 to 3
// c is x itself (orders 0 and 1) or, with `prefilter` (order 3), the spline's coefficients: the cubic through x.
// Several axes are resampled one after the other, and clipped after the last.
//
// x       (outer, n_in, inner) f32, finite; rows of `inner` are contiguous, n_in of them side by side
// first   (n_out) i64, -2 <= first[o] <= n_in - 2: c runs two values past both ends
// weight  (n_out, 4) f32, of spline_table
// y       (outer, n_out, inner) f32. May be x where outer == 1; may not overlap it otherwise.
// Within 2^-21 of the largest |x| (recursion and sum in f32). No workspace: a group of columns is read whole before it
// is written. Throws SHAPE if a size is negative or n_in is 0 or above 30000, VALUE_RANGE if a tap lies outside.
// Source: Unser, Aldroubi and Eden, IEEE Trans. Signal Processing 41(2) 1993. The numbers of scipy.ndimage.zoom(
// grid_mode=True, mode="nearest") and skimage.transform.resize(mode="edge", anti_aliasing=False), which nnU-Net uses:
// those pad 12 edge values, we sum the endless edge in closed form, which differs by 1e-13.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

namespace covfast {

constexpr int64_t kSplineTaps = 4;
constexpr int64_t kMaxSplineLine = 30000;  // a column with its edges fits the stack of a thread's block

struct SplineAxisParams {
    const float* x;
    int64_t outer, n_in, inner, n_out;
    int64_t x_outer_stride, y_outer_stride;  // in elements; n_in * inner and n_out * inner where contiguous
    const int64_t* first;                    // (n_out)
    const float* weight;                     // (n_out, 4)
    bool prefilter;                          // order 3
    float low, high;                         // -infinity and infinity: no clipping
    float* y;
};

struct SplineTable {
    int64_t n_in = 0, n_out = 0;
    bool prefilter = false;
    std::vector<int64_t> first;
    std::vector<float> weight;
};

// order 0, 1 or 3. Order 0 takes floor(t + 0.5), as scipy does. Throws SHAPE, VALUE_RANGE.
SplineTable spline_table(int64_t n_in, int64_t n_out, int order);

struct Context;
void spline_axis(const SplineAxisParams& params, const Context& context);

// (outer, n_in, inner) to (outer, n_out, inner), both contiguous, by a table in host memory; x == y as above.
SplineAxisParams spline_params(const SplineTable& table, const float* x, int64_t outer, int64_t inner, float* y,
                               float low = -std::numeric_limits<float>::infinity(),
                               float high = std::numeric_limits<float>::infinity());

}  // namespace covfast
