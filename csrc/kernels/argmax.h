// argmax: y = values[c] of the channel c with the greatest x, the first one of equals; or of regions, which may
// overlap: y = values[c] of the last c with x_c > 0 (a probability above a half), 0 where there is none.
//
// x       (C, rows, width) f32, any strides of channel and row, columns side by side
// values  (C) u8
// y       (rows, width) u8, any strides in elements
// bad     (rows) u8, or null: 1 where a row has a number that decides and is NaN or infinite: the greatest of a
// position
//         (NaN counts as greater than all), or any one of regions; else 0
// Exact. No workspace. Throws SHAPE if a size is negative or there is no channel or more than 256.
// Source: of the order of regions nnU-Net's regions_class_order.
#pragma once
#include <cstdint>

namespace covfast {

struct ArgmaxParams {
    const float* x;
    int64_t channels, rows, width;
    int64_t channel_stride, row_stride;  // of x, in elements
    const uint8_t* values;               // (C)
    bool regions;
    uint8_t* y;
    int64_t y_row_stride, y_stride;  // along rows and columns, in elements
    uint8_t* bad;                    // (rows) or null
};

struct Context;
void argmax(const ArgmaxParams& params, const Context& context);

}  // namespace covfast
