// resample_axis: y[a, o, b] = sum_k weight[o, k] * x[a, first[o] + k, b]: a 1-D resampling along one axis of an array.
// Every separable resampling (linear, area, cubic, nearest) is this op with another table, once per axis.
//
// x       (outer, n_in, inner) f32, contiguous
// first   (n_out) i64, 0 <= first[o] and first[o] + taps <= n_in
// weight  (n_out, taps) f32
// y       (outer, n_out, inner) f32, contiguous; may not overlap x
// Sums in f32 in the order of k: within taps * 2^-24 of the sum of |weight * x|. No workspace.
// Throws SHAPE if a size is negative, VALUE_RANGE if a tap lies outside x.
#pragma once
#include <cstdint>
#include <vector>

namespace covfast {

struct ResampleAxisParams {
    const float* x;
    int64_t outer, n_in, inner, n_out, taps;
    const int64_t* first;
    const float* weight;
    float* y;
};

struct Context;
void resample_axis(const ResampleAxisParams& params, const Context& context);

}  // namespace covfast
