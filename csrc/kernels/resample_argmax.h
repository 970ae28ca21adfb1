// resample_argmax: one plane of labels, resampled linearly from two planes of logits; no plane of floats of the
// output's size is ever written. With v[c] = the mix of `below` and `above` at (row[r], column[w]):
//   z = below + mix * (above - below);  along columns, then rows: a + f * (b - a)
//   y[r, w] = values[c] of the greatest v[c], the first one of equals; or of regions, which may overlap:
//   y[r, w] = values[c] of the last c with v[c] > 0, 0 where there is none.
//
// below   (C, height, width) f32, any strides of channel and row, columns side by side
// above   the same, or null with mix 0 (nearest along z, or a plane's own position)
// row     (out_rows) i64, first of two rows, 0 <= row <= height - 1; row_mix (out_rows) f32 in [0, 1], how much of the
//         next row, which at the last row is the row itself. column, column_mix (out_width) the same. Neither row nor
//         column may fall from one output to the next. lerp_table makes them.
// values  (C) u8
// y       (out_rows, out_width) u8, any strides in elements
// bad     (out_rows) u8, or null: 1 where a row has a number that decides and is NaN or infinite (as in argmax)
// round_to_half: v is rounded to half precision before it is compared, as nnU-Net stores its resampled logits
// v is within 3 * 2^-24 of the largest |x| of exact; labels differ only where two v lie that close. No workspace.
// Throws SHAPE if a size is negative or C is not in 1 to 256, VALUE_RANGE if a tap lies outside or falls.
#pragma once
#include <cstdint>
#include <vector>

namespace covfast {

struct ResampleArgmaxParams {
    const float *below, *above;          // (C, height, width)
    float mix;                           // how much of `above`, in [0, 1]
    int64_t channels, height, width;     // of the logits
    int64_t channel_stride, row_stride;  // of both planes, in elements
    int64_t out_rows, out_width;
    const int64_t* row;       // (out_rows)
    const float* row_mix;     // (out_rows)
    const int64_t* column;    // (out_width)
    const float* column_mix;  // (out_width)
    const uint8_t* values;    // (C)
    bool regions, round_to_half;
    uint8_t* y;
    int64_t y_row_stride, y_stride;  // along rows and columns, in elements
    uint8_t* bad;                    // (out_rows) or null
};

// Linear (order 1) or nearest (order 0) resampling of one axis: output o is the mix of `first` and the next one.
// t = (o + 0.5) * n_in / n_out - 0.5, edge values continue outside; order 0 takes floor(t + 0.5).
struct LerpTable {
    int64_t n_in = 0, n_out = 0;
    std::vector<int64_t> first;
    std::vector<float> mix;
};
LerpTable lerp_table(int64_t n_in, int64_t n_out, int order);

struct Context;
void resample_argmax(const ResampleArgmaxParams& params, const Context& context);

}  // namespace covfast
