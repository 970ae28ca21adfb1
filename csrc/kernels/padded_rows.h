// Input rows of a tile of outputs, copied into scratch with the zeros around the image: the loops over taps need no
// borders then, and find the rows in L1 or L2, free of the distance between planes, often a power of two whose lines
// would share one set of the cache. A stride along W is undone here: phase q of a row holds every stride-th column from
// q on, so that the columns of any tap are neighbours. Only for files compiled per instruction set.
#pragma once
#include "kernels/conv3d.h"
#include "kernels/planar_epilogue.h"
#include "kernels/row_taps.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kScratch = 24 << 10;  // floats, 96 KiB of the stack
constexpr int64_t kSlack = kVecLanes;   // floats after the last row, which its last store may touch

// Rounds up to whole cache lines.
inline int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

inline void zero_row(float* to, int64_t n) {
    Vec zero{};
    asm("" : "+m"(zero));  // or the compiler would call memset, which takes longer than most of these rows
    for (int64_t i = 0; i < n; i += kVecLanes) store(to + i, zero);
}

// Stores whole registers: up to kSlack floats after the last are touched.
inline void copy_row(float* to, const float* x, int64_t n) {
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes) store(to + i, load(x + i));
    if (i < n) store(to + i, load_first(x + i, n - i));
}

#if defined(__AVX512F__)
#define COVFAST_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define COVFAST_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX2__)
#define COVFAST_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define COVFAST_ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define COVFAST_EVEN 0, 2, 4, 6
#define COVFAST_ODD 1, 3, 5, 7
#endif

// Register i of both phases: even[i] = x[2 i], odd[i] = x[2 i + 1]; a and b are the registers around x[2 i].
inline void store_split(float* even, float* odd, Vec a, Vec b) {
    store(even, __builtin_shufflevector(a, b, COVFAST_EVEN));
    store(odd, __builtin_shufflevector(a, b, COVFAST_ODD));
}

#undef COVFAST_EVEN
#undef COVFAST_ODD

// The lanes of x[at .. at + kVecLanes) that lie in [0, n); the rest are 0.
inline Vec load_inside(const float* x, int64_t at, int64_t n) {
    const int64_t begin = most(0, -at), end = least(kVecLanes, n - at);
    if (begin >= end) return Vec{};
#if defined(__AVX512F__)
    const __mmask16 mask = static_cast<__mmask16>((0xffffu << begin) & (0xffffu >> (kVecLanes - end)));
    return (Vec)_mm512_maskz_loadu_ps(mask, x + at);
#else
    float lanes[kVecLanes] = {};
    for (int64_t i = begin; i < end; ++i) lanes[i] = x[at + i];
    return load(lanes);
#endif
}

// How the rows of a tile are copied: phase q of position j becomes x[first + j stride + q], 0 outside [0, n_in); a
// phase has `pitch` positions, whole lines. The registers of [begin, end) need nothing from outside.
struct PaddedRow {
    int64_t pitch, stride, n_in, first, begin, end;
};

inline PaddedRow padded_row(int64_t pitch, int64_t stride, int64_t n_in, int64_t first) {
    const int64_t before = first < 0 ? (stride - 1 - first) / stride : 0, within = most(0, n_in - first) / stride;
    const int64_t begin = least(pitch, (before + kVecLanes - 1) / kVecLanes * kVecLanes);
    return {pitch, stride, n_in, first, begin, most(begin, least(pitch, within / kVecLanes * kVecLanes))};
}

// Loads may cross cache lines, stores never do, which costs more.
inline __attribute__((noinline)) void copy_padded_row(float* to, const PaddedRow& row, const float* x) {
    const PaddedRow r = row;  // a copy, which no store of this function can change
    int64_t i = 0;
    if (r.stride == 1) {
        for (; i < r.begin; i += kVecLanes) store(to + i, load_inside(x, r.first + i, r.n_in));
        for (; i < r.end; i += kVecLanes) store(to + i, load(x + r.first + i));
        for (; i < r.pitch; i += kVecLanes) store(to + i, load_inside(x, r.first + i, r.n_in));
    } else if (r.stride == 2) {
        float* odd = to + r.pitch;
        const auto edge = [&] {
            const int64_t at = r.first + 2 * i;
            store_split(to + i, odd + i, load_inside(x, at, r.n_in), load_inside(x, at + kVecLanes, r.n_in));
        };
        for (; i < r.begin; i += kVecLanes) edge();
        for (const float* from = x + r.first; i < r.end; i += kVecLanes)
            store_split(to + i, odd + i, load(from + 2 * i), load(from + 2 * i + kVecLanes));
        for (; i < r.pitch; i += kVecLanes) edge();
    } else {
        for (; i < r.pitch * r.stride; ++i) {
            const int64_t at = r.first + i % r.pitch * r.stride + i / r.pitch;
            to[i] = at >= 0 && at < r.n_in ? x[at] : 0.0f;
        }
    }
}

// How a tile of `rows` x `columns` outputs of one plane of a convolution finds its inputs in scratch: for each tap
// along D in_rows rows of stride[2] phases of `pitch` floats.
struct PaddedTile {
    int64_t rows, columns, in_rows, pitch, row_pitch, plane_pitch, size;
};

// columns: whole registers, which scratch holds even where the image ends before.
inline PaddedTile padded_tile(const Conv3dParams& p, int64_t rows, int64_t columns) {
    PaddedTile t = {rows, columns, 0, 0, 0, 0, 0};
    t.in_rows = (rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
    t.pitch = whole_lines(columns + (p.kernel[2] - 1) * p.dilation[2] / p.stride[2]);
    t.row_pitch = t.pitch * p.stride[2];
    t.plane_pitch = t.in_rows * t.row_pitch;
    t.size = p.kernel[0] * t.plane_pitch;
    return t;
}

// Where a tap of the tile's first output lies.
inline int64_t tap_offset(const Conv3dParams& p, const PaddedTile& t, int64_t kd, int64_t kh, int64_t kw) {
    const int64_t column = kw * p.dilation[2];
    return kd * t.plane_pitch + kh * p.dilation[1] * t.row_pitch + column % p.stride[2] * t.pitch +
           column / p.stride[2];
}

// Copies what the tile at output (d, row, column) needs of one plane of x.
inline void fill_tile(float* to, const Conv3dParams& p, const PaddedTile& t, const float* x, int64_t d, int64_t row,
                      int64_t column) {
    const int64_t first_row = row * p.stride[1] - p.padding[1];
    const PaddedRow copied = padded_row(t.pitch, p.stride[2], p.in_size[2], column * p.stride[2] - p.padding[2]);
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
        const int64_t in_d = d * p.stride[0] - p.padding[0] + kd * p.dilation[0];
        for (int64_t i = 0; i < t.in_rows; ++i, to += t.row_pitch) {
            const int64_t h = first_row + i;
            if (in_d < 0 || in_d >= p.in_size[0] || h < 0 || h >= p.in_size[1]) {
                zero_row(to, t.row_pitch);
                continue;
            }
            copy_padded_row(to, copied, x + (in_d * p.in_size[1] + h) * p.in_size[2]);
        }
    }
}

// Asks for columns [first, end) of a row of n_in: it may come from beyond L2, and is too short for the hardware to
// foresee it.
inline void prefetch_columns(const float* row, int64_t first, int64_t end, int64_t n_in) {
    for (int64_t c = most(0, first); c < least(n_in, end); c += 16) __builtin_prefetch(row + c, 0, 2);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
