// surface_search, in two steps for each group of eight rows by 64 elements (one vector register, or a few).
//
// near  The group's elements are taken as bits. Distances are tried in rising order: the other surface, shifted by all
//       offsets of one distance, is a few loads and shifts; bits it meets have found their distance and leave. What is
//       left lies beyond the last distance tried.
// far   surface_far_cpu.h.
//
// Each element then adds one to the count of its distance and code; counts are integers, so no order matters. Elements
// found far are written to a list.
#include <cstring>

#include "cpu/words.h"
#include "kernels/surface_far_cpu.h"
#include "kernels/table.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

// ---- the bits of eight planes, gathered to a byte an element ----

// byte[i] bit k = plane[k] bit i.
inline void gather_bytes(const uint64_t* plane, uint8_t* byte) {
#ifdef __AVX512BW__
    __m512i bytes = _mm512_setzero_si512();
    for (int k = 0; k < 8; ++k) {
        const __m512i bit = _mm512_set1_epi8(static_cast<char>(1 << k));
        bytes = _mm512_mask_add_epi8(bytes, _cvtu64_mask64(plane[k]), bytes, bit);
    }
    _mm512_storeu_si512(byte, bytes);
#elif defined(__AVX2__)
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));  // of byte i: bit i % 8
    const __m256i from = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    for (int half = 0; half < 2; ++half) {
        __m256i bytes = _mm256_setzero_si256();
        for (int k = 0; k < 8; ++k) {
            const __m256i word = _mm256_set1_epi32(static_cast<int32_t>(plane[k] >> (32 * half)));
            const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(word, from), bit), bit);
            bytes = _mm256_or_si256(bytes, _mm256_and_si256(is_set, _mm256_set1_epi8(static_cast<char>(1 << k))));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(byte + 32 * half), bytes);
    }
#else
    for (int at = 0; at < 64; at += 8) {
        uint64_t m = 0;  // 8x8 bits: row k holds plane k; transposed by swapping 1x1, 2x2 and 4x4 blocks
        for (int k = 0; k < 8; ++k) m |= (plane[k] >> at & 0xff) << (8 * k);
        uint64_t swap = (m ^ m >> 7) & 0x00aa00aa00aa00aaull;
        m ^= swap ^ swap << 7;
        swap = (m ^ m >> 14) & 0x0000cccc0000ccccull;
        m ^= swap ^ swap << 14;
        swap = (m ^ m >> 28) & 0x00000000f0f0f0f0ull;
        m ^= swap ^ swap << 28;
        std::memcpy(byte + at, &m, 8);
    }
#endif
}

// ---- near: a group of eight rows ----

// The other surface at every offset of one distance.
inline Words shifted(const SurfaceSearchParams& p, const SurfaceClass& distance, const uint64_t* const* planes,
                     int64_t at) {
    const int64_t pitch = p.planes.grid.pitch;
    Words hit = Words::zero();
    for (int32_t k = distance.first; k < distance.first + distance.count; ++k) {
        const SurfaceOffset& o = p.offsets[k];
        const uint64_t* row = planes[o.dx] + at + o.dy;
        if (o.dz == 0) {
            hit |= Words::load(row);
        } else {
            const Words here = Words::load(row);
            hit |= here << o.dz;
            hit |= here >> o.dz;
            hit |= Words::load(row - pitch) >> (64 - o.dz);
            hit |= Words::load(row + pitch) << (64 - o.dz);
        }
    }
    return hit;
}

class Slab {
public:
    Slab(const SurfaceSearchParams& params, int side, int64_t slab)
        : p_(params), b_(params.planes), side_(side), far_(params, side) {
        const int64_t block = side * params.slabs + slab;
        const int64_t counts = int64_t(params.class_count) * params.size_count;
        counts_ = params.counts + block * counts;
        std::memset(counts_, 0, counts * sizeof(uint32_t));
        far_square_ = params.far_square + params.far_first[block];
        far_size_ = params.far_size + params.far_first[block];
    }

    void plane(int64_t x) {
        const PlaneGrid& grid = b_.grid;
        const uint64_t* around[2 * kPad + 1];  // the other surface's planes from x - kPad
        for (int d = -kPad; d <= kPad; ++d) {
            const bool is_in = x + d >= 0 && x + d < grid.size[0];
            around[d + kPad] = is_in ? b_.border[1 - side_] + (x + d) * grid.plane : b_.empty_plane;
        }
        const uint64_t* own = b_.border[side_] + x * grid.plane;
        for (int64_t w = 0; w < grid.words; ++w)
            for (int64_t y = 0; y < grid.size[1]; y += kLanes) {
                const int64_t at = grid.at(0, w, y);
                const Words elements = Words::load(own + at);
                if (!elements.is_zero()) group(elements, around + kPad, x, w, y, at);
            }
    }

    int64_t far_count() const { return far_n_; }

private:
    void group(const Words& elements, const uint64_t* const* around, int64_t x, int64_t w, int64_t y, int64_t at) {
        Words pending = elements, index[8];  // index[k]: bit k of the class of each element
        for (Words& bits : index) bits = Words::zero();
        if (p_.has_target) {
            Words shared = Words::load(around[0] + at);
            shared &= pending;
            pending ^= shared;
            for (int c = 1; c < p_.near_count && !pending.is_zero(); ++c) {
                Words hit = shifted(p_, p_.classes[c], around, at);
                hit &= pending;
                pending ^= hit;
                for (int k = 0; k < 8; ++k)
                    if (c >> k & 1) index[k] |= hit;
            }
        } else {
            pending = Words::zero();
        }
        uint64_t own[kLanes], far[kLanes], bits[8][kLanes];
        elements.store(own), pending.store(far);
        for (int k = 0; k < 8; ++k) index[k].store(bits[k]);
        for (int lane = 0; lane < kLanes; ++lane)
            if (own[lane]) {
                uint64_t planes[8];
                for (int k = 0; k < 8; ++k) planes[k] = bits[k][lane];
                count_row(own[lane], far[lane], planes, x, w, y + lane, at + lane);
            }
    }

    // Adds one word's elements to the counts, and to the list those that are still pending.
    void count_row(uint64_t elements, uint64_t pending, const uint64_t* index, int64_t x, int64_t w, int64_t y,
                   int64_t at) {
        uint8_t code[64] = {}, distance[64];
        if (b_.is_surfels) codes(x, at, code);
        gather_bytes(index, distance);
        for (uint64_t left = elements & ~pending; left; left &= left - 1) {
            const int i = __builtin_ctzll(left);
            ++counts_[distance[i] * p_.size_count + p_.size_of_code[code[i]]];
        }
        for (uint64_t left = pending; left; left &= left - 1) {
            const int i = __builtin_ctzll(left);
            far_square_[far_n_] = far_(x, y, 64 * w + i);
            far_size_[far_n_++] = p_.size_of_code[code[i]];
        }
    }

    // The 8-bit codes of 64 corners: voxel (x - 1 + a, y - 1 + b, z - 1 + c) weighs 128, 64, 32, ..., 1 in that order.
    void codes(int64_t x, int64_t at, uint8_t* code) const {
        const PlaneGrid& grid = b_.grid;
        const uint64_t* here = x < b_.voxel_size[0] ? b_.voxels[side_] + x * grid.plane : b_.empty_plane;
        const uint64_t* lower = x > 0 ? b_.voxels[side_] + (x - 1) * grid.plane : b_.empty_plane;
        if (b_.is_flat) lower = here;
        const uint64_t* rows[4] = {here + at, here + at - 1, lower + at, lower + at - 1};
        uint64_t plane[8];
        for (int k = 0; k < 4; ++k) {
            plane[2 * k] = *rows[k];
            plane[2 * k + 1] = *rows[k] << 1 | rows[k][-grid.pitch] >> 63;
        }
        gather_bytes(plane, code);
    }

    const SurfaceSearchParams& p_;
    const SurfaceBorderParams& b_;
    const int side_;
    FarSearch far_;
    uint32_t* counts_;
    double* far_square_;
    uint8_t* far_size_;
    int64_t far_n_ = 0;
};

void search_slabs(const void* params, int64_t begin, int64_t end) {
    const SurfaceSearchParams& p = *static_cast<const SurfaceSearchParams*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t slab = i / 2;
        const int side = static_cast<int>(i % 2);
        Slab work(p, side, slab);
        for (int64_t x = slab_begin(p, slab); x < slab_begin(p, slab + 1); ++x) work.plane(x);
        p.far_count[side * p.slabs + slab] = work.far_count();
    }
}

}  // namespace

void surface_search(const SurfaceSearchParams& params, const Exec& exec) {
    exec.parallel_for(search_slabs, &params, 2 * params.slabs, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
