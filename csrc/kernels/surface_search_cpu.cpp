// surface_search, in two steps for each group of eight rows by 64 elements (one vector register, or a few).
//
// near  The group's elements are taken as bits. Distances are tried in rising order: the other surface, shifted by
// every
//       offset of that distance, is one or two loads and shifts; bits it meets have found their distance and leave.
//       What is left is beyond the last distance tried, or too little to go on with.
// far   An element alone descends a pyramid of rows joined 4x4: a joined row gives a lower bound (its nearest bit along
//       z, and how far its rows are), and is opened only if that beats the best found. The answer of the element before
//       is where the best starts.
//
// Each element then adds one to the count of its distance and code; counts are integers, so no order matters. Elements
// found far are written to a list.
#include <cmath>
#include <cstring>

#include "cpu/isa.h"
#include "cpu/words.h"
#include "kernels/surface_pass.h"
#include "kernels/table.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kLanes = 8;  // rows of a group
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

// ---- far: one element ----

constexpr double kSafe = 1 - 1e-12;  // of a bound: its rounding must never hide an equal distance

// Where eight neighbouring joined rows of a level are looked at from.
struct Look {
    const uint64_t* row;              // the first of the eight, word 0
    int64_t pitch, words;             // from a word to the next along z, and how many
    int64_t z, limit;                 // the element's z, and how far along z a bit may still matter
    int64_t low, size;                // y steps to the first row's first element, and elements that a row joins along y
    double spacing_y, spacing_z, sx;  // sx: bound along x
    double best;
};

#ifdef __AVX512CD__

// For each of eight rows the steps along z to its nearest bit, and a bound on the squared distance to what it joins.
// Returns the rows, a bit each, whose bound is below the best.
inline uint32_t look_at(const Look& l, int64_t* steps, double* bounds) {
    const int64_t w = l.z >> 6, bit = l.z & 63;
    const __m512i sixty_three = _mm512_set1_epi64(63), zero = _mm512_setzero_si512();
    const __m512i here = _mm512_loadu_si512(l.row + w * l.pitch);
    const auto rise = [&](__m512i v) {
        return _mm512_sub_epi64(sixty_three, _mm512_lzcnt_epi64(_mm512_and_si512(v, _mm512_sub_epi64(zero, v))));
    };
    __m512i nearest = _mm512_set1_epi64(int64_t(1) << 40);
    const auto keep = [&](__m512i v, __m512i found) {
        nearest = _mm512_mask_min_epi64(nearest, _mm512_test_epi64_mask(v, v), nearest, found);
    };
    const __m512i above = _mm512_srl_epi64(here, _mm_cvtsi64_si128(bit));
    const __m512i below = _mm512_sll_epi64(here, _mm_cvtsi64_si128(63 - bit));
    keep(above, rise(above));
    keep(below, _mm512_lzcnt_epi64(below));
    for (int64_t k = 1;; ++k) {
        const int64_t up = 64 * (w + k) - l.z, down = l.z - (64 * (w - k) + 63);
        const bool is_up = w + k < l.words && up <= l.limit, is_down = w - k >= 0 && down <= l.limit;
        if (!is_up && !is_down) break;
        if (is_up) {
            const __m512i v = _mm512_loadu_si512(l.row + (w + k) * l.pitch);
            keep(v, _mm512_add_epi64(rise(v), _mm512_set1_epi64(up)));
        }
        if (is_down) {
            const __m512i v = _mm512_loadu_si512(l.row + (w - k) * l.pitch);
            keep(v, _mm512_add_epi64(_mm512_lzcnt_epi64(v), _mm512_set1_epi64(down)));
        }
    }
    const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i low =
        _mm512_add_epi64(_mm512_set1_epi64(l.low), _mm512_mullo_epi64(lanes, _mm512_set1_epi64(l.size)));
    const __m512i high = _mm512_sub_epi64(_mm512_set1_epi64(1 - l.size), low);
    const __m512d y = _mm512_mul_pd(_mm512_cvtepi64_pd(_mm512_max_epi64(_mm512_max_epi64(low, high), zero)),
                                    _mm512_set1_pd(l.spacing_y));
    const __m512d z = _mm512_mul_pd(_mm512_cvtepi64_pd(nearest), _mm512_set1_pd(l.spacing_z));
    const __m512d square = _mm512_fmadd_pd(y, y, _mm512_mul_pd(z, z));
    const __m512d bound = _mm512_fmadd_pd(square, _mm512_set1_pd(kSafe), _mm512_set1_pd(l.sx));
    const __mmask8 open = _mm512_cmp_pd_mask(bound, _mm512_set1_pd(l.best), _CMP_LT_OQ) &
                          _mm512_cmplt_epi64_mask(nearest, _mm512_set1_epi64(int64_t(1) << 40));
    if (open) _mm512_storeu_si512(steps, nearest), _mm512_storeu_pd(bounds, bound);
    return open;
}

#else

inline uint32_t look_at(const Look& l, int64_t* steps, double* bounds) {
    const int64_t w = l.z >> 6, bit = l.z & 63;
    uint32_t open = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t low = l.low + lane * l.size, high = 1 - l.size - low;
        const double y = double(low > 0 ? low : high > 0 ? high : 0) * l.spacing_y;
        if (l.sx + y * y * kSafe >= l.best) continue;
        const uint64_t* row = l.row + lane;
        const uint64_t above = row[w * l.pitch] >> bit, below = row[w * l.pitch] << (63 - bit);
        int64_t nearest = l.limit + 1;
        if (above) nearest = __builtin_ctzll(above);
        if (below && __builtin_clzll(below) < nearest) nearest = __builtin_clzll(below);
        for (int64_t k = w + 1; k < l.words && 64 * k - l.z < nearest; ++k)
            if (const uint64_t v = row[k * l.pitch]) {
                const int64_t found = 64 * k - l.z + __builtin_ctzll(v);
                nearest = found < nearest ? found : nearest;
                break;
            }
        for (int64_t k = w - 1; k >= 0 && l.z - (64 * k + 63) < nearest; --k)
            if (const uint64_t v = row[k * l.pitch]) {
                const int64_t found = l.z - (64 * k + 63) + __builtin_clzll(v);
                nearest = found < nearest ? found : nearest;
                break;
            }
        const double z = double(nearest) * l.spacing_z;
        steps[lane] = nearest, bounds[lane] = l.sx + (y * y + z * z) * kSafe;
        open |= uint32_t(nearest <= l.limit && bounds[lane] < l.best) << lane;
    }
    return open;
}

#endif

class FarSearch {
public:
    FarSearch(const SurfaceSearchParams& params, int side) : p_(params), b_(params.planes), target_(1 - side) {}

    // Squared distance of (x, y, z) to the nearest element of the other surface, which has one.
    double operator()(int64_t x, int64_t y, int64_t z) {
        x_ = x, y_ = y, z_ = z;
        set_best(found_x_ < 0 ? INFINITY : square(found_x_ - x, found_y_ - y, found_z_ - z));
        const int level = first_level();
        const PlaneGrid& grid = grid_of(level);
        const int64_t own = x >> 2 * level;
        for (int64_t ring = 0; ring < grid.size[0]; ++ring) {
            const bool is_lower = own - ring >= 0 && column(level, own - ring);
            const bool is_upper = ring > 0 && own + ring < grid.size[0] && column(level, own + ring);
            if (ring > 0 && !is_lower && !is_upper) break;
        }
        return best_;
    }

private:
    // Joined rows of about a quarter of the distance to look through: few of them, and bounds that tell them apart.
    int first_level() const {
        const double step = p_.spacing[0] > p_.spacing[1] ? p_.spacing[0] : p_.spacing[1];
        int level = 1;
        while (level < kLevels && best_ > step * step * double(int64_t(144) << 4 * (level - 1))) ++level;
        return level;
    }

    const PlaneGrid& grid_of(int level) const { return level == 0 ? b_.grid : b_.level_grid[level - 1]; }

    // Looks through the rows at one x of a level. False if none can beat the best.
    bool column(int level, int64_t tx) {
        const double sx = bound(0, x_, tx, level);
        if (sx >= best_) return false;
        const int64_t own = y_ >> 2 * level, last = grid_of(level).size[1] - 1;
        int64_t low = 0, high = last;
        if (best_ < INFINITY) {
            const int64_t reach = int64_t(std::sqrt(best_ - sx) / p_.spacing[1]) + 1;
            low = y_ > reach ? (y_ - reach) >> 2 * level : 0;
            high = (y_ + reach) >> 2 * level < last ? (y_ + reach) >> 2 * level : last;
        } else {
            look(level, tx, own & ~int64_t(kLanes - 1), kLanes, sx);  // a first answer, from close by
        }
        for (int64_t ty = low; ty <= high; ty += kLanes) look(level, tx, ty, high - ty + 1, sx);
        return true;
    }

    // Squared distance along an axis to the nearest of the 4^level elements that t joins, never more than it is.
    double bound(int axis, int64_t v, int64_t t, int level) const {
        const int64_t low = t << 2 * level, high = low + (int64_t(1) << 2 * level) - 1;
        const int64_t steps = v < low ? low - v : v > high ? v - high : 0;
        return p_.square[axis][steps] * kSafe;
    }

    // Looks at up to eight rows of a level, and below those that can beat the best. sx: the bound along x.
    void look(int level, int64_t tx, int64_t ty, int64_t count, double sx) {
        const PlaneGrid& grid = grid_of(level);
        const uint64_t* bits = level == 0 ? b_.border[target_] : b_.level[target_][level - 1];
        const Look here{bits + grid.at(tx, 0, ty), grid.pitch,    grid.words,    z_, limit_, (ty << 2 * level) - y_,
                        int64_t(1) << 2 * level,   p_.spacing[1], p_.spacing[2], sx, best_};
        int64_t steps[kLanes];
        double bounds[kLanes];
        uint32_t open_rows = look_at(here, steps, bounds) & ((1u << (count < kLanes ? count : kLanes)) - 1);
        for (; open_rows; open_rows &= open_rows - 1) {
            const int lane = __builtin_ctz(open_rows);
            if (bounds[lane] >= best_) continue;
            if (level == 0) {
                take(tx, ty + lane, steps[lane]);
            } else {
                const bool has_next = lane + 1 < kLanes && (open_rows >> lane & 2) && bounds[lane + 1] < best_;
                open(level - 1, tx, ty + lane, has_next ? 2 : 1);
                if (has_next) open_rows &= open_rows - 1;
            }
        }
    }

    // The rows of `level` that one row above joins, or two beside each other; those nearer along x first.
    void open(int level, int64_t tx, int64_t ty, int64_t joined) {
        const PlaneGrid& grid = grid_of(level);
        const int64_t left = grid.size[0] - 4 * tx, n = left < 4 ? left : 4, rows = grid.size[1] - 4 * ty;
        const bool is_after = x_ >> 2 * (level + 1) > tx;
        for (int64_t i = 0; i < n; ++i) {
            const int64_t cx = 4 * tx + (is_after ? n - 1 - i : i);
            const double sx = bound(0, x_, cx, level);
            if (sx < best_) look(level, cx, 4 * ty, rows < 4 * joined ? rows : 4 * joined, sx);
        }
    }

    double square(int64_t dx, int64_t dy, int64_t dz) const {
        const double sx = p_.square[0][dx < 0 ? -dx : dx], sy = p_.square[1][dy < 0 ? -dy : dy];
        const double sz = p_.square[2][dz < 0 ? -dz : dz];
        if (p_.last_axis == 2) return (sx + sy) + sz;
        return p_.last_axis == 1 ? (sx + sz) + sy : (sy + sz) + sx;
    }

    void set_best(double square) {
        best_ = square;
        const double most = double(b_.grid.size[2]), steps = std::sqrt(square) / p_.spacing[2] + 1;
        limit_ = int64_t(steps < most ? steps : most);
    }

    void take(int64_t x, int64_t y, int64_t steps) {
        const double found = square(x - x_, y - y_, steps);
        if (found >= best_) return;
        const uint64_t* row = b_.border[target_] + b_.grid.at(x, 0, y);
        const int64_t after = z_ + steps;
        const bool is_after = after < b_.grid.size[2] && (row[(after >> 6) * b_.grid.pitch] >> (after & 63) & 1);
        set_best(found);
        found_x_ = x, found_y_ = y, found_z_ = is_after ? after : z_ - steps;
    }

    const SurfaceSearchParams& p_;
    const SurfaceBorderParams& b_;
    const int target_;
    int64_t x_ = 0, y_ = 0, z_ = 0;
    double best_ = INFINITY;                            // squared distance
    int64_t limit_ = 0;                                 // steps along z within which a row may still beat it
    int64_t found_x_ = -1, found_y_ = 0, found_z_ = 0;  // the answer of the element before: the next one starts from it
};

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
            for (int c = 1; c < p_.class_count && !pending.is_zero(); ++c) {
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
