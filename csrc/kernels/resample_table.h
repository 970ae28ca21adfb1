// Tables for resample_axis: which inputs each output is made of, and their weights.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/resample_axis.h"

namespace covfast {

// The table of one axis.
struct ResampleTable {
    int64_t n_in = 0, n_out = 0, taps = 0;
    std::vector<int64_t> first;
    std::vector<float> weight;
};

// Linear resampling with half-sample centres: output o lies at (o + 0.5) * n_in / n_out - 0.5. With `antialias`, a
// reduction widens the triangle to the output's spacing, as Pillow's BILINEAR and torch's antialias=True do; weights
// are renormalised at the border, so a constant stays constant.
ResampleTable linear_table(int64_t n_in, int64_t n_out, bool antialias);

}  // namespace covfast
