// One item is one output row, up to kColumns columns at a time. The 2 (D = 1) or 4 input rows around it are mixed
// first, column by column of the input, into a row in L1, whose last sample is repeated once; then left and right
// neighbours are picked from that row and mixed. Where a size is doubled, two outputs share their samples, and
// registers are spread; where 16 neighbouring outputs need no more than 32 neighbouring inputs, as whenever an image
// grows, AVX-512 picks them out of two registers; else each is gathered. Where an image shrinks so far that the mixed
// row would be long, each output reads its samples itself. A nearest resize copies from one row.
#include "cpu/simd.h"
#include "kernels/planar_epilogue.h"
#include "kernels/resize3d.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kValuesPerBlock = 1 << 14;
constexpr int64_t kColumns = 512;
constexpr int64_t kMixed = 4 << 10;  // floats of all mixed rows
constexpr int64_t kMostRows = 16;  // mixed before the first is read: a load that spans two young stores waits for them

inline float mix(float a, float b, float fraction) { return a + fraction * (b - a); }
inline Vec mix(Vec a, Vec b, Vec fraction) { return a + fraction * (b - a); }

// The rows that an output row mixes: `at`, that below it, and both one plane further; how far.
struct Rows {
    const float* at;
    int64_t down, back;  // 0 where there is none
    float fh, fd;
};

Rows rows_of(const Resize3dParams& p, const float* x, int64_t od, int64_t oh) {
    const int64_t width = p.in_size[2], plane = p.in_size[1] * width, d = p.left[0][od], h = p.left[1][oh];
    return {x + d * plane + h * width, h + 1 < p.in_size[1] ? width : 0, d + 1 < p.in_size[0] ? plane : 0,
            p.fraction[1][oh], p.fraction[0][od]};
}

// One column of the mixed row.
inline float mix_column(const Rows& r, int64_t i) {
    const float near = mix(r.at[i], r.at[i + r.down], r.fh);
    return r.back == 0 ? near : mix(near, mix(r.at[i + r.back], r.at[i + r.back + r.down], r.fh), r.fd);
}

// `get` loads one register, or the part of it that exists.
template <class Get>
inline Vec mix_register(const Rows& r, int64_t i, Get get) {
    const float* a = r.at + i;
    const Vec near = mix(get(a), get(a + r.down), fill(r.fh));
    return r.back == 0 ? near : mix(near, mix(get(a + r.back), get(a + r.back + r.down), fill(r.fh)), fill(r.fd));
}

void mix_rows(const Rows& rows, int64_t first, int64_t n, float* mixed) {
    const Rows r = rows;  // a copy, which no store of this function can change
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes)
        store(mixed + i, mix_register(r, first + i, [](const float* p) { return load(p); }));
    const int64_t rest = n - i;
    if (rest > 0) store(mixed + i, mix_register(r, first + i, [rest](const float* p) { return load_first(p, rest); }));
}

// Output columns [begin, begin + n) and what they need of a row: columns [first, first + inputs), and where in it the
// left neighbour of each output lies.
struct Columns {
    int64_t begin, n, first, inputs;
    int64_t pitch, rows;     // of mixed rows, and how many of them are mixed at a time
    bool is_mixed, is_near;  // the inputs fit into a mixed row; 16 outputs' inputs into two registers
    bool is_doubled;         // from output 1 on, two neighbours share their samples
    alignas(64) int32_t left[kColumns];
};

void set_columns(Columns& c, const Resize3dParams& p, int64_t begin) {
    const int64_t* left = p.left[2] + begin;
    c.begin = begin, c.n = p.out_size[2] - begin < kColumns ? p.out_size[2] - begin : kColumns;
    c.first = left[0], c.inputs = left[c.n - 1] - c.first + 1;
    if (left[c.n - 1] + 1 < p.in_size[2]) ++c.inputs;
    c.pitch = (c.inputs + 1 + 31) / 16 * 16, c.rows = kMixed / c.pitch < kMostRows ? kMixed / c.pitch : kMostRows;
    c.is_mixed = c.rows > 0, c.is_near = true, c.is_doubled = c.is_mixed && c.n > 1;
    for (int64_t i = 0; c.is_mixed && i < c.n; ++i) c.left[i] = static_cast<int32_t>(left[i] - c.first);
    for (int64_t i = 0; c.is_mixed && i < c.n; i += 16)
        c.is_near = c.is_near && c.left[i + 15 < c.n ? i + 15 : c.n - 1] - c.left[i] < 31;
    for (int64_t i = 1; c.is_doubled && i < c.n; ++i) c.is_doubled = c.left[i] == c.left[1] + (i - 1) / 2;
}

#if defined(__AVX512F__)
#define COVFAST_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define COVFAST_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define COVFAST_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define COVFAST_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define COVFAST_LOW 0, 4, 1, 5
#define COVFAST_HIGH 2, 6, 3, 7
#endif

// The columns of a doubled size, as far as whole registers reach; returns the first that is left. Outputs 2 i and
// 2 i + 1 lie between samples i - 1, i and i, i + 1, counted from the left neighbour of output 1.
int64_t mix_doubled_columns(const Columns& c, const float* mixed, const float* fraction, float* __restrict y) {
    int64_t o = 0;
    const float* from = mixed + c.left[1];
    for (; o + 2 * kVecLanes <= c.n; o += 2 * kVecLanes, from += kVecLanes) {
        const Vec before = load(from - 1), here = load(from), after = load(from + 1);
        const Vec a_low = __builtin_shufflevector(before, here, COVFAST_LOW);
        const Vec b_low = __builtin_shufflevector(here, after, COVFAST_LOW);
        const Vec a_high = __builtin_shufflevector(before, here, COVFAST_HIGH);
        const Vec b_high = __builtin_shufflevector(here, after, COVFAST_HIGH);
        store(y + o, mix(a_low, b_low, load(fraction + o)));
        store(y + o + kVecLanes, mix(a_high, b_high, load(fraction + o + kVecLanes)));
    }
    return o;
}

#undef COVFAST_LOW
#undef COVFAST_HIGH

void mix_columns(const Columns& c, const float* mixed, const float* fraction, float* __restrict y) {
    int64_t o = c.is_doubled ? mix_doubled_columns(c, mixed, fraction, y) : 0;
    if (o > 0) y[0] = mix(mixed[c.left[0]], mixed[c.left[0] + 1], fraction[0]);  // the only one with its own left
#if defined(__AVX512F__)
    for (; c.is_near && o + 16 <= c.n; o += 16) {
        const float* from = mixed + c.left[o];
        const __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
        const __m512i left = _mm512_sub_epi32(_mm512_load_si512(c.left + o), _mm512_set1_epi32(c.left[o]));
        const __m512i right = _mm512_add_epi32(left, _mm512_set1_epi32(1));
        const Vec a = (Vec)_mm512_permutex2var_ps(low, left, high), b = (Vec)_mm512_permutex2var_ps(low, right, high);
        store(y + o, mix(a, b, load(fraction + o)));
    }
#endif
    for (; o < c.n; ++o) y[o] = mix(mixed[c.left[o]], mixed[c.left[o] + 1], fraction[o]);
}

// A row whose inputs do not fit into a mixed row.
void resize_long_row(const Resize3dParams& p, const Columns& c, const Rows& rows, float* __restrict y) {
    for (int64_t o = 0; o < c.n; ++o) {
        const int64_t l = p.left[2][c.begin + o], r = l + (l + 1 < p.in_size[2]);
        y[o] = mix(mix_column(rows, l), mix_column(rows, r), p.fraction[2][c.begin + o]);
    }
}

// Columns of the output rows [begin, end), at most c.rows of them where they are mixed.
void resize_rows(const Resize3dParams& p, const Columns& c, int64_t begin, int64_t end) {
    const int64_t in_count = p.in_size[0] * p.in_size[1] * p.in_size[2];
    alignas(64) float memory[kMixed + 3 * 16], *const mixed = memory + 16;  // a row may be read from -1 on
    for (int64_t r = begin; r < end; ++r) {
        const int64_t oh = r % p.out_size[1], od = r / p.out_size[1] % p.out_size[0];
        const Rows rows = rows_of(p, p.x + r / p.out_size[1] / p.out_size[0] * in_count, od, oh);
        if (!c.is_mixed) {
            resize_long_row(p, c, rows, p.y + r * p.out_size[2] + c.begin);
            continue;
        }
        float* to = mixed + (r - begin) * c.pitch;
        mix_rows(rows, c.first, c.inputs, to);
        to[c.inputs] = mix_column(rows, c.first + c.inputs - 1);
    }
    for (int64_t r = begin; c.is_mixed && r < end; ++r)
        mix_columns(c, mixed + (r - begin) * c.pitch, p.fraction[2] + c.begin, p.y + r * p.out_size[2] + c.begin);
}

void copy_row(const Resize3dParams& p, const float* x, int64_t od, int64_t oh, float* __restrict y) {
    const float* row = x + (p.left[0][od] * p.in_size[1] + p.left[1][oh]) * p.in_size[2];
    const int64_t* left = p.left[2];
    for (int64_t o = 0; o < p.out_size[2]; ++o) y[o] = row[left[o]];
}

void resize3d_range(const void* params, int64_t begin, int64_t end) {
    const Resize3dParams& p = *static_cast<const Resize3dParams*>(params);
    if (p.fraction[2] == nullptr) {
        const int64_t in_count = p.in_size[0] * p.in_size[1] * p.in_size[2];
        for (int64_t r = begin; r < end; ++r) {
            const int64_t oh = r % p.out_size[1], od = r / p.out_size[1] % p.out_size[0];
            copy_row(p, p.x + r / p.out_size[1] / p.out_size[0] * in_count, od, oh, p.y + r * p.out_size[2]);
        }
        return;
    }
    Columns columns;
    for (int64_t first = 0; first < p.out_size[2]; first += kColumns) {
        set_columns(columns, p, first);
        const int64_t step = columns.is_mixed ? columns.rows : end - begin;
        for (int64_t r = begin; r < end; r += step) resize_rows(p, columns, r, r + step < end ? r + step : end);
    }
}

}  // namespace

void resize3d(const Resize3dParams& p, const Exec& exec) {
    const int64_t rows = p.planes * p.out_size[0] * p.out_size[1], grain = kValuesPerBlock / p.out_size[2];
    exec.parallel_for(resize3d_range, &p, rows, grain > 0 ? grain : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
