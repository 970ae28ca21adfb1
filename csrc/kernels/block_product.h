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

// The tile that fills the registers.
#if defined(__AVX512F__)
constexpr int kTileBlocks = 2, kTilePixels = 14;
#elif defined(__AVX2__)
constexpr int kTileBlocks = 1, kTilePixels = 6;
#else
constexpr int kTileBlocks = 1, kTilePixels = 3;
#endif

typedef int32_t IntVec __attribute__((vector_size(4 * kVecLanes)));
typedef IntVec IntVecAnywhere __attribute__((aligned(4), may_alias));
typedef int32_t Word __attribute__((aligned(1), may_alias));
typedef float FloatWord __attribute__((aligned(1), may_alias));

inline IntVec load_words(const void* p) { return *static_cast<const IntVecAnywhere*>(p); }

// sum += products of one word of x with a register of weights.
template <Element kElement>
struct Product;

template <>
struct Product<Element::kF32> {
    using Sum = Vec;
    using Spread = Vec;
    static constexpr int kWords = 16;
    static Spread spread(const uint8_t* x) { return fill(*reinterpret_cast<const FloatWord*>(x)); }
    static Sum add(Sum sum, Spread x, IntVec w) { return sum + x * reinterpret_cast<Vec>(w); }
};

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

// memory: (kPixels, kBlocks, 16) f32; i32 of u8 products.
template <Element kElement, int kPixels, int kBlocks>
inline void store(const Sums<kElement, kPixels, kBlocks>& sums, void* memory) {
#pragma GCC unroll 32
    for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i)
                store(static_cast<float*>(memory) + (p * kBlocks + b) * kLanes + i * kVecLanes,
                      reinterpret_cast<Vec>(sums.at[p][b][i]));
}

// One word of every pixel; `x` gives the address of pixel p's word.
template <int kRow, Element kElement, int kPixels, int kBlocks, class Address>
inline __attribute__((always_inline)) void add_word(Sums<kElement, kPixels, kBlocks>& sums, const Address& x,
                                                    const uint8_t* w) {
    using P = Product<kElement>;
    IntVec weight[kBlocks][kVecs];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
        for (int i = 0; i < kVecs; ++i) weight[b][i] = load_words(w + 4 * (b * kLanes + i * kVecLanes));
#pragma GCC unroll 32
    for (int p = 0; p < kPixels; ++p) {
        const typename P::Spread spread = P::spread(x(p));
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i) sums.at[p][b][i] = P::add(sums.at[p][b][i], spread, weight[b][i]);
    }
}

// A block of input channels; pixel p lies kStep * p bytes after x. kWords: words of x, all of a block unless told.
template <int64_t kStep, int kRow, int kWords = 0, Element kElement, int kPixels, int kBlocks>
inline __attribute__((always_inline)) void add_block(Sums<kElement, kPixels, kBlocks>& sums, const void* x,
                                                     const void* w) {
    const uint8_t *from = static_cast<const uint8_t*>(x), *weight = static_cast<const uint8_t*>(w);
    asm("" : "+r"(from), "+r"(weight));
#pragma GCC unroll 16
    for (int k = 0; k < (kWords > 0 ? kWords : Product<kElement>::kWords); ++k)
        add_word<kRow>(
            sums, [&](int p) { return from + p * kStep + 4 * k; }, weight + k * kRow * kLanes * 4);
}

// The same with pixel p at x[p].
template <int kRow, int kWords = 0, Element kElement, int kPixels, int kBlocks>
inline __attribute__((always_inline)) void add_block(Sums<kElement, kPixels, kBlocks>& sums,
                                                     const uint8_t* const (&x)[kPixels], const void* w) {
    const uint8_t* weight = static_cast<const uint8_t*>(w);
    asm("" : "+r"(weight));
#pragma GCC unroll 16
    for (int k = 0; k < (kWords > 0 ? kWords : Product<kElement>::kWords); ++k)
        add_word<kRow>(
            sums, [&](int p) { return x[p] + 4 * k; }, weight + k * kRow * kLanes * 4);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
