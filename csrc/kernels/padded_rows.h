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

// even[i] = x[2 i], odd[i] = x[2 i + 1] for i below n.
inline void split_row(float* even, float* odd, const float* x, int64_t n) {
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes) {
        const Vec a = load(x + 2 * i), b = load(x + 2 * i + kVecLanes);
        store(even + i, __builtin_shufflevector(a, b, COVFAST_EVEN));
        store(odd + i, __builtin_shufflevector(a, b, COVFAST_ODD));
    }
    for (; i < n; ++i) even[i] = x[2 * i], odd[i] = x[2 * i + 1];
}

#undef COVFAST_EVEN
#undef COVFAST_ODD

// Phase q of position j becomes x[first + j stride + q], 0 outside [0, n_in); a phase has `pitch` positions, whole
// lines. Rows are copied in ascending order: the last store of each may touch the next.
inline void copy_padded_row(float* to, int64_t pitch, int64_t stride, const float* x, int64_t n_in, int64_t first) {
    if (stride == 1) {
        const int64_t begin = least(pitch, most(0, -first)), end = most(begin, least(pitch, n_in - first));
        zero_row(to, begin);
        copy_row(to + begin, x + first + begin, end - begin);
        zero_row(to + end, pitch - end);
        return;
    }
    const auto edge = [=](int64_t i) {
        for (int64_t q = 0; q < stride; ++q) {
            const int64_t at = first + i * stride + q;
            to[q * pitch + i] = at >= 0 && at < n_in ? x[at] : 0.0f;
        }
    };
    if (stride == 2) {  // both phases are inside in [begin, end), none after end
        const int64_t begin = least(pitch, first >= 0 ? 0 : (1 - first) / 2);
        const int64_t end = most(begin, least(pitch, n_in < first ? 0 : (n_in - first) / 2));
        zero_row(to + end, pitch - end), zero_row(to + pitch + end, pitch - end);
        for (int64_t i = 0; i < begin; ++i) edge(i);
        split_row(to + begin, to + pitch + begin, x + first + 2 * begin, end - begin);
        if (end < pitch) edge(end);
        return;
    }
    for (int64_t i = 0; i < pitch; ++i) edge(i);
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
    const int64_t first_row = row * p.stride[1] - p.padding[1], first_column = column * p.stride[2] - p.padding[2];
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
        const int64_t in_d = d * p.stride[0] - p.padding[0] + kd * p.dilation[0];
        for (int64_t i = 0; i < t.in_rows; ++i, to += t.row_pitch) {
            const int64_t h = first_row + i;
            if (in_d < 0 || in_d >= p.in_size[0] || h < 0 || h >= p.in_size[1]) {
                zero_row(to, t.row_pitch);
                continue;
            }
            const float* from = x + (in_d * p.in_size[1] + h) * p.in_size[2];
            copy_padded_row(to, t.pitch, p.stride[2], from, p.in_size[2], first_column);
        }
    }
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
