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
    float bias, slope;
    EpilogueKind kind;
    const float *before, *after, *other;
    float *total, *y;
};

// plane: index of the channel's first value in y.
inline PlaneEpilogue plane_epilogue(const Epilogue& e, int64_t channel, float* y, int64_t plane) {
    const auto at = [plane](const void* p) { return p == nullptr ? nullptr : static_cast<const float*>(p) + plane; };
    return {e.bias == nullptr ? 0.0f : e.bias[channel],
            e.kind == EpilogueKind::kLeaky ? e.slope[channel] : 1.0f,
            e.kind,
            at(e.before),
            at(e.after),
            at(e.other),
            e.total == nullptr ? nullptr : static_cast<float*>(e.total) + plane,
            y + plane};
}

// n values of a row of sums.
inline __attribute__((noinline)) void finish_row(const PlaneEpilogue& e, int64_t at, const float* sum, int64_t n) {
    for (int64_t i = 0; i < n; i += kVecLanes) {
        const int64_t lanes = n - i < kVecLanes ? n - i : kVecLanes, to = at + i;
        Vec v = load_first(sum + i, lanes) + e.bias;
        if (e.before != nullptr) v += load_first(e.before + to, lanes);
        if (e.kind == EpilogueKind::kLeaky) v = leaky(v, fill(e.slope));
        if (e.kind == EpilogueKind::kSigmoid) v = sigmoid_vec(v);
        if (e.after != nullptr) v += load_first(e.after + to, lanes);
        store_first(e.y + to, v, lanes);
        if (e.total != nullptr) store_first(e.total + to, v + load_first(e.other + to, lanes), lanes);
    }
}

// kVecs registers of sums, of which the first n lanes in all are positions of the image. Whole registers without a
// sigmoid stay in registers; the rest goes through memory, so that it costs the common case neither registers nor code.
template <int kVecs>
inline __attribute__((always_inline)) void finish(const PlaneEpilogue& e, int64_t at, const Vec* sum, int64_t n) {
    if (n < kVecs * kVecLanes || e.kind == EpilogueKind::kSigmoid) [[unlikely]] {
        float tile[kVecs * kVecLanes];
        for (int i = 0; i < kVecs; ++i) store(tile + i * kVecLanes, sum[i]);
        return finish_row(e, at, tile, n < kVecs * kVecLanes ? n : kVecs * kVecLanes);
    }
    Vec v[kVecs];
    const Vec bias = fill(e.bias), slope = fill(e.slope);
    for (int i = 0; i < kVecs; ++i) v[i] = sum[i] + bias;
    if (e.before != nullptr)
        for (int i = 0; i < kVecs; ++i) v[i] += load(e.before + at + i * kVecLanes);
    for (int i = 0; i < kVecs; ++i) v[i] = leaky(v[i], slope);
    if (e.after != nullptr)
        for (int i = 0; i < kVecs; ++i) v[i] += load(e.after + at + i * kVecLanes);
    for (int i = 0; i < kVecs; ++i) store(e.y + at + i * kVecLanes, v[i]);
    if (e.total != nullptr)
        for (int i = 0; i < kVecs; ++i) store(e.total + at + i * kVecLanes, v[i] + load(e.other + at + i * kVecLanes));
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
