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

// One channel's part of an epilogue; pointers are those of the channel's plane.
struct PlaneEpilogue {
    float bias, slope;
    EpilogueKind kind;
    const float *before, *after, *other;
    float *total, *y;
};

// plane: index of the channel's first value in y.
inline PlaneEpilogue plane_epilogue(const Epilogue& e, int64_t channel, float* y, int64_t plane) {
    const auto at = [plane](const void* p) { return p == nullptr ? nullptr : static_cast<const float*>(p) + plane; };
    return {e.bias == nullptr ? 0.0f : e.bias[channel],
            e.slope == nullptr ? 0.0f : e.slope[channel],
            e.kind,
            at(e.before),
            at(e.after),
            at(e.other),
            e.total == nullptr ? nullptr : static_cast<float*>(e.total) + plane,
            y + plane};
}

// Finishes kVecs registers at position `at`; kFirst: the last of them has `n` lanes.
template <int kVecs, bool kFirst>
inline __attribute__((always_inline)) void finish(const PlaneEpilogue& e, int64_t at, Vec* v, int64_t n) {
    const auto get = [n](const float* p, int i) {
        return kFirst && i == kVecs - 1 ? load_first(p + i * kVecLanes, n) : load(p + i * kVecLanes);
    };
    const auto put = [n](float* p, int i, Vec value) {
        if (kFirst && i == kVecs - 1) {
            store_first(p + i * kVecLanes, value, n);
        } else {
            store(p + i * kVecLanes, value);
        }
    };
    for (int i = 0; i < kVecs; ++i) v[i] += e.bias;
    if (e.before != nullptr)
        for (int i = 0; i < kVecs; ++i) v[i] += get(e.before + at, i);
    if (e.kind == EpilogueKind::kLeaky) {
        for (int i = 0; i < kVecs; ++i) v[i] = leaky(v[i], fill(e.slope));
    } else if (e.kind == EpilogueKind::kSigmoid) {
        for (int i = 0; i < kVecs; ++i) v[i] = sigmoid_vec(v[i]);
    }
    if (e.after != nullptr)
        for (int i = 0; i < kVecs; ++i) v[i] += get(e.after + at, i);
    for (int i = 0; i < kVecs; ++i) put(e.y + at, i, v[i]);
    if (e.total != nullptr)
        for (int i = 0; i < kVecs; ++i) put(e.total + at, i, v[i] + get(e.other + at, i));
}

// n values of a row of sums.
inline void finish_row(const PlaneEpilogue& e, int64_t at, const float* sum, int64_t n) {
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes) {
        Vec v = load(sum + i);
        finish<1, false>(e, at + i, &v, kVecLanes);
    }
    if (i < n) {
        Vec v = load_first(sum + i, n - i);
        finish<1, true>(e, at + i, &v, n - i);
    }
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
