// The transforms of one tile of conv_winograd in one block of 16 channels: lanes are channels, so each is arithmetic on
// whole registers. Sizes along an axis: 6 in, 4 out (F(4, 3)) along H and W; along D 1 and 1, 4 and 2 or 6 and 4.
//
// A tile's 36 or 144 registers do not fit the register file, so a transform takes two passes over a buffer in L1: the
// first along D and W, row by row of H; the second along H. Positions, the results, are ordered (D, H, W).
#pragma once
#include "cpu/simd.h"
#include "kernels/blocked.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kIn = 6, kOut = 4;  // along H and W
constexpr float kA = 0.625f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;

constexpr int depth_in(int depth) { return depth == 1 ? 1 : depth + 2; }

// B^T of F(4, 3), the values at 0, a, -a and at b, -b, infinity: a row is the product of (x - point) over all others.
template <int kHalf>
inline __attribute__((always_inline)) void transform_in(const Vec (&d)[6], Vec (&v)[3]) {
    if constexpr (kHalf == 0) {
        const Vec even = d[4] - kB2 * d[2], odd = d[3] - kB2 * d[1];
        v[0] = d[4] - (kA2 + kB2) * d[2] + (kA2 * kB2) * d[0];
        v[1] = even + kA * odd, v[2] = even - kA * odd;
    } else {
        const Vec even = d[4] - kA2 * d[2], odd = d[3] - kA2 * d[1];
        v[0] = even + kB * odd, v[1] = even - kB * odd;
        v[2] = d[5] - (kA2 + kB2) * d[3] + (kA2 * kB2) * d[1];
    }
}

inline __attribute__((always_inline)) void transform_in6(Vec (&d)[6]) {
    Vec low[3], high[3];
    transform_in<0>(d, low);
    transform_in<1>(d, high);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) d[i] = low[i], d[3 + i] = high[i];
}

// B^T of F(2, 3), the values at 0, 1, -1, infinity.
template <int kHalf>
inline __attribute__((always_inline)) void transform_in(const Vec (&d)[4], Vec (&v)[4]) {
    v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[3] - d[1];
}

template <int kHalf>
inline __attribute__((always_inline)) void transform_in(const Vec (&d)[1], Vec (&v)[1]) {
    v[0] = d[0];
}

// A^T: the values at the points of a polynomial become its coefficients' sums.
inline __attribute__((always_inline)) void transform_out(const Vec (&m)[6], Vec (&y)[4]) {
    const Vec even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = kA * odd_a + kB * odd_b;
    y[2] = kA2 * even_a + kB2 * even_b;
    y[3] = m[5] + (kA2 * kA) * odd_a + (kB2 * kB) * odd_b;
}
inline __attribute__((always_inline)) void transform_out(const Vec (&m)[4], Vec (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
}
inline __attribute__((always_inline)) void transform_out(const Vec (&m)[1], Vec (&y)[1]) { y[0] = m[0]; }

// The first pass over row h: along D, of 6 values half, so that they and their sums fit the registers; then along W.
template <int kHalf, int kPlanes, int kSums>
inline __attribute__((always_inline)) void transform_row(const float* x, int64_t plane_step, Vec (*passed)[kIn][kIn],
                                                         int h) {
    Vec d[kSums][kIn];
#pragma GCC unroll 6
    for (int w = 0; w < kIn; ++w) {
        Vec line[kPlanes], sums[kSums];
#pragma GCC unroll 6
        for (int k = 0; k < kPlanes; ++k) line[k] = load(x + k * plane_step + w * kLanes);
        transform_in<kHalf>(line, sums);
#pragma GCC unroll 4
        for (int k = 0; k < kSums; ++k) d[k][w] = sums[k];
    }
#pragma GCC unroll 4
    for (int k = 0; k < kSums; ++k) {
        transform_in6(d[k]);
#pragma GCC unroll 6
        for (int w = 0; w < kIn; ++w) passed[kHalf * kSums + k][w][h] = d[k][w];
    }
}

// x: the tile's first voxel; planes and rows lie plane_step and row_step floats apart. Position i goes to v + i step.
template <int kDepth>
void transform_input(const float* x, int64_t plane_step, int64_t row_step, float* v, int64_t step) {
    constexpr int kPlanes = depth_in(kDepth), kSums = kDepth == 4 ? 3 : kPlanes;
    alignas(64) Vec passed[kPlanes][kIn][kIn];  // (D, W, H)
    for (int lane = 0; lane < kLanes; lane += kVecLanes) {
        for (int h = 0; h < kIn; ++h) {
            transform_row<0, kPlanes, kSums>(x + h * row_step + lane, plane_step, passed, h);
            if constexpr (kSums < kPlanes)
                transform_row<1, kPlanes, kSums>(x + h * row_step + lane, plane_step, passed, h);
        }
        for (int k = 0; k < kPlanes; ++k)
            for (int w = 0; w < kIn; ++w) {
                Vec line[kIn];
#pragma GCC unroll 6
                for (int h = 0; h < kIn; ++h) line[h] = passed[k][w][h];
                transform_in6(line);
#pragma GCC unroll 6
                for (int h = 0; h < kIn; ++h) store(v + ((k * kIn + h) * kIn + w) * step + lane, line[h]);
            }
    }
}

// Products m + i step of a tile to its sums, `lane` on: row(d, h, sums) gets each row of 4.
template <int kDepth, class Row>
inline __attribute__((always_inline)) void transform_output(const float* m, int64_t step, const Row& row) {
    constexpr int kPlanes = depth_in(kDepth);
    alignas(64) Vec passed[kDepth][kOut][kIn];  // (D, H, W)
    for (int w = 0; w < kIn; ++w) {
        Vec d[kDepth][kIn];
#pragma GCC unroll 6
        for (int h = 0; h < kIn; ++h) {
            Vec line[kPlanes], sums[kDepth];
#pragma GCC unroll 6
            for (int k = 0; k < kPlanes; ++k) line[k] = load(m + ((k * kIn + h) * kIn + w) * step);
            transform_out(line, sums);
#pragma GCC unroll 4
            for (int k = 0; k < kDepth; ++k) d[k][h] = sums[k];
        }
#pragma GCC unroll 4
        for (int k = 0; k < kDepth; ++k) {
            Vec sums[kOut];
            transform_out(d[k], sums);
#pragma GCC unroll 4
            for (int h = 0; h < kOut; ++h) passed[k][h][w] = sums[h];
        }
    }
    for (int k = 0; k < kDepth; ++k)
        for (int h = 0; h < kOut; ++h) {
            Vec sums[kOut];
            transform_out(passed[k][h], sums);
            row(k, h, sums);
        }
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
