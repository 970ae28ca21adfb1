// One output row of a convolution or a pooling: where a tap lies inside the input, and the sum of weighted taps over a
// tile of columns. Shared by conv3d_cpu.cpp and avg_pool3d_cpu.cpp; compiled once per instruction set.
//
// A tile of kTile output columns of kOut channels accumulates on the stack, in L1. The columns where all taps lie inside
// are done with the taps unrolled, so each accumulator is read and written once per K taps; the few columns at the
// borders are done tap by tap over that tap's own range, so no input is padded or copied.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kTile = 256;  // columns: 4 channels of accumulators and a row of x take 5 KiB of L1

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

struct Span {
    int64_t begin, end;
};

// Outputs o in [0, n_out) whose tap o * stride + shift lies in [0, n_in).
inline Span inside(int64_t n_out, int64_t n_in, int64_t stride, int64_t shift) {
    const int64_t begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
    const int64_t last = n_in - 1 - shift;
    const int64_t end = last < 0 ? 0 : least(n_out, last / stride + 1);
    return {least(begin, end), end};
}

// sum[j][i] += sum over k of weight[j * weight_step + k] * x[i * stride + k * step], for i in [begin, end).
template <int kOut, int K, int kStride>
inline void add_taps(float (*sum)[kTile], const float* __restrict x, int64_t stride, int64_t step,
                     const float* weight, int64_t weight_step, int64_t begin, int64_t end) {
    if (kStride != 0) stride = kStride;
    float w[kOut][K];
    for (int j = 0; j < kOut; ++j)
        for (int k = 0; k < K; ++k) w[j][k] = weight[j * weight_step + k];
    for (int64_t i = begin; i < end; ++i) {
        float tap[K];
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) tap[k] = x[i * stride + k * step];
#pragma GCC unroll 4
        for (int j = 0; j < kOut; ++j) {
            float s = sum[j][i];
#pragma GCC unroll 8
            for (int k = 0; k < K; ++k) s += w[j][k] * tap[k];
            sum[j][i] = s;
        }
    }
}

template <int kOut, int K>
inline void add_taps(float (*sum)[kTile], const float* x, int64_t stride, int64_t step, const float* weight,
                     int64_t weight_step, Span span) {
    if (stride == 1) {
        add_taps<kOut, K, 1>(sum, x, 1, step, weight, weight_step, span.begin, span.end);
    } else if (stride == 2) {
        add_taps<kOut, K, 2>(sum, x, 2, step, weight, weight_step, span.begin, span.end);
    } else {
        add_taps<kOut, K, 0>(sum, x, stride, step, weight, weight_step, span.begin, span.end);
    }
}

// The taps of one kernel row along W.
struct RowTaps {
    int64_t n_in, n_out, stride, dilation, padding, taps;
};

// Columns [first, first + n) of one tap row. `row` is the input row, `weight` its first tap.
template <int kOut>
inline void add_row(float (*sum)[kTile], const float* row, const RowTaps& r, const float* weight, int64_t weight_step,
                    int64_t first, int64_t n) {
    Span all = {0, n};
    for (int64_t k = 0; k < r.taps; ++k) {
        const Span tap = inside(r.n_out, r.n_in, r.stride, k * r.dilation - r.padding);
        all = {most(all.begin, tap.begin - first), least(all.end, tap.end - first)};
    }
    if (all.end <= all.begin || (r.taps != 3 && r.taps != 5)) all = {n, n};
    const float* origin = row + first * r.stride - r.padding;  // not read where it lies outside the row
    for (int64_t k = 0; k < r.taps; ++k) {
        const Span tap = inside(r.n_out, r.n_in, r.stride, k * r.dilation - r.padding);
        const Span tile = {most(0, tap.begin - first), least(n, tap.end - first)};
        const float* x = origin + k * r.dilation;
        add_taps<kOut, 1>(sum, x, r.stride, 0, weight + k, weight_step, {tile.begin, least(tile.end, all.begin)});
        add_taps<kOut, 1>(sum, x, r.stride, 0, weight + k, weight_step, {most(tile.begin, all.end), tile.end});
    }
    if (r.taps == 3) add_taps<kOut, 3>(sum, origin, r.stride, r.dilation, weight, weight_step, all);
    if (r.taps == 5) add_taps<kOut, 5>(sum, origin, r.stride, r.dilation, weight, weight_step, all);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
