// The product at the heart of every dense operation in the blocked layout: a tile of pixels by blocks of 16 output
// channels whose sums stay in registers while input channels pass by,
//
//   sums[p][b][lane] += sum over k of word(x of pixel p, k) * w[k][b][lane]
//
// A word is 32 bits of x, broadcast: one f32 channel, two bf16 or four u8; a block of x is kWords of them. w holds the
// matching words of 16 output channels, (kWords, kRow, 16) for each block of x, where kRow blocks of output channels
// lie side by side and the tile takes kBlocks of them from w on.
//
// Each broadcast feeds kBlocks registers and each weight kPixels: with 2 blocks and 14 pixels, 28 sums, 2 weights and a
// broadcast fill the 32 registers of AVX-512 and 16 loads feed 28 multiply-adds, well under the two loads a cycle that
// a core can do. 12 sums fit the 16 registers of AVX2, SSE2 gets 12 too.
//
// Use: Sums<...> s; clear(s); add_block(s, ...) for every tap and block of x; then read s.at[p][b] or store(s, memory).
// Indices of sums are constants once loops are unrolled, so a Sums that does not leave its function is registers.
// Sums are f32; of u8 products exact i32.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpu/simd.h"
#include "kernels/blocked.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kVecs = kLanes / kVecLanes;  // registers of a block

typedef int32_t IntVec __attribute__((vector_size(4 * kVecLanes)));
typedef IntVec IntVecAnywhere __attribute__((aligned(4), may_alias));
typedef int32_t Word __attribute__((aligned(1), may_alias));
typedef float FloatWord __attribute__((aligned(1), may_alias));

inline IntVec load_words(const void* p) { return *static_cast<const IntVecAnywhere*>(p); }

// Pairs of 16-bit numbers, multiplied and added to one 32-bit number: exact.
#if defined(__AVX512BW__)
inline IntVec multiply_pairs(IntVec a, IntVec b) { return (IntVec)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
inline IntVec multiply_pairs(IntVec a, IntVec b) { return (IntVec)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#elif defined(__SSE2__)
inline IntVec multiply_pairs(IntVec a, IntVec b) { return (IntVec)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#else
inline IntVec multiply_pairs(IntVec a, IntVec b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
#endif

// sum += products of a word of x, spread over a register, with a register of weights.
template <Element kElement>
struct Product;

template <>
struct Product<Element::kF32> {
    using Sum = Vec;
    using Spread = Vec;
    using Weight = Vec;
    static constexpr int kWords = 16;
    static Spread spread(const uint8_t* x) { return fill(*reinterpret_cast<const FloatWord*>(x)); }
    static Weight weight(const uint8_t* w) { return reinterpret_cast<Vec>(load_words(w)); }
    static Sum add(Sum sum, Spread x, Weight w) { return sum + x * w; }
};

template <>
struct Product<Element::kBf16> {
    using Sum = Vec;
    static constexpr int kWords = 8;
#if defined(__AVX512BF16__)
    using Spread = IntVec;
    using Weight = IntVec;
    static Spread spread(const uint8_t* x) { return *reinterpret_cast<const Word*>(x) - IntVec{}; }
    static Weight weight(const uint8_t* w) { return load_words(w); }
    static Sum add(Sum sum, Spread x, Weight w) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
#else
    struct Spread {
        Vec low, high;
    };
    using Weight = Spread;
    static Spread widen(IntVec pairs) {
        const IntVec low = pairs << 16, high = pairs & static_cast<int32_t>(0xffff0000);
        return {reinterpret_cast<Vec>(low), reinterpret_cast<Vec>(high)};
    }
    static Spread spread(const uint8_t* x) { return widen(*reinterpret_cast<const Word*>(x) - IntVec{}); }
    static Weight weight(const uint8_t* w) { return widen(load_words(w)); }
    static Sum add(Sum sum, Spread x, Weight w) { return (sum + x.low * w.low) + x.high * w.high; }
#endif
};

template <>
struct Product<Element::kU8> {
    using Sum = IntVec;
    static constexpr int kWords = 4;
#if defined(__AVX512VNNI__)
    using Spread = IntVec;
    using Weight = IntVec;
    static Spread spread(const uint8_t* x) { return *reinterpret_cast<const Word*>(x) - IntVec{}; }
    static Weight weight(const uint8_t* w) { return load_words(w); }
    static Sum add(Sum sum, Spread x, Weight w) {
        return (IntVec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
    }
#else
    // Bytes 0 and 2, and bytes 1 and 3, as 16-bit numbers.
    struct Spread {
        IntVec even, odd;
    };
    using Weight = Spread;
    typedef int16_t Shorts __attribute__((vector_size(4 * kVecLanes)));
    static Spread spread(const uint8_t* x) {
        const int32_t word = *reinterpret_cast<const Word*>(x);
        const IntVec even = (word & 0x00ff00ff) - IntVec{}, odd = (word >> 8 & 0x00ff00ff) - IntVec{};
        return {even, odd};
    }
    static Weight weight(const uint8_t* w) {
        const Shorts pairs = reinterpret_cast<Shorts>(load_words(w)), even = pairs << 8 >> 8, odd = pairs >> 8;
        return {reinterpret_cast<IntVec>(even), reinterpret_cast<IntVec>(odd)};
    }
    static Sum add(Sum sum, Spread x, Weight w) {
        return sum + multiply_pairs(x.even, w.even) + multiply_pairs(x.odd, w.odd);
    }
#endif
};

// The tile that fills the registers: kTileBlocks by tile_pixels(). Elements that are widened take two registers for
// each weight and word.
#if defined(__AVX512F__)
constexpr int kTileBlocks = 2, kTilePixels = 14;
#elif defined(__AVX2__)
constexpr int kTileBlocks = 1, kTilePixels = 6;
#else
constexpr int kTileBlocks = 1, kTilePixels = 3;
#endif
constexpr int tile_pixels(Element e) {
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
    return static_cast<void>(e), kTilePixels;
#elif defined(__AVX512F__)
    return e == Element::kF32 ? kTilePixels : 12;
#elif defined(__AVX2__)
    return e == Element::kBf16 ? 4 : kTilePixels;
#else
    return static_cast<void>(e), kTilePixels;
#endif
}

// Takes the sum where it is: else GCC computes the products of many words before it adds one, and spills. Not for the
// two additions a product of widened bf16 on AVX2, which are faster as GCC has them.
template <Element kElement>
inline __attribute__((always_inline)) void keep_order([[maybe_unused]] typename Product<kElement>::Sum& sum) {
#if defined(__AVX512F__)
    asm volatile("" : "+v"(sum));
#elif defined(__AVX2__)
    if constexpr (kElement != Element::kBf16) asm volatile("" : "+x"(sum));
#elif defined(__SSE2__)
    asm volatile("" : "+x"(sum));
#endif
}

template <Element kElement, int kPixels, int kBlocks>
struct Sums {
    typename Product<kElement>::Sum at[kPixels][kBlocks][kVecs];
};

template <Element kElement, int kPixels, int kBlocks>
inline void clear(Sums<kElement, kPixels, kBlocks>& sums) {
#pragma GCC unroll 32
    for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i) sums.at[p][b][i] = typename Product<kElement>::Sum{};
}

// memory: (kPixels, row, 16) f32, or i32 of u8 products; the tile's blocks lie at the first of `row`.
template <Element kElement, int kPixels, int kBlocks>
inline void store(const Sums<kElement, kPixels, kBlocks>& sums, void* memory, int64_t row = kBlocks) {
#pragma GCC unroll 32
    for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i)
                store(static_cast<float*>(memory) + (p * row + b) * kLanes + i * kVecLanes,
                      reinterpret_cast<Vec>(sums.at[p][b][i]));
}

// One word of every pixel; `x` gives the address of pixel p's word.
template <int kRow, Element kElement, int kPixels, int kBlocks, class Address>
inline __attribute__((always_inline)) void add_word(Sums<kElement, kPixels, kBlocks>& sums, const Address& x,
                                                    const uint8_t* w) {
    using P = Product<kElement>;
    typename P::Weight weight[kBlocks][kVecs];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
        for (int i = 0; i < kVecs; ++i) weight[b][i] = P::weight(w + 4 * (b * kLanes + i * kVecLanes));
#pragma GCC unroll 32
    for (int p = 0; p < kPixels; ++p) {
        const typename P::Spread spread = P::spread(x(p));
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i) {
                sums.at[p][b][i] = P::add(sums.at[p][b][i], spread, weight[b][i]);
                keep_order<kElement>(sums.at[p][b][i]);
            }
    }
}

// A block of input channels; pixel p lies kStep * p bytes after x. kWords: words of x, all of a block unless told.
template <int64_t kStep, int kRow, int kWords = 0, Element kElement, int kPixels, int kBlocks>
inline __attribute__((always_inline)) void add_block(Sums<kElement, kPixels, kBlocks>& sums, const void* x,
                                                     const void* w) {
    const uint8_t *from = static_cast<const uint8_t*>(x), *weight = static_cast<const uint8_t*>(w);
    asm("" : "+r"(from), "+r"(weight));  // else GCC carries words of x from tap to tap in registers that it spills
#pragma GCC unroll 16
    for (int k = 0; k < (kWords > 0 ? kWords : Product<kElement>::kWords); ++k)
        add_word<kRow>(sums, [&](int p) { return from + p * kStep + 4 * k; }, weight + k * kRow * kLanes * 4);
}

// The same with pixel p at x[p].
template <int kRow, int kWords = 0, Element kElement, int kPixels, int kBlocks>
inline __attribute__((always_inline)) void add_block(Sums<kElement, kPixels, kBlocks>& sums,
                                                     const uint8_t* const (&x)[kPixels], const void* w) {
    const uint8_t* weight = static_cast<const uint8_t*>(w);
    asm("" : "+r"(weight));  // as above
#pragma GCC unroll 16
    for (int k = 0; k < (kWords > 0 ? kWords : Product<kElement>::kWords); ++k)
        add_word<kRow>(sums, [&](int p) { return x[p] + 4 * k; }, weight + k * kRow * kLanes * 4);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
