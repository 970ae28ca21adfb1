// Sums of one channel's taps for a register tile of kTileRows rows x kTileVecs registers of columns, from padded rows
// (kernels/padded_rows.h). A row of inputs is loaded once for each column of the kernel and serves every row of outputs
// that has a tap there: loads that cross cache lines, not products, would limit a depthwise convolution otherwise.
#pragma once
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

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

#if defined(__AVX512F__)

// Adds the taps of one column of the kernel in row i of the inputs, a shift of kShift floats; w: those taps.
template <int kH, int kDilation, int kShift>
inline __attribute__((always_inline)) void add_shifted_column(RowTile& sum, const Vec* row, int i, const Vec* w) {
    constexpr int kWhole = kShift / kVecLanes, kRest = kShift % kVecLanes;
    Vec v[kTileVecs];
#pragma GCC unroll 2
    for (int k = 0; k < kTileVecs; ++k) {
        v[k] = row[k + kWhole];
        if constexpr (kRest != 0)
            v[k] = (Vec)_mm512_alignr_epi32((__m512i)row[k + kWhole + 1], (__m512i)row[k + kWhole], kRest);
    }
#pragma GCC unroll 8
    for (int kh = 0; kh < kH; ++kh) {
        const int r = i - kh * kDilation;
        if (r < 0 || r >= kTileRows) continue;
#pragma GCC unroll 2
        for (int k = 0; k < kTileVecs; ++k) sum[r][k] += w[kh] * v[k];
    }
}

// The same as add_window for few taps, kH rows of them kDilation apart and one column for each shift: each register of
// inputs is loaded once, from a whole cache line, and shifted in registers. x: on a cache line, from which the shifts
// count; weight: the first tap, the others row_step and column_step apart.
template <int kH, int kDilation, int... kShifts>
inline __attribute__((always_inline)) void add_shifted(RowTile& sum, const float* x, int64_t row_pitch,
                                                       const float* weight, int row_step, int column_step) {
    constexpr int kColumns = sizeof...(kShifts), kShift[] = {kShifts...};
    constexpr int kLoads = (kShift[kColumns - 1] + kTileColumns + kVecLanes - 1) / kVecLanes;
    Vec w[kColumns][kH];
#pragma GCC unroll 4
    for (int kw = 0; kw < kColumns; ++kw)
#pragma GCC unroll 4
        for (int kh = 0; kh < kH; ++kh) w[kw][kh] = fill(weight[kh * row_step + kw * column_step]);
#pragma GCC unroll 32
    for (int i = 0; i < kTileRows + (kH - 1) * kDilation; ++i, x += row_pitch) {
        Vec row[kLoads];
#pragma GCC unroll 8
        for (int k = 0; k < kLoads; ++k) row[k] = load(x + k * kVecLanes);
        int kw = 0;
        (add_shifted_column<kH, kDilation, kShifts>(sum, row, i, w[kw++]), ...);
    }
}

#endif

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
