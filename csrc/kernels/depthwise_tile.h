// A tile of one channel's outputs of a depthwise convolution, from input rows that lie in scratch with their zeros
// (kernels/padded_rows.h), by register tiles of 8 rows x 2 registers (kernels/depthwise_rows.h). Square kernels of 3
// and 5 share loads between rows. Only for files compiled per instruction set.
#pragma once
#include "kernels/depthwise_rows.h"
#include "kernels/padded_rows.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kMostTaps = 343;  // 7 x 7 x 7

struct DepthwiseTile {
    Conv3dParams p;
    PaddedTile padded;
    int64_t taps;
    int64_t offset[kMostTaps];
    // rows, columns: those inside the image; at: position of the first output in its plane.
    void (*sum)(const DepthwiseTile&, const float* scratch, const float* weight, const PlaneEpilogue& e, int64_t at,
                int64_t rows, int64_t columns);
};

// Adds a 5x5 kernel of stride 2 along H and W. phase: offset of the odd columns.
inline __attribute__((always_inline)) void add_5x5_stride_2(RowTile& sum, const float* x, int64_t row_pitch,
                                                            int64_t phase, const int64_t* column, const float* weight) {
#if defined(__AVX512F__)
    const float* odd = x + row_pitch;  // rows
    add_shifted<3, 1, 0, 1, 2>(sum, x, 2 * row_pitch, weight, 10, 2);
    add_shifted<3, 1, 0, 1>(sum, x + phase, 2 * row_pitch, weight + 1, 10, 2);
    add_shifted<2, 1, 0, 1, 2>(sum, odd, 2 * row_pitch, weight + 5, 10, 2);
    add_shifted<2, 1, 0, 1>(sum, odd + phase, 2 * row_pitch, weight + 6, 10, 2);
    (void)column;
#else
    add_window<5, 2, 1>(sum, x, row_pitch, column, weight);
    (void)phase;
#endif
}

// kK = 0: any kernel.
template <int kK, int kStride, int kDilation>
void sum_tile(const DepthwiseTile& tile, const float* scratch, const float* weight, const PlaneEpilogue& e, int64_t at,
              int64_t rows, int64_t columns) {
    const int64_t step = tile.p.stride[1] * tile.padded.row_pitch, width = tile.p.out_size[2];
    for (int64_t r = 0; r < rows; r += kTileRows)
        for (int64_t c = 0; c < columns; c += kTileColumns) {
            const int64_t here = at + r * width + c;
            prefetch_operands(e, here, width, least(kTileRows, rows - r), kTileColumns);
            RowTile sum = {};
            const float* x = scratch + r * step + c;
            if constexpr (kK == 0) {
                add_taps_of_rows(sum, x, step, tile.offset, weight, tile.taps);
            } else {
                for (int64_t kd = 0; kd < tile.p.kernel[0]; ++kd) {
                    const float *from = x + kd * tile.padded.plane_pitch, *w = weight + kd * kK * kK;
                    if constexpr (kK == 5 && kStride == 2) {
                        add_5x5_stride_2(sum, from, tile.padded.row_pitch, tile.padded.pitch, tile.offset, w);
                    } else {
                        add_window<kK, kStride, kDilation>(sum, from, tile.padded.row_pitch, tile.offset, w);
                    }
                }
            }
            if (r + kTileRows <= rows && c + kTileColumns <= columns && e.kind != EpilogueKind::kSigmoid) {
                finish_registers<kTileRows, kTileVecs>(&e, 0, here, width, sum);
                continue;
            }
            alignas(64) float sums[kTileRows][kTileColumns];
            store_tile(sum, sums[0], kTileColumns);
            finish_tile(e, here, width, sums[0], kTileColumns, least(kTileRows, rows - r),
                        least(kTileColumns, columns - c));
        }
}

// The largest tile whose input rows fit into `room` floats, in whole register tiles; false where none fits.
inline bool set_depthwise_tile(DepthwiseTile& tile, const Conv3dParams& p, int64_t room) {
    constexpr int64_t kMostRows = 16, kMostColumns = 256;
    tile.p = p, tile.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    if (tile.taps > kMostTaps) return false;
    const int64_t width = (p.out_size[2] + kTileColumns - 1) / kTileColumns * kTileColumns;
    const int64_t height = (p.out_size[1] + kTileRows - 1) / kTileRows * kTileRows;
    bool fits = false;
    for (int64_t columns = least(width, kMostColumns); !fits && columns >= kTileColumns; columns -= kTileColumns)
        for (int64_t rows = least(height, kMostRows); !fits && rows >= kTileRows; rows -= kTileRows) {
            tile.padded = padded_tile(p, rows, columns);
            fits = tile.padded.size <= room;
        }
    if (!fits) return false;
    for (int64_t t = 0; t < tile.taps; ++t)
        tile.offset[t] =
            tap_offset(p, tile.padded, t / p.kernel[2] / p.kernel[1], t / p.kernel[2] % p.kernel[1], t % p.kernel[2]);
    const int64_t k = p.kernel[1], stride = p.stride[1], dilation = p.dilation[1];
    tile.sum = sum_tile<0, 1, 1>;
    if (k != p.kernel[2]) return true;
    if (k == 3 && stride == 1 && dilation == 1) tile.sum = sum_tile<3, 1, 1>;
    if (k == 3 && stride == 2 && dilation == 1) tile.sum = sum_tile<3, 2, 1>;
    if (k == 5 && stride == 1 && dilation == 1) tile.sum = sum_tile<5, 1, 1>;
    if (k == 5 && stride == 2 && dilation == 1 && p.stride[2] == 2 && p.dilation[2] == 1) tile.sum = sum_tile<5, 2, 1>;
    return true;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
