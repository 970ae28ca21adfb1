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
#include "kernels/surface_pass.h"
#include "kernels/table.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kLanes = 8;  // rows of a group
typedef uint64_t Words __attribute__((vector_size(64), aligned(8), may_alias));

inline bool is_zero(const Words& v) {
#ifdef __AVX512F__
    return _mm512_test_epi64_mask((__m512i)v, (__m512i)v) == 0;
#else
    return (v[0] | v[1] | v[2] | v[3] | v[4] | v[5] | v[6] | v[7]) == 0;
#endif
}

inline Words load(const uint64_t* p) { return *reinterpret_cast<const Words*>(p); }

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

struct Found {
    double square = INFINITY;
    int64_t x = -1, y = 0, z = 0;
};

class FarSearch {
public:
    FarSearch(const SurfaceSearchParams& params, int side) : p_(params), b_(params.planes), target_(1 - side) {}

    // Squared distance of (x, y, z) to the nearest element of the other surface, which has one.
    double operator()(int64_t x, int64_t y, int64_t z) {
        x_ = x, y_ = y, z_ = z;
        best_.square = INFINITY;
        if (best_.x >= 0) best_.square = square(best_.x - x, best_.y - y, best_.z - z);
        const PlaneGrid& top = b_.level_grid[kLevels - 1];
        const int64_t tx = x >> 2 * kLevels, ty = y >> 2 * kLevels;
        const int64_t rings = top.size[0] > top.size[1] ? top.size[0] : top.size[1];
        for (int64_t ring = 0; ring < rings; ++ring) {
            if (ring_bound(ring) > best_.square) break;
            for (int64_t cx = tx - ring; cx <= tx + ring; ++cx) {
                if (cx < 0 || cx >= top.size[0]) continue;
                const bool is_edge = cx == tx - ring || cx == tx + ring;
                for (int64_t cy = ty - ring; cy <= ty + ring; cy += is_edge || ring == 0 ? 1 : 2 * ring)
                    if (cy >= 0 && cy < top.size[1]) open(kLevels, cx, cy);
            }
        }
        return best_.square;
    }

private:
    double square(int64_t dx, int64_t dy, int64_t dz) const {
        const double sx = p_.square[0][dx < 0 ? -dx : dx], sy = p_.square[1][dy < 0 ? -dy : dy];
        const double sz = p_.square[2][dz < 0 ? -dz : dz];
        if (p_.last_axis == 2) return (sx + sy) + sz;
        return p_.last_axis == 1 ? (sx + sz) + sy : (sy + sz) + sx;
    }

    // No element of this ring of top tiles is nearer.
    double ring_bound(int64_t ring) const {
        if (ring == 0) return 0;
        const int64_t size = int64_t(1) << 2 * kLevels;
        const double sx = p_.spacing[0] * double((ring - 1) * size + 1),
                     sy = p_.spacing[1] * double((ring - 1) * size + 1);
        return (sx < sy ? sx * sx : sy * sy) * (1 - 1e-12);
    }

    static int64_t outside(int64_t v, int64_t low, int64_t count) {
        return v < low ? low - v : v >= low + count ? v - (low + count - 1) : 0;
    }

    // Steps along z from z_ to the nearest bit of a row, or more than `limit` if none is so near.
    int64_t nearest_bit(const uint64_t* row, int64_t pitch, int64_t limit) const {
        const int64_t w = z_ >> 6, bit = z_ & 63;
        const uint64_t here = row[w * pitch];
        const uint64_t up = here >> bit, down = here << (63 - bit);
        int64_t best = limit + 1;
        if (up) best = __builtin_ctzll(up);
        if (down) {
            const int64_t d = __builtin_clzll(down);
            if (d < best) best = d;
        }
        for (int64_t k = w + 1; k < b_.grid.words && k * 64 - z_ < best; ++k)
            if (const uint64_t v = row[k * pitch]) {
                const int64_t d = k * 64 + __builtin_ctzll(v) - z_;
                if (d < best) best = d;
                break;
            }
        for (int64_t k = w - 1; k >= 0 && z_ - (k * 64 + 63) < best; --k)
            if (const uint64_t v = row[k * pitch]) {
                const int64_t d = z_ - (k * 64 + 63 - __builtin_clzll(v));
                if (d < best) best = d;
                break;
            }
        return best;
    }

    // Steps along z within which a row at in-plane squared distance `plane` may still beat the best.
    int64_t limit_of(double plane) const {
        const int64_t most = b_.grid.size[2];
        if (best_.square == INFINITY) return most;
        const double steps = std::sqrt(best_.square - plane) / p_.spacing[2] + 1;
        return steps < double(most) ? int64_t(steps) : most;
    }

    // Looks at one row of a level (0: elements), and at what it joins if it can beat the best.
    void open(int level, int64_t tx, int64_t ty) {
        const PlaneGrid& grid = level == 0 ? b_.grid : b_.level_grid[level - 1];
        const uint64_t* bits = level == 0 ? b_.border[target_] : b_.level[target_][level - 1];
        const int64_t size = int64_t(1) << 2 * level;
        const double sx = p_.square[0][outside(x_, tx * size, size)], sy = p_.square[1][outside(y_, ty * size, size)];
        const double plane = sx + sy;
        if (plane * kSafe > best_.square) return;
        const int64_t limit = limit_of(plane);
        const int64_t steps = nearest_bit(bits + grid.at(tx, 0, ty), grid.pitch, limit);
        if (steps > limit || (plane + p_.square[2][steps]) * kSafe > best_.square) return;
        if (level == 0) return take(tx, ty, steps);
        const PlaneGrid& below = level == 1 ? b_.grid : b_.level_grid[level - 2];
        const int64_t x_end = 4 * tx + 4 < below.size[0] ? 4 * tx + 4 : below.size[0];
        const int64_t y_end = 4 * ty + 4 < below.size[1] ? 4 * ty + 4 : below.size[1];
        for (int64_t cx = 4 * tx; cx < x_end; ++cx)
            for (int64_t cy = 4 * ty; cy < y_end; ++cy) open(level - 1, cx, cy);
    }

    void take(int64_t x, int64_t y, int64_t steps) {
        const double found = square(x - x_, y - y_, steps);
        if (found > best_.square || (found == best_.square && best_.x >= 0)) return;
        const uint64_t* row = b_.border[target_] + b_.grid.at(x, 0, y);
        const int64_t after = z_ + steps;
        const bool is_after = after < b_.grid.size[2] && (row[(after >> 6) * b_.grid.pitch] >> (after & 63) & 1);
        best_ = {found, x, y, is_after ? after : z_ - steps};
    }

    static constexpr double kSafe = 1 - 1e-12;  // a bound's rounding must never hide an equal distance

    const SurfaceSearchParams& p_;
    const SurfaceBorderParams& b_;
    const int target_;
    int64_t x_ = 0, y_ = 0, z_ = 0;
    Found best_;
};

// ---- near: a group of eight rows ----

// The other surface at every offset of one distance.
inline Words shifted(const SurfaceSearchParams& p, const SurfaceClass& distance, const uint64_t* const* planes,
                     int64_t at) {
    const int64_t pitch = p.planes.grid.pitch;
    Words hit = {};
    for (int32_t k = distance.first; k < distance.first + distance.count; ++k) {
        const SurfaceOffset& o = p.offsets[k];
        const uint64_t* row = planes[o.dx] + at + o.dy;
        if (o.dz == 0) {
            hit |= load(row);
        } else {
            const Words here = load(row);
            hit |= here << o.dz | load(row - pitch) >> (64 - o.dz) | here >> o.dz | load(row + pitch) << (64 - o.dz);
        }
    }
    return hit;
}

class Slab {
public:
    Slab(const SurfaceSearchParams& params, int side, int64_t slab)
        : p_(params), b_(params.planes), side_(side), far_(params, side) {
        const int64_t block = side * params.slabs + slab;
        counts_ = params.counts + block * params.class_count * 256;
        std::memset(counts_, 0, params.class_count * 256 * sizeof(uint32_t));
        far_square_ = params.far_square + params.far_first[block];
        far_code_ = params.far_code + params.far_first[block];
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
                const Words elements = load(own + at);
                if (!is_zero(elements)) group(elements, around + kPad, x, w, y, at);
            }
    }

    int64_t far_count() const { return far_n_; }

private:
    void group(const Words& elements, const uint64_t* const* around, int64_t x, int64_t w, int64_t y, int64_t at) {
        Words pending = elements, index[8] = {};  // index[k]: bit k of the class of each element
        if (p_.has_target) {
            pending &= ~load(around[0] + at);
            for (int c = 1; c < p_.class_count && !is_zero(pending); ++c) {
                const Words hit = shifted(p_, p_.classes[c], around, at) & pending;
                pending ^= hit;
                for (int k = 0; k < 8; ++k)
                    if (c >> k & 1) index[k] |= hit;
            }
        } else {
            pending ^= pending;
        }
        for (int lane = 0; lane < kLanes; ++lane)
            if (elements[lane]) {
                uint64_t planes[8];
                for (int k = 0; k < 8; ++k) planes[k] = index[k][lane];
                count_row(elements[lane], pending[lane], planes, x, w, y + lane, at + lane);
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
            ++counts_[distance[i] * 256 + code[i]];
        }
        for (uint64_t left = pending; left; left &= left - 1) {
            const int i = __builtin_ctzll(left);
            far_square_[far_n_] = far_(x, y, 64 * w + i);
            far_code_[far_n_++] = code[i];
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
    uint8_t* far_code_;
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
