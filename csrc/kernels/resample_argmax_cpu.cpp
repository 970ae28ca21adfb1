// One item is a block of output rows. Of each input row the two planes are mixed and resampled along columns once, into
// one of two slots that all output rows between it and its neighbour use: they hold C lines of a tile of columns each,
// and stay in the cache. Then an output vector is, per channel, two loads, a mix, a comparison; label and greatest
// value stay in registers.
//
//     planes z, z + 1 -> `mixed` (one channel's row) -> line[slot][c] -> rows -> label
//
// Along columns, a vector of outputs lies within two vectors of inputs unless the columns shrink by nearly a half: then
// AVX-512 picks them from two registers, else they are fetched one by one.
#include "kernels/half_body.h"
#include "kernels/label_lanes.h"
#include "kernels/resample_argmax.h"
#include "kernels/table.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 32;
constexpr int64_t kLineFloats = 20 << 10;  // both slots
constexpr int64_t kMaxTile = 1024, kSpan = 2048;

// What one block keeps on the stack.
struct Tile {
    int64_t begin, end, padded;           // columns, and their number as whole vectors
    int64_t from, span;                   // input columns
    int64_t in_slot[2];                   // the input row, -1: none
    alignas(64) int32_t index[kMaxTile];  // first input column, from the tile's
    alignas(64) float mix[kMaxTile];
    alignas(64) float mixed[kSpan + 2 * kVecLanes];
    alignas(64) float line[kLineFloats];  // (2, C, padded)
};

// As many columns from `begin` as fit.
void plan_tile(const ResampleArgmaxParams& p, int64_t begin, Tile& tile) {
    int64_t most = kLineFloats / (2 * p.channels) / kVecLanes * kVecLanes;
    most = most < kMaxTile ? most : kMaxTile;
    tile.begin = tile.end = begin, tile.from = p.column[begin];
    while (tile.end < p.out_width && tile.end - begin < most && p.column[tile.end] + 2 - tile.from <= kSpan) ++tile.end;
    const int64_t count = tile.end - begin, last = p.column[tile.end - 1];
    tile.padded = (count + kVecLanes - 1) / kVecLanes * kVecLanes;
    tile.span = (last + 2 < p.width ? last + 2 : p.width) - tile.from;
    for (int64_t w = 0; w < tile.padded; ++w) {
        tile.index[w] = static_cast<int32_t>(p.column[w < count ? begin + w : tile.end - 1] - tile.from);
        tile.mix[w] = w < count ? p.column_mix[begin + w] : 0;
    }
    tile.in_slot[0] = tile.in_slot[1] = -1;
}

// The tile's part of one row of one channel, of both planes, into tile.mixed; the last value is repeated once.
void mix_planes(const ResampleArgmaxParams& p, int64_t c, int64_t row, Tile& tile) {
    const int64_t at = c * p.channel_stride + row * p.row_stride + tile.from;
    const float *below = p.below + at, *above = p.above == nullptr ? nullptr : p.above + at;
    const bool has_next = row + 1 < p.height;  // its rows are asked for while these are mixed
    int64_t i = 0;
    for (; i + kVecLanes <= tile.span; i += kVecLanes) {
        const Vec a = load(below + i);
        if (has_next) {
            __builtin_prefetch(below + p.row_stride + i);
            if (above != nullptr) __builtin_prefetch(above + p.row_stride + i);
        }
        store(tile.mixed + i, above == nullptr ? a : a + p.mix * (load(above + i) - a));
    }
    for (; i < tile.span; ++i) tile.mixed[i] = above == nullptr ? below[i] : below[i] + p.mix * (above[i] - below[i]);
    tile.mixed[tile.span] = tile.mixed[tile.span - 1];
}

inline void fetch(const float* mixed, const int32_t* index, Vec& a, Vec& b) {
#ifdef __AVX512F__
    const int32_t base = index[0];
    if (index[kVecLanes - 1] - base <= 2 * kVecLanes - 2) {
        const __m512 low = _mm512_loadu_ps(mixed + base), high = _mm512_loadu_ps(mixed + base + kVecLanes);
        const __m512i from = _mm512_sub_epi32(_mm512_load_si512(index), _mm512_set1_epi32(base));
        a = _mm512_permutex2var_ps(low, from, high);
        b = _mm512_permutex2var_ps(low, _mm512_add_epi32(from, _mm512_set1_epi32(1)), high);
        return;
    }
#endif
    for (int i = 0; i < kVecLanes; ++i) a[i] = mixed[index[i]], b[i] = mixed[index[i] + 1];
}

// Input row `row`, all channels, into its slot.
void resample_line(const ResampleArgmaxParams& p, int64_t row, Tile& tile) {
    if (tile.in_slot[row % 2] == row) return;
    tile.in_slot[row % 2] = row;
    float* line = tile.line + row % 2 * p.channels * tile.padded;
    for (int64_t c = 0; c < p.channels; ++c, line += tile.padded) {
        mix_planes(p, c, row, tile);
        for (int64_t w = 0; w < tile.padded; w += kVecLanes) {
            Vec a, b;
            fetch(tile.mixed, tile.index + w, a, b);
            store(line + w, a + load(tile.mix + w) * (b - a));
        }
    }
}

inline Vec to_half_and_back(Vec v) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < kVecLanes; ++i) v[i] = half_to_float(half_from_float(v[i]));
    return v;
#endif
}

// One vector of labels between two lines, at column w of the tile.
template <bool kRegions, bool kHalf>
inline Lanes labels_of(const ResampleArgmaxParams& p, const float* a, const float* b, int64_t padded, float mix,
                       Lanes& bad) {
    Vec best{};
    Lanes label{};
    for (int64_t c = 0; c < p.channels; ++c) {
        const Vec first = load(a + c * padded);
        Vec v = first + mix * (load(b + c * padded) - first);
        if constexpr (kHalf) v = to_half_and_back(v);
        const Lanes value = Lanes{} + p.values[c];
        if constexpr (kRegions) {
            label = v > 0 ? value : label;
            bad |= not_finite(v);
        } else if (c == 0) {
            best = v, label = value;
        } else {
            const Lanes wins = beats(v, best);
            best = wins ? v : best;
            label = wins ? value : label;
        }
    }
    if constexpr (!kRegions) bad |= not_finite(best);
    return label;
}

template <bool kRegions, bool kHalf>
void output_row(const ResampleArgmaxParams& p, int64_t r, const Tile& tile) {
    const int64_t row = p.row[r], next = p.row_mix[r] == 0 || row + 1 == p.height ? row : row + 1;
    const float* a = tile.line + row % 2 * p.channels * tile.padded;
    const float* b = tile.line + next % 2 * p.channels * tile.padded;
    uint8_t* y = p.y + r * p.y_row_stride + tile.begin * p.y_stride;
    const int64_t count = tile.end - tile.begin;
    Lanes bad{};
    for (int64_t w = 0; w < count; w += kVecLanes) {
        const Lanes label = labels_of<kRegions, kHalf>(p, a + w, b + w, tile.padded, p.row_mix[r], bad);
        const Bytes bytes = __builtin_convertvector(label, Bytes);
        if (p.y_stride == 1 && w + kVecLanes <= count) {
            __builtin_memcpy(y + w, &bytes, sizeof bytes);
        } else {
            for (int i = 0; i < kVecLanes && w + i < count; ++i) y[(w + i) * p.y_stride] = bytes[i];
        }
    }
    if (p.bad == nullptr) return;
    for (int i = 0; i < kVecLanes; ++i)
        if (bad[i] != 0) p.bad[r] = 1;
}

template <bool kRegions, bool kHalf>
void rows_of(const void* params, int64_t begin, int64_t end) {
    const ResampleArgmaxParams& p = *static_cast<const ResampleArgmaxParams*>(params);
    if (p.bad != nullptr) __builtin_memset(p.bad + begin, 0, end - begin);
    Tile tile;
    for (int64_t w = 0; w < p.out_width; w = tile.end) {
        plan_tile(p, w, tile);
        for (int64_t r = begin; r < end; ++r) {
            resample_line(p, p.row[r], tile);
            if (p.row_mix[r] != 0 && p.row[r] + 1 < p.height) resample_line(p, p.row[r] + 1, tile);
            output_row<kRegions, kHalf>(p, r, tile);
        }
    }
}

}  // namespace

void resample_argmax(const ResampleArgmaxParams& params, const Exec& exec) {
    const bool half = params.round_to_half;
    exec.parallel_for(params.regions ? (half ? rows_of<true, true> : rows_of<true, false>)
                                     : (half ? rows_of<false, true> : rows_of<false, false>),
                      &params, params.out_rows, kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
