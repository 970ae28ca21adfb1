// surface_scan and surface_pack. Both turn a row of labels into words of 64 bits, a bit a voxel, which is one compare
// for 64 bytes with AVX-512 and a few more elsewhere; the rest is counting bits. Rows of another type than bytes are
// compared into bytes first. The scan streams both maps once and is bound by memory; the pack reads one label's box.
#include <cstring>

#include "kernels/surface_body.h"
#include "kernels/table.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kSegment = 4096;  // voxels of a row that are turned into words at once
constexpr int64_t kSegmentWords = kSegment / 64;

// Bit i is set where byte[i] is not zero.
inline uint64_t nonzero_bits(const uint8_t* byte) {
#if defined(__AVX512BW__)
    const __m512i v = _mm512_loadu_si512(byte);
    return _mm512_test_epi8_mask(v, v);
#elif defined(__AVX2__)
    const __m256i zero = _mm256_setzero_si256();
    const auto zeros = [&](int at) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(byte + at));
        return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, zero)));
    };
    return ~(uint64_t(zeros(0)) | uint64_t(zeros(32)) << 32);
#elif defined(__SSE2__)
    uint64_t zeros = 0;
    for (int at = 0; at < 64; at += 16) {
        const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(byte + at));
        zeros |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())))) << at;
    }
    return ~zeros;
#else
    uint64_t bits = 0;
    for (int i = 0; i < 64; ++i) bits |= uint64_t(byte[i] != 0) << i;
    return bits;
#endif
}

// Bit i is set where byte[i] == value; n <= 64.
inline uint64_t equal_bits(const uint8_t* byte, int64_t n, uint8_t value) {
    const uint64_t in = n < 64 ? (uint64_t(1) << n) - 1 : ~uint64_t(0);
#if defined(__AVX512BW__)
    const __m512i wanted = _mm512_set1_epi8(static_cast<char>(value));
    return _mm512_mask_cmpeq_epi8_mask(in, _mm512_maskz_loadu_epi8(in, byte), wanted);
#else
    uint8_t differs[64];
    if (n == 64) {
        for (int i = 0; i < 64; ++i) differs[i] = byte[i] ^ value;
    } else {
        for (int64_t i = 0; i < n; ++i) differs[i] = byte[i] ^ value;
        for (int64_t i = n; i < 64; ++i) differs[i] = 1;
    }
    return ~nonzero_bits(differs) & in;
#endif
}

template <class T>
uint64_t byte_bits(const T* row, int64_t n, T value) {
    return equal_bits(reinterpret_cast<const uint8_t*>(row), n, static_cast<uint8_t>(value));
}

uint64_t byte_bits(const BoolByte* row, int64_t n, BoolByte value) {
    const uint64_t in = n < 64 ? (uint64_t(1) << n) - 1 : ~uint64_t(0);
    const uint64_t is_false = equal_bits(&row->byte, n, 0);
    return value.byte != 0 ? in & ~is_false : is_false;
}

// Whether memory is zero all over.
inline bool is_blank(const char* memory, int64_t bytes) {
    uint64_t any = 0;
    int64_t at = 0;
    for (; at + 8 <= bytes; at += 8) {
        uint64_t word;
        std::memcpy(&word, memory + at, 8);
        any |= word;
    }
    for (; at < bytes; ++at) any |= static_cast<uint8_t>(memory[at]);
    return any == 0;
}

// out[w] bit i = row[64 w + i] is one of the values; n <= kSegment.
template <class T>
void match_row(const T* row, int64_t n, const int64_t* values, int64_t value_count, uint64_t* out) {
    for (int64_t at = 0; at < n; at += 64) {
        const int64_t rest = n - at < 64 ? n - at : 64;
        uint8_t hit[64] = {};
        uint64_t bits = 0;
        for (int64_t v = 0; v < value_count; ++v) {
            T value;
            if (!as_label(values[v], value)) continue;
            if constexpr (sizeof(T) == 1) {
                bits |= byte_bits(row + at, rest, value);
            } else if (rest == 64) {
                for (int64_t i = 0; i < 64; ++i) hit[i] |= row[at + i] == value;
            } else {
                for (int64_t i = 0; i < rest; ++i) hit[i] |= row[at + i] == value;
            }
        }
        out[at / 64] = sizeof(T) == 1 ? bits : nonzero_bits(hit);
    }
}

using MatchRow = void (*)(const void* row, int64_t n, const int64_t* values, int64_t value_count, uint64_t* out);

template <class T>
void match_any(const void* row, int64_t n, const int64_t* values, int64_t value_count, uint64_t* out) {
    match_row(static_cast<const T*>(row), n, values, value_count, out);
}

template <class T>
bool has_fraction(const void* row, int64_t n) {
    bool found = false;
    for (int64_t i = 0; i < n; ++i) found |= !is_whole(static_cast<const T*>(row)[i]);
    return found;
}

MatchRow match_for(LabelType type) {
    switch (type) {
        case LabelType::kBool:
            return match_any<BoolByte>;
        case LabelType::kU8:
            return match_any<uint8_t>;
        case LabelType::kI8:
            return match_any<int8_t>;
        case LabelType::kU16:
            return match_any<uint16_t>;
        case LabelType::kI16:
            return match_any<int16_t>;
        case LabelType::kU32:
            return match_any<uint32_t>;
        case LabelType::kI32:
            return match_any<int32_t>;
        case LabelType::kU64:
            return match_any<uint64_t>;
        case LabelType::kI64:
            return match_any<int64_t>;
        case LabelType::kF32:
            return match_any<float>;
        case LabelType::kF64:
            return match_any<double>;
    }
    return nullptr;
}

// A map, read along z in segments without gaps.
class Rows {
public:
    explicit Rows(const LabelMap& map) : map_(map), match_(match_for(map.type)), item_(label_bytes(map.type)) {}

    // n <= kSegment labels from (x, y, z): where they lie, or copied together if they lie apart. Valid until the next.
    const void* segment(int64_t x, int64_t y, int64_t z, int64_t n) {
        const char* from = static_cast<const char*>(map_.data) +
                           (x * map_.stride[0] + y * map_.stride[1] + z * map_.stride[2]) * item_;
        if (map_.stride[2] == 1) return from;
        if (item_ == 1) return gather<1>(from, n);
        if (item_ == 2) return gather<2>(from, n);
        return item_ == 4 ? gather<4>(from, n) : gather<8>(from, n);
    }

    void match(const void* segment, int64_t n, const int64_t* values, int64_t count, uint64_t* out) const {
        match_(segment, n, values, count, out);
    }
    bool is_background(const void* segment, int64_t n) const {
        return is_blank(static_cast<const char*>(segment), n * item_);
    }
    bool is_fractional(const void* segment, int64_t n) const {
        if (map_.type == LabelType::kF32) return has_fraction<float>(segment, n);
        return map_.type == LabelType::kF64 && has_fraction<double>(segment, n);
    }

private:
    // By bytes: what is copied here is read as the map's own type.
    template <int kBytes>
    const void* gather(const char* from, int64_t n) {
        for (int64_t i = 0; i < n; ++i) std::memcpy(gathered_ + i * kBytes, from + i * map_.stride[2] * kBytes, kBytes);
        return gathered_;
    }

    const LabelMap& map_;
    const MatchRow match_;
    const int64_t item_;  // bytes
    alignas(64) uint8_t gathered_[kSegment * 8];
};

// Adds one row's words of both masks to the tally.
void tally_words(const uint64_t* truth, const uint64_t* prediction, int64_t words, int64_t y, int64_t z0,
                 SurfaceTally& tally) {
    uint64_t any = 0;
    for (int64_t w = 0; w < words; ++w) any |= truth[w] | prediction[w];
    if (any == 0) return;
    int64_t first = -1, last = -1;
    for (int64_t w = 0; w < words; ++w) {
        const uint64_t either = truth[w] | prediction[w];
        if (either == 0) continue;
        tally.truth += __builtin_popcountll(truth[w]);
        tally.prediction += __builtin_popcountll(prediction[w]);
        tally.both += __builtin_popcountll(truth[w] & prediction[w]);
        if (first < 0) first = z0 + 64 * w + __builtin_ctzll(either);
        last = z0 + 64 * w + 63 - __builtin_clzll(either);
    }
    if (y < tally.low[0]) tally.low[0] = y;
    if (y > tally.high[0]) tally.high[0] = y;
    if (first < tally.low[1]) tally.low[1] = first;
    if (last > tally.high[1]) tally.high[1] = last;
}

// The rows of one x as the scan reads them: those shorter than a word, where nothing lies between them, as one.
struct ScanRows {
    int64_t count, length;
    bool is_joined;

    explicit ScanRows(const SurfaceScanParams& p) : count(p.size[1]), length(p.size[2]) {
        const auto is_dense = [&](const LabelMap& m) { return m.stride[2] == 1 && m.stride[1] == p.size[2]; };
        is_joined = p.size[2] < 64 && is_dense(p.maps[0]) && is_dense(p.maps[1]);
        if (is_joined) length *= count, count = 1;
    }

    // Of joined rows the tally holds places along the one row; along z a box of less than a word need not be tight.
    void part(const SurfaceScanParams& p, SurfaceTally& tally) const {
        if (!is_joined || tally.truth + tally.prediction == 0) return;
        tally.low[0] = tally.low[1] / p.size[2], tally.high[0] = tally.high[1] / p.size[2];
        tally.low[1] = 0, tally.high[1] = p.size[2] - 1;
    }
};

// Adds a segment of both maps to every label's tally.
void scan_segment(const SurfaceScanParams& p, const Rows& truth, const Rows& prediction, const void* const* segments,
                  int64_t n, int64_t y, int64_t z, SurfaceTally* tallies) {
    uint64_t a[kSegmentWords], b[kSegmentWords];
    if (truth.is_fractional(segments[0], n)) __atomic_store_n(&p.is_fraction[0], 1, __ATOMIC_RELAXED);
    if (prediction.is_fractional(segments[1], n)) __atomic_store_n(&p.is_fraction[1], 1, __ATOMIC_RELAXED);
    for (int l = 0; l < p.labels; ++l) {
        const int64_t* first = p.first + 2 * l;
        truth.match(segments[0], n, p.values + first[0], first[1] - first[0], a);
        prediction.match(segments[1], n, p.values + first[1], first[2] - first[1], b);
        tally_words(a, b, (n + 63) / 64, y, z, tallies[l]);
    }
}

void scan_planes(const void* params, int64_t begin, int64_t end) {
    const SurfaceScanParams& p = *static_cast<const SurfaceScanParams*>(params);
    Rows truth(p.maps[0]), prediction(p.maps[1]);
    const ScanRows rows(p);
    bool wants_zero = false;
    for (int64_t v = 0; v < p.first[2 * p.labels]; ++v) wants_zero |= p.values[v] == 0;
    for (int64_t x = begin; x < end; ++x) {
        SurfaceTally* tallies = p.tallies + x * p.labels;
        for (int l = 0; l < p.labels; ++l) tallies[l] = {0, 0, 0, {p.size[1], rows.length}, {-1, -1}};
        for (int64_t y = 0; y < rows.count; ++y)
            for (int64_t z = 0; z < rows.length; z += kSegment) {
                const int64_t n = rows.length - z < kSegment ? rows.length - z : kSegment;
                const void* segments[2] = {truth.segment(x, y, z, n), prediction.segment(x, y, z, n)};
                const bool is_background =
                    truth.is_background(segments[0], n) && prediction.is_background(segments[1], n);
                if (wants_zero || !is_background) scan_segment(p, truth, prediction, segments, n, y, z, tallies);
            }
        for (int l = 0; l < p.labels; ++l) rows.part(p, tallies[l]);
    }
}

void pack_planes(const void* params, int64_t begin, int64_t end) {
    const SurfacePackParams& p = *static_cast<const SurfacePackParams*>(params);
    const PlaneGrid& grid = p.grid;
    Rows sides[2] = {Rows(p.maps[0]), Rows(p.maps[1])};
    uint64_t bits[kSegmentWords];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t x = i / 2, side = i % 2;
        uint64_t* plane = p.voxels[side] + x * grid.plane;
        std::memset(plane, 0, grid.cleared(x) * sizeof(uint64_t));
        if (x >= p.size[0]) continue;
        for (int64_t y = 0; y < p.size[1]; ++y)
            for (int64_t z = 0; z < p.size[2]; z += kSegment) {
                const int64_t n = p.size[2] - z < kSegment ? p.size[2] - z : kSegment;
                Rows& rows = sides[side];
                rows.match(rows.segment(x, y, z, n), n, p.values[side], p.value_count[side], bits);
                uint64_t* out = p.voxels[side] + grid.at(x, z / 64, y);
                for (int64_t w = 0; w < (n + 63) / 64; ++w) out[w * grid.pitch] = bits[w];
            }
    }
}

}  // namespace

void surface_scan(const SurfaceScanParams& params, const Exec& exec) {
    exec.parallel_for(scan_planes, &params, params.size[0], 1, exec.threads);
}

void surface_pack(const SurfacePackParams& params, const Exec& exec) {
    exec.parallel_for(pack_planes, &params, 2 * params.grid.size[0], planes_per_block(params.grid), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
