// One output row of a convolution or a pooling: where a tap lies inside the input, and the sum of weighted taps over a
// tile of columns. Shared by conv3d_cpu.cpp, conv_transpose3d_cpu.cpp and pool3d_cpu.cpp; compiled once per instruction
// set.
//
// A tile of kTile output columns of kOut channels accumulates on the stack, in L1. The columns where all taps lie
// inside are done with the taps unrolled, so each accumulator is read and written once per K taps; the few columns at
// the borders are done tap by tap over that tap's own range, so no input is padded or copied.
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
inline void add_taps(float (*sum)[kTile], const float* __restrict x, int64_t stride, int64_t step, const float* weight,
                     int64_t weight_step, int64_t begin, int64_t end) {
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

constexpr int64_t kTaps = 8;  // of one piece of a kernel row

// A piece of a kernel row on a tile of columns: where each tap, and where all of them, lie inside the input row. The
// same for every row, so it is worked out once.
struct RowTaps {
    int64_t first, stride, dilation, padding, taps;
    Span all;
    Span tap[kTaps];
};

// Taps of a kernel row from `begin` on, at most kTaps, on the columns [first, first + n).
inline RowTaps row_taps(int64_t n_in, int64_t n_out, int64_t stride, int64_t dilation, int64_t padding, int64_t begin,
                        int64_t taps, int64_t first, int64_t n) {
    RowTaps r = {first, stride, dilation, padding - begin * dilation, least(kTaps, taps - begin), {0, n}, {}};
    for (int64_t k = 0; k < r.taps; ++k) {
        const Span span = inside(n_out, n_in, stride, k * dilation - r.padding);
        r.tap[k] = {most(0, span.begin - first), least(n, span.end - first)};
        r.all = {most(r.all.begin, r.tap[k].begin), least(r.all.end, r.tap[k].end)};
    }
    if (r.all.end <= r.all.begin || (r.taps != 3 && r.taps != 5)) r.all = {n, n};
    return r;
}

// `row` is the input row, `weight` the piece's first tap.
template <int kOut>
inline void add_row(float (*sum)[kTile], const float* row, const RowTaps& r, const float* weight, int64_t weight_step) {
    const float* origin = row + r.first * r.stride - r.padding;  // not read where it lies outside the row
    for (int64_t k = 0; k < r.taps; ++k) {
        const float* x = origin + k * r.dilation;
        const Span left = {r.tap[k].begin, least(r.tap[k].end, r.all.begin)};
        const Span right = {most(r.tap[k].begin, r.all.end), r.tap[k].end};
        if (left.begin < left.end) add_taps<kOut, 1>(sum, x, r.stride, 0, weight + k, weight_step, left);
        if (right.begin < right.end) add_taps<kOut, 1>(sum, x, r.stride, 0, weight + k, weight_step, right);
    }
    if (r.taps == 3) add_taps<kOut, 3>(sum, origin, r.stride, r.dilation, weight, weight_step, r.all);
    if (r.taps == 5) add_taps<kOut, 5>(sum, origin, r.stride, r.dilation, weight, weight_step, r.all);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
