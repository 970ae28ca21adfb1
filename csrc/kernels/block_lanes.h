// The 16 lanes of one voxel of a block in registers (1 of AVX-512, 2 of AVX2, 4 of SSE2), and how they are read and
// written as each Element. Only for files compiled per instruction set.
//
// bf16 is the upper half of an f32, rounded to nearest even; NaN stays NaN. kU8 is as in kernels/blocked.h.
#pragma once
#include <cstdint>

#include "cpu/simd.h"
#include "kernels/blocked.h"
#include "kernels/vec_math.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kLaneVecs = kLanes / kVecLanes;

typedef uint32_t VecBits __attribute__((vector_size(4 * kVecLanes)));
typedef int32_t VecInts __attribute__((vector_size(4 * kVecLanes)));
typedef uint16_t VecHalves __attribute__((vector_size(2 * kVecLanes)));
typedef uint8_t VecBytes __attribute__((vector_size(kVecLanes)));
typedef VecHalves VecHalvesAnywhere __attribute__((aligned(2), may_alias));
typedef VecBytes VecBytesAnywhere __attribute__((aligned(1), may_alias));

struct Lanes {
    Vec part[kLaneVecs];
};

#define COVFAST_EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < kLaneVecs; ++i)

inline Lanes operator+(Lanes a, Lanes b) {
    COVFAST_EACH_PART a.part[i] += b.part[i];
    return a;
}
inline Lanes operator-(Lanes a, Lanes b) {
    COVFAST_EACH_PART a.part[i] -= b.part[i];
    return a;
}
inline Lanes operator*(Lanes a, Lanes b) {
    COVFAST_EACH_PART a.part[i] *= b.part[i];
    return a;
}
inline Lanes operator/(Lanes a, Lanes b) {
    COVFAST_EACH_PART a.part[i] /= b.part[i];
    return a;
}
// c + a * b, in one rounding where the instruction set has it.
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) {
    COVFAST_EACH_PART c.part[i] += a.part[i] * b.part[i];
    return c;
}
inline Lanes fill_lanes(float v) {
    Lanes a;
    COVFAST_EACH_PART a.part[i] = fill(v);
    return a;
}
inline Lanes leaky(Lanes v, Lanes slope) {
    COVFAST_EACH_PART v.part[i] = leaky(v.part[i], slope.part[i]);
    return v;
}
// The greater of two; NaN stays and wins.
inline Lanes greatest(Lanes best, Lanes v) {
    COVFAST_EACH_PART best.part[i] = v.part[i] > best.part[i] || v.part[i] != v.part[i] ? v.part[i] : best.part[i];
    return best;
}
inline Lanes load_floats(const float* p) {
    Lanes a;
    COVFAST_EACH_PART a.part[i] = load(p + i * kVecLanes);
    return a;
}
inline void store_floats(float* p, Lanes v) { COVFAST_EACH_PART store(p + i * kVecLanes, v.part[i]); }

inline Lanes sigmoid(Lanes v) {
    COVFAST_EACH_PART v.part[i] = sigmoid_vec(v.part[i]);
    return v;
}

// The conversions that compilers make of generic vectors take several shuffles; these are one or two instructions.
inline Vec widen(VecHalves v) {
#if defined(__AVX512F__)
    return reinterpret_cast<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(v)), 16));
#elif defined(__AVX2__)
    return reinterpret_cast<Vec>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(v)), 16));
#else
    return reinterpret_cast<Vec>(__builtin_convertvector(v, VecBits) << 16);
#endif
}

inline VecHalves narrow(Vec v) {
#if defined(__AVX512BF16__)
    return reinterpret_cast<VecHalves>(_mm512_cvtneps_pbh(v));
#else
    const VecBits bits = reinterpret_cast<VecBits>(v);
    const VecBits nearest = bits + 0x7fff + (bits >> 16 & 1), kept = (v == v ? nearest : bits | 0x400000) >> 16;
#if defined(__AVX512F__)
    return reinterpret_cast<VecHalves>(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(kept)));
#elif defined(__AVX2__)
    const __m256i wide = reinterpret_cast<__m256i>(kept);
    return reinterpret_cast<VecHalves>(
        _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
#else
    return __builtin_convertvector(kept, VecHalves);
#endif
#endif
}

// Rounds to nearest even: 1.5 * 2^23 added leaves the whole number in the low bits. NaN becomes 0.
inline VecBytes quantise(Vec v, float inverse_scale) {
#if defined(__AVX512F__)
    const __m512 below = _mm512_min_ps(_mm512_set1_ps(127.0f), v * inverse_scale);  // NaN stays
    const __m128i whole = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(below));
    return reinterpret_cast<VecBytes>(_mm_xor_si128(whole, _mm_set1_epi8(-128)));
#else
    const Vec scaled = v * inverse_scale, low = fill(-128.0f), high = fill(127.0f);
    const Vec above = scaled > low ? scaled : low, inside = above < high ? above : high;
    const VecBits whole = reinterpret_cast<VecBits>(inside + 12582912.0f) + 128;
    return __builtin_convertvector(whole & 255, VecBytes);
#endif
}

inline Vec dequantise(VecBytes q, float scale) {
#if defined(__AVX512F__)
    const VecInts whole = reinterpret_cast<VecInts>(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(q)));
#else
    const VecInts whole = __builtin_convertvector(q, VecInts);
#endif
    return __builtin_convertvector(whole - 128, Vec) * scale;
}

// The lanes of voxel `at`, counted from `base` in whole voxels of one block. `scale` is read for kU8 alone.
template <Element kElement>
inline Lanes load_lanes(const void* base, int64_t at, float scale = 1.0f) {
    Lanes v;
    if constexpr (kElement == Element::kF32) {
        v = load_floats(static_cast<const float*>(base) + at * kLanes);
    } else if constexpr (kElement == Element::kBf16) {
        const uint16_t* p = static_cast<const uint16_t*>(base) + at * kLanes;
        COVFAST_EACH_PART v.part[i] = widen(*reinterpret_cast<const VecHalvesAnywhere*>(p + i * kVecLanes));
    } else {
        const uint8_t* p = static_cast<const uint8_t*>(base) + at * kLanes;
        COVFAST_EACH_PART
        v.part[i] = dequantise(*reinterpret_cast<const VecBytesAnywhere*>(p + i * kVecLanes), scale);
    }
    return v;
}

// The inverse of load_lanes; `inverse_scale` is read for kU8 alone.
template <Element kElement>
inline void store_lanes(void* base, int64_t at, Lanes v, float inverse_scale = 1.0f) {
    if constexpr (kElement == Element::kF32) {
        store_floats(static_cast<float*>(base) + at * kLanes, v);
    } else if constexpr (kElement == Element::kBf16) {
        uint16_t* p = static_cast<uint16_t*>(base) + at * kLanes;
        COVFAST_EACH_PART* reinterpret_cast<VecHalvesAnywhere*>(p + i * kVecLanes) = narrow(v.part[i]);
    } else {
        uint8_t* p = static_cast<uint8_t*>(base) + at * kLanes;
        COVFAST_EACH_PART* reinterpret_cast<VecBytesAnywhere*>(p + i * kVecLanes) = quantise(v.part[i], inverse_scale);
    }
}

#undef COVFAST_EACH_PART

}  // namespace
}  // namespace covfast::COVFAST_ISA
