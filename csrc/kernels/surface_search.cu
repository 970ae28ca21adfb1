// surface_search, in two steps.
//
// near  One thread a word of 64 elements along z, neighbouring threads neighbouring y, so that every load of the other
//       surface is coalesced and stays in the second level of cache. Offsets are tried in rising order, as on the CPU:
//       bits that the shifted other surface meets have found their distance. Bound by integer instructions, some 35 an
//       offset for the warp's slowest word, so it ends after kNearOffsets: later ones would serve few of a warp's
//       words.
// far   What is left, a fifth of a usual surface, is written to a list, so that every thread of the next kernel has an
//       element. It walks the pyramid of joined rows down and up in one loop without a stack, whatever the level, so
//       that a warp's threads stay in step; bound by the latency of dependent loads from the caches. A thread takes
//       kRun elements in a row and starts from its last answer.
// Counts and lists grow by atomics, in no order: counts are integers, and the list is tallied by who reads it.
#include <cmath>

#include "cuda/atomics.h"
#include "cuda/launch.h"
#include "kernels/surface_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kNearOffsets = 128;  // about 2 mm at 0.7 mm voxels; not tuned on a device yet
constexpr int kRun = 4;
constexpr int kRowsJoined = 16;       // 4x4 rows of one level make one of the next
constexpr double kSafe = 1 - 1e-12;   // of a bound: its rounding must never hide an equal distance
constexpr int64_t kNone = INT64_MAX;  // steps along z of a row without a bit near enough

// Eight words whose bits i make the byte of element i.
struct BitPlanes {
    uint64_t word[8] = {};

    __device__ int at(int i) const {
        int byte = 0;
        for (int k = 0; k < 8; ++k) byte |= static_cast<int>(word[k] >> i & 1) << k;
        return byte;
    }
};

// The 8-bit codes of 64 corners: voxel (x - 1 + a, y - 1 + b, z - 1 + c) weighs 128, 64, 32, ..., 1 in that order.
__device__ BitPlanes corner_codes(const SurfaceBorderParams& b, int side, int64_t x, int64_t in_plane) {
    BitPlanes codes;
    if (!b.is_surfels) return codes;
    const int64_t plane = b.grid.plane, pitch = b.grid.pitch;
    const uint64_t* here = (x < b.voxel_size[0] ? b.voxels[side] + x * plane : b.empty_plane) + in_plane;
    const uint64_t* lower = b.is_flat ? here : (x > 0 ? b.voxels[side] + (x - 1) * plane : b.empty_plane) + in_plane;
    const uint64_t* rows[4] = {here, here - 1, lower, lower - 1};
    for (int k = 0; k < 4; ++k) {
        codes.word[2 * k] = *rows[k];
        codes.word[2 * k + 1] = *rows[k] << 1 | rows[k][-pitch] >> 63;
    }
    return codes;
}

// The block of counts and lists that plane x of a side belongs to: the inverse of slab_begin.
__device__ int64_t block_of(const SurfaceSearchParams& p, int side, int64_t x) {
    return side * int64_t(p.slabs) + ((x + 1) * p.slabs - 1) / p.planes.grid.size[0];
}

__device__ void count_element(const SurfaceSearchParams& p, int64_t block, int distance, int size) {
    add_shared(p.counts + (block * p.class_count + distance) * p.size_count + size, uint32_t(1));
}

__global__ void clear_search_kernel(const __grid_constant__ SurfaceSearchParams p) {
    const int64_t blocks = 2 * int64_t(p.slabs), counts = blocks * p.class_count * p.size_count;
    for (int64_t i = grid_begin(); i < counts; i += grid_step()) {
        p.counts[i] = 0;
        if (i < blocks) p.far_count[i] = 0, p.pending[i] = 0;
    }
}

// ---- near ----

// The other surface at every offset of one distance, seen from a word.
__device__ uint64_t shifted(const SurfaceSearchParams& p, const SurfaceClass& distance, const uint64_t* other,
                            int64_t x) {
    const PlaneGrid& grid = p.planes.grid;
    uint64_t hit = 0;
    for (int32_t k = distance.first; k < distance.first + distance.count; ++k) {
        const SurfaceOffset o = p.offsets[k];
        if (x + o.dx < 0 || x + o.dx >= grid.size[0]) continue;
        const uint64_t* row = other + o.dx * grid.plane + o.dy;
        const uint64_t here = *row;
        if (o.dz == 0) {
            hit |= here;
        } else {
            hit |= here << o.dz | row[-grid.pitch] >> (64 - o.dz) | here >> o.dz | row[grid.pitch] << (64 - o.dz);
        }
    }
    return hit;
}

__device__ void near_word(const SurfaceSearchParams& p, int side, int64_t index, int64_t x, uint64_t elements) {
    const SurfaceBorderParams& b = p.planes;
    const uint64_t* other = b.border[1 - side] + index;
    uint64_t pending = p.has_target ? elements & ~*other : 0;
    BitPlanes classes;
    int tried = 0;
    for (int c = 1; c < p.near_count && pending != 0; ++c) {
        const SurfaceClass distance = p.classes[c];
        tried += distance.count;
        if (tried > kNearOffsets) break;
        const uint64_t hit = shifted(p, distance, other, x) & pending;
        if (hit == 0) continue;
        pending ^= hit;
        for (int k = 0; k < 8; ++k) classes.word[k] |= c >> k & 1 ? hit : 0;
    }
    const int64_t block = block_of(p, side, x);
    const BitPlanes codes = corner_codes(b, side, x, index - x * b.grid.plane);
    for (uint64_t left = elements & ~pending; left; left &= left - 1) {
        const int i = __ffsll(static_cast<int64_t>(left)) - 1;
        count_element(p, block, classes.at(i), p.size_of_code[codes.at(i)]);
    }
    if (pending == 0) return;
    int64_t* list = p.pending + 2 * p.slabs + p.far_first[block];
    list += add_shared(p.pending + block, int64_t(__popcll(pending)));
    for (; pending; pending &= pending - 1) *list++ = index * 64 + __ffsll(static_cast<int64_t>(pending)) - 1;
}

__global__ void surface_near_kernel(const __grid_constant__ SurfaceSearchParams p) {
    const PlaneGrid& grid = p.planes.grid;
    const int64_t total = grid.total();
    for (int64_t i = grid_begin(); i < 2 * total; i += grid_step()) {
        const int side = i >= total ? 1 : 0;
        const int64_t index = i - side * total;
        if (const uint64_t elements = p.planes.border[side][index])
            near_word(p, side, index, word_place(grid, index).x, elements);
    }
}

// ---- far ----

// The nearest element of one surface to one element after the other.
class FarSearch {
public:
    __device__ FarSearch(const SurfaceSearchParams& params, int target) : p_(params), target_(target) {}

    // Squared distance.
    __device__ double operator()(int64_t x, int64_t y, int64_t z) {
        x_ = x, y_ = y, z_ = z;
        best_ = INFINITY, limit_ = p_.planes.grid.size[2];
        if (found_x_ >= 0) set_best(squared_length(p_, found_x_ - x, found_y_ - y, found_z_ - z));
        walk();
        return best_;
    }

private:
    __device__ const PlaneGrid& grid_of(int level) const {
        return level == 0 ? p_.planes.grid : p_.planes.level_grid[level - 1];
    }

    // Looks at every joined row of the highest level, and below those that may hold a better answer.
    __device__ void walk() {
        const PlaneGrid& top = p_.planes.level_grid[kLevels - 1];
        const int64_t tops = top.size[0] * top.size[1];
        int64_t next_top = 0, tx = 0, ty = 0;  // (tx, ty): the row that is open at level + 1
        uint32_t tried = 0;                    // a byte a level: how many of the open row's parts were looked at
        for (int level = kLevels;;) {
            int64_t x, y;
            if (level == kLevels) {
                if (next_top == tops) return;
                x = ((x_ >> 2 * kLevels) + next_top / top.size[1]) % top.size[0];  // the own one first
                y = ((y_ >> 2 * kLevels) + next_top % top.size[1]) % top.size[1];
                ++next_top;
            } else {
                const int part = tried >> 8 * level & 255;
                if (part == kRowsJoined) {
                    ++level, tx >>= 2, ty >>= 2;
                    continue;
                }
                tried += 1u << 8 * level;
                x = 4 * tx + ((part >> 2) ^ nearest_of_four(x_ >> 2 * level, tx));
                y = 4 * ty + ((part & 3) ^ nearest_of_four(y_ >> 2 * level, ty));
                if (x >= grid_of(level).size[0] || y >= grid_of(level).size[1]) continue;
            }
            if (!look(level, x, y)) continue;
            --level, tx = x, ty = y;
            tried &= ~(255u << 8 * level);
        }
    }

    // Which of the four rows that a row joins along an axis lies nearest.
    __device__ static int nearest_of_four(int64_t own, int64_t joined) {
        const int64_t at = own - 4 * joined;
        return static_cast<int>(at < 0 ? 0 : at > 3 ? 3 : at);
    }

    // Squared distance along an axis to the nearest of the 4^level rows that t joins.
    __device__ double axis_square(int axis, int64_t own, int64_t t, int level) const {
        const int64_t low = t << 2 * level, high = low + (int64_t(1) << 2 * level) - 1;
        return p_.square[axis][own < low ? low - own : own > high ? own - high : 0];
    }

    // Whether what a row joins may hold a better answer; a row of elements is taken if it does.
    __device__ bool look(int level, int64_t x, int64_t y) {
        const double across = axis_square(0, x_, x, level) + axis_square(1, y_, y, level);
        if (across * kSafe >= best_) return false;
        const int64_t steps = nearest_along(level, x, y);
        if (steps == kNone) return false;
        if (level == 0) {
            take(x, y, steps);
            return false;
        }
        return (across + p_.square[2][steps < 0 ? -steps : steps]) * kSafe < best_;
    }

    // Steps along z to the nearest bit of a joined row, or kNone beyond the limit.
    __device__ int64_t nearest_along(int level, int64_t x, int64_t y) const {
        const PlaneGrid& grid = grid_of(level);
        const uint64_t* row =
            (level == 0 ? p_.planes.border[target_] : p_.planes.level[target_][level - 1]) + grid.at(x, 0, y);
        const int64_t own = z_ >> 6;
        const int bit = static_cast<int>(z_ & 63);
        const uint64_t here = row[own * grid.pitch], above = here >> bit, below = here << (63 - bit);
        int64_t up = above ? __ffsll(static_cast<int64_t>(above)) - 1 : limit_ + 1;
        int64_t down = below ? __clzll(static_cast<int64_t>(below)) : limit_ + 1;
        int64_t least = up < down ? up : down;  // words whose first bit is farther need no look
        for (int64_t w = own + 1; w < grid.words && 64 * w - z_ < least; ++w)
            if (const uint64_t word = row[w * grid.pitch]) {
                up = 64 * w - z_ + __ffsll(static_cast<int64_t>(word)) - 1;
                least = up < least ? up : least;
                break;
            }
        for (int64_t w = own - 1; w >= 0 && z_ - 64 * w - 63 < least; --w)
            if (const uint64_t word = row[w * grid.pitch]) {
                down = z_ - 64 * w - 63 + __clzll(static_cast<int64_t>(word));
                least = down < least ? down : least;
                break;
            }
        if (least > limit_) return kNone;
        return least == up ? up : -down;
    }

    __device__ void take(int64_t x, int64_t y, int64_t steps) {
        const double found = squared_length(p_, x - x_, y - y_, steps);
        if (found >= best_) return;
        set_best(found);
        found_x_ = x, found_y_ = y, found_z_ = z_ + steps;
    }

    __device__ void set_best(double square) {
        best_ = square;
        const double most = double(p_.planes.grid.size[2]), steps = std::sqrt(square) / p_.spacing[2] + 1;
        limit_ = int64_t(steps < most ? steps : most);
    }

    const SurfaceSearchParams& p_;
    const int target_;
    int64_t x_ = 0, y_ = 0, z_ = 0;
    double best_ = INFINITY;                            // squared distance
    int64_t limit_ = 0;                                 // steps along z within which a row may still beat it
    int64_t found_x_ = -1, found_y_ = 0, found_z_ = 0;  // the last answer: the next element starts from it
};

// The class of a squared distance, or class_count if it is none.
__device__ int class_of(const SurfaceSearchParams& p, double square) {
    int low = 0, high = p.class_count;  // the first class that is not nearer
    while (low < high) {
        const int middle = (low + high) / 2;
        p.class_square[middle] < square ? low = middle + 1 : high = middle;
    }
    return low < p.class_count && p.class_square[low] == square ? low : p.class_count;
}

__device__ void far_element(const SurfaceSearchParams& p, int side, int64_t block, int64_t element, FarSearch& search) {
    const PlaneGrid& grid = p.planes.grid;
    const int64_t index = element >> 6;
    const int bit = static_cast<int>(element & 63);
    const WordPlace at = word_place(grid, index);
    const double square = search(at.x, at.y, 64 * at.word + bit);
    const int size = p.size_of_code[corner_codes(p.planes, side, at.x, index - at.x * grid.plane).at(bit)];
    const int distance = class_of(p, square);
    if (distance < p.class_count) {
        count_element(p, block, distance, size);
    } else {
        const int64_t to = p.far_first[block] + add_shared(p.far_count + block, int64_t(1));
        p.far_square[to] = square;
        p.far_size[to] = static_cast<uint8_t>(size);
    }
}

__global__ void surface_far_kernel(const __grid_constant__ SurfaceSearchParams p) {
    for (int64_t block = 0; block < 2 * p.slabs; ++block) {
        const int side = block >= p.slabs ? 1 : 0;
        const int64_t* list = p.pending + 2 * p.slabs + p.far_first[block];
        const int64_t n = p.pending[block];
        for (int64_t run = grid_begin(); run * kRun < n; run += grid_step()) {
            FarSearch search(p, 1 - side);
            for (int64_t i = run * kRun; i < n && i < (run + 1) * kRun; ++i)
                far_element(p, side, block, list[i], search);
        }
    }
}

}  // namespace

void surface_search(const SurfaceSearchParams& params, const Exec& exec) {
    const char* op = "surface_search";
    const int64_t counts = 2 * int64_t(params.slabs) * params.class_count * params.size_count;
    const dim3 blocks = blocks_for(2 * params.planes.grid.total());
    launch(op, clear_search_kernel, blocks_for(counts), kThreadsPerBlock, 0, exec.stream, params);
    launch(op, surface_near_kernel, blocks, kThreadsPerBlock, 0, exec.stream, params);
    launch(op, surface_far_kernel, blocks, kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
