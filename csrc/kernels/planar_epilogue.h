// The epilogue (kernels/epilogue.h) of planar outputs: registers of neighbouring positions of one channel. Only for
// files compiled per instruction set.
#pragma once
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/simd.h"
#include "kernels/epilogue.h"
#include "kernels/vec_math.h"

namespace covfast::COVFAST_ISA {
namespace {

// The first n lanes, 1 <= n <= kVecLanes; the rest are 0.
inline Vec load_first(const float* p, int64_t n) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
    float lanes[kVecLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
#endif
}

inline void store_first(float* p, Vec v, int64_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// One channel's part of an epilogue; pointers are those of the channel's plane. No activation is a slope of 1.
struct PlaneEpilogue {
    float bias, slope, lowest;
    EpilogueKind kind;
    const float *before, *after, *other;
    float *total, *y;
};

// leaky() of cpu/simd.h with its lowest number, which a tile of few registers has no time to find.
inline Vec leaky(Vec v, Vec slope, Vec lowest) { return v > 0 ? v : (lowest > v ? lowest : v) * slope; }

// plane: index of the channel's first value in y.
inline PlaneEpilogue plane_epilogue(const Epilogue& e, int64_t channel, float* y, int64_t plane) {
    const auto at = [plane](const void* p) { return p == nullptr ? nullptr : static_cast<const float*>(p) + plane; };
    const float slope = e.kind == EpilogueKind::kLeaky ? e.slope[channel] : 1.0f;
    return {e.bias == nullptr ? 0.0f : e.bias[channel],
            slope,
            slope == 0 ? -__FLT_MAX__ : -__builtin_inff(),
            e.kind,
            at(e.before),
            at(e.after),
            at(e.other),
            e.total == nullptr ? nullptr : static_cast<float*>(e.total) + plane,
            y + plane};
}

// Finishes kRows x kVecs registers while they are registers: no lane may lie outside, and no sigmoid, which would cost
// the sums their registers. Row j is of the plane e[j * plane_step] at position at + j * step. Loads come before stores
// where registers allow: planes are often multiples of 4 KiB apart, and a load waits for an earlier store to an address
// that agrees in its last 12 bits.
template <int kRows, int kVecs>
inline __attribute__((always_inline)) void finish_registers(const PlaneEpilogue* e, int plane_step, int64_t at,
                                                            int64_t step, Vec (&v)[kRows][kVecs]) {
    const auto add = [at, step](int j, const float* plane, Vec* to) {
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) to[k] += load(plane + at + j * step + k * kVecLanes);
    };
    const auto put = [at, step](int j, float* plane, const Vec* from) {
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) store(plane + at + j * step + k * kVecLanes, from[k]);
    };
#pragma GCC unroll 8
    for (int j = 0; j < kRows; ++j) {
        const PlaneEpilogue& plane = e[j * plane_step];
        const Vec bias = fill(plane.bias), slope = fill(plane.slope), lowest = fill(plane.lowest);
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) v[j][k] += bias;
        if (plane.before != nullptr) add(j, plane.before, v[j]);
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) v[j][k] = leaky(v[j][k], slope, lowest);
        if (plane.after != nullptr) add(j, plane.after, v[j]);
    }
    if (e->total == nullptr) {
#pragma GCC unroll 8
        for (int j = 0; j < kRows; ++j) put(j, e[j * plane_step].y, v[j]);
        return;
    }
    constexpr int kGroup = kRows * kVecs <= 8 ? kRows : kRows % 2 == 0 ? kRows / 2 : 1;
#pragma GCC unroll 8
    for (int first = 0; first < kRows; first += kGroup) {
        Vec total[kGroup][kVecs];
#pragma GCC unroll 8
        for (int j = 0; j < kGroup; ++j) {
#pragma GCC unroll 4
            for (int k = 0; k < kVecs; ++k) total[j][k] = v[first + j][k];
            add(first + j, e[(first + j) * plane_step].other, total[j]);
        }
#pragma GCC unroll 8
        for (int j = 0; j < kGroup; ++j) {
            put(first + j, e[(first + j) * plane_step].y, v[first + j]);
            put(first + j, e[(first + j) * plane_step].total, total[j]);
        }
    }
}

// n values of a row of sums, register by register with any activation.
inline __attribute__((noinline)) void finish_any_row(const PlaneEpilogue& e, int64_t at, const float* sum, int64_t n) {
    for (int64_t i = 0; i < n; i += kVecLanes) {
        const int64_t lanes = n - i < kVecLanes ? n - i : kVecLanes, to = at + i;
        Vec v = load_first(sum + i, lanes) + e.bias;
        if (e.before != nullptr) v += load_first(e.before + to, lanes);
        v = e.kind == EpilogueKind::kSigmoid ? sigmoid_vec(v) : leaky(v, fill(e.slope), fill(e.lowest));
        if (e.after != nullptr) v += load_first(e.after + to, lanes);
        const Vec total = e.total == nullptr ? v : v + load_first(e.other + to, lanes);
        store_first(e.y + to, v, lanes);
        if (e.total != nullptr) store_first(e.total + to, total, lanes);
    }
}

// n values of a row of sums.
inline __attribute__((noinline)) void finish_row(const PlaneEpilogue& plane, int64_t at, const float* sum, int64_t n) {
    constexpr int kVecs = 4;
    const PlaneEpilogue e = plane;  // a copy, which no store of this function can change
    int64_t i = 0;
    for (; e.kind != EpilogueKind::kSigmoid && i + kVecs * kVecLanes <= n; i += kVecs * kVecLanes) {
        Vec v[1][kVecs];
        for (int k = 0; k < kVecs; ++k) v[0][k] = load(sum + i + k * kVecLanes);
        finish_registers<1, kVecs>(&e, 0, at + i, 0, v);
    }
    if (i < n) finish_any_row(e, at + i, sum + i, n - i);
}

// A tile of sums, rows `pitch` apart, onto rows `width` apart.
inline void finish_tile(const PlaneEpilogue& e, int64_t at, int64_t width, const float* sum, int64_t pitch,
                        int64_t rows, int64_t columns) {
    if (columns == width && columns == pitch) return finish_row(e, at, sum, rows * columns);
    for (int64_t r = 0; r < rows; ++r) finish_row(e, at + r * width, sum + r * pitch, columns);
}

// Asks for the operands of a tile of outputs early: they come from L2 or beyond. Its rows are `width` apart.
inline void prefetch_operands(const PlaneEpilogue& e, int64_t at, int64_t width, int64_t rows, int64_t columns) {
    const float* const operands[] = {e.before, e.after, e.other};
    for (const float* operand : operands)
        for (int64_t r = 0; operand != nullptr && r < rows; ++r)
            for (int64_t i = 0; i < columns; i += 16) __builtin_prefetch(operand + at + r * width + i, 0, 2);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
