// The far search of surface_search_cpu.cpp: the nearest element of the other surface for one element whose
// neighbourhood has none. It descends a pyramid of rows joined 4x4: a joined row gives a lower bound (its nearest bit
// along z, and how far its rows are at least), and is opened only if that beats the best found. Eight rows beside each
// other are looked at together. The answer of the element before is where the best starts, and it also chooses the
// level to begin with, so that a search looks at some tens of rows, whatever the distance.
#pragma once
#include <cmath>

#include "kernels/surface_body.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kLanes = 8;  // rows looked at together

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
        set_best(found_x_ < 0 ? INFINITY : squared_length(p_, found_x_ - x, found_y_ - y, found_z_ - z));
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
        const double step = b_.is_flat || p_.spacing[1] > p_.spacing[0] ? p_.spacing[1] : p_.spacing[0];
        int level = 1;
        while (level < kLevels && best_ > step * step * double(int64_t(144) << 4 * (level - 1))) ++level;
        return level;
    }

    const uint64_t* stack(int level) const { return level == 0 ? b_.border[target_] : b_.level[target_][level - 1]; }
    const PlaneGrid& grid_of(int level) const { return level == 0 ? b_.grid : b_.level_grid[level - 1]; }

    // Looks through the rows at one x of a level. False if none can beat the best.
    bool column(int level, int64_t tx) {
        const double sx = bound(0, x_, tx, level);
        if (sx >= best_) return false;
        const int64_t own = y_ >> 2 * level, last = grid_of(level).size[1] - 1;
        int64_t low = 0, high = last;
        if (best_ < INFINITY) {
            const double steps = std::sqrt(best_ - sx) / p_.spacing[1], most = double(b_.grid.size[1]);
            const int64_t reach = int64_t(steps < most ? steps : most) + 1;
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
        const Look here{
            stack(level) + grid.at(tx, 0, ty), grid.pitch,    grid.words,    z_, limit_, (ty << 2 * level) - y_,
            int64_t(1) << 2 * level,           p_.spacing[1], p_.spacing[2], sx, best_};
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
        for (int64_t i = 0; i < n; ++i) __builtin_prefetch(stack(level) + grid.at(4 * tx + i, z_ >> 6, 4 * ty));
        for (int64_t i = 0; i < n; ++i) {
            const int64_t cx = 4 * tx + (is_after ? n - 1 - i : i);
            const double sx = bound(0, x_, cx, level);
            if (sx < best_) look(level, cx, 4 * ty, rows < 4 * joined ? rows : 4 * joined, sx);
        }
    }

    void set_best(double square) {
        best_ = square;
        const double most = double(b_.grid.size[2]), steps = std::sqrt(square) / p_.spacing[2] + 1;
        limit_ = int64_t(steps < most ? steps : most);
    }

    void take(int64_t x, int64_t y, int64_t steps) {
        const double found = squared_length(p_, x - x_, y - y_, steps);
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

}  // namespace
}  // namespace covfast::COVFAST_ISA
