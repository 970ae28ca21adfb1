// Sums of one channel's taps for a register tile of kTileRows rows x kTileVecs registers of columns, from padded rows
// (kernels/padded_rows.h). A row of inputs is loaded once for each column of the kernel and serves every row of outputs
// that has a tap there: loads that cross cache lines, not products, would limit a depthwise convolution otherwise.
#pragma once
#include "cpu/simd.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kTileRows = kVecRegisters == 32 ? 8 : 4, kTileVecs = 2;
constexpr int kTileColumns = kTileVecs * kVecLanes;

typedef Vec RowTile[kTileRows][kTileVecs];

// Adds the taps of a kK x kK kernel; kStride and kDilation are those along H. x: the tile's first tap; column: offset
// of each column of taps; weight: (kK, kK).
template <int kK, int kStride, int kDilation>
inline __attribute__((always_inline)) void add_window(RowTile& sum, const float* x, int64_t row_pitch,
                                                      const int64_t* column, const float* weight) {
    for (int kw = 0; kw < kK; ++kw) {
        const float* at = x + column[kw];
        Vec w[kK];
#pragma GCC unroll 8
        for (int kh = 0; kh < kK; ++kh) w[kh] = fill(weight[kh * kK + kw]);
#pragma GCC unroll 64
        for (int i = 0; i <= (kTileRows - 1) * kStride + (kK - 1) * kDilation; ++i, at += row_pitch) {
            Vec v[kTileVecs];
#pragma GCC unroll 2
            for (int k = 0; k < kTileVecs; ++k) v[k] = load(at + k * kVecLanes);
#pragma GCC unroll 8
            for (int kh = 0; kh < kK; ++kh) {
                const int from = i - kh * kDilation;
                if (from < 0 || from % kStride != 0 || from / kStride >= kTileRows) continue;
#pragma GCC unroll 2
                for (int k = 0; k < kTileVecs; ++k) sum[from / kStride][k] += w[kh] * v[k];
            }
        }
    }
}

// Adds any taps, one by one. step: distance of the inputs of two rows of outputs.
inline __attribute__((always_inline)) void add_taps_of_rows(RowTile& sum, const float* x, int64_t step,
                                                            const int64_t* offset, const float* weight, int64_t taps) {
    for (int64_t t = 0; t < taps; ++t) {
        const float* at = x + offset[t];
        const Vec w = fill(weight[t]);
#pragma GCC unroll 8
        for (int r = 0; r < kTileRows; ++r, at += step)
#pragma GCC unroll 2
            for (int k = 0; k < kTileVecs; ++k) sum[r][k] += w * load(at + k * kVecLanes);
    }
}

// Stores a tile, rows `pitch` apart.
inline __attribute__((always_inline)) void store_tile(const RowTile& sum, float* to, int64_t pitch) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 2
        for (int k = 0; k < kTileVecs; ++k) store(to + r * pitch + k * kVecLanes, sum[r][k]);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
