// surface_scan, surface_pack, surface_border, surface_search: the four passes of surface, in this order.
//
// Axes: the passes know x (slow), y and z (fast in memory), a permutation of the maps' axes that the front file chose.
// Bit-planes: 64 neighbours along z are one word. Words are laid out [x][word][y], so that one vector register holds
// the same z of eight neighbouring y: a shift moves them all along z, and every other neighbour is a plain load. Each
// row of words carries kPad zero words at either end, and a zero row lies before each plane and after the last, so that
// no search asks whether it has left the grid.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace covfast {

enum class LabelType { kBool, kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64, kF32, kF64 };

COVFAST_HD constexpr int64_t label_bytes(LabelType type) {
    if (type == LabelType::kBool || type == LabelType::kU8 || type == LabelType::kI8) return 1;
    if (type == LabelType::kU16 || type == LabelType::kI16) return 2;
    return type == LabelType::kU32 || type == LabelType::kI32 || type == LabelType::kF32 ? 4 : 8;
}

struct LabelMap {
    const void* data;
    LabelType type;
    int64_t stride[3];  // x, y, z, in elements
};

constexpr int kPad = 8;           // zero words at either end of a row: the farthest step of the near search in x, y
constexpr int kMaxClasses = 255;  // distances of the near search; the index fits a byte
constexpr int kLevels = 3;        // of the pyramid over the surface: rows of 4x4, 16x16 and 64x64 joined by OR

// Where the words of one bit-plane stack lie.
struct PlaneGrid {
    int64_t size[3];  // x, y, z: elements
    int64_t words;    // along z
    int64_t pitch;    // words from one row to the next
    int64_t plane;    // words from one x to the next

    COVFAST_HD int64_t at(int64_t x, int64_t word, int64_t y) const {
        return x * plane + (word + 1) * pitch + y + kPad;
    }
    COVFAST_HD int64_t total() const { return size[0] * plane + pitch; }
    // What the writer of plane x sets to zero first: [x * plane, x * plane + cleared(x)).
    COVFAST_HD int64_t cleared(int64_t x) const { return x + 1 == size[0] ? plane + pitch : plane; }
};

// Planes that make a block of work: less than some 128 KiB is not worth waking a thread for.
inline int64_t planes_per_block(const PlaneGrid& grid) { return grid.plane < 16384 ? 16384 / grid.plane : 1; }

inline PlaneGrid plane_grid(int64_t nx, int64_t ny, int64_t nz) {
    const int64_t words = (nz + 63) / 64, pitch = (ny + 7) / 8 * 8 + 2 * kPad;
    return {{nx, ny, nz}, words, pitch, (words + 1) * pitch};
}

// ---- surface_scan: counts and boxes of every label ----
struct SurfaceTally {  // of one x and label
    int64_t truth, prediction, both;
    int64_t low[2], high[2];  // y and z of either mask, inclusive
};

struct SurfaceScanParams {
    LabelMap maps[2];
    int64_t size[3];  // voxels
    int labels;
    const int64_t* values;  // all labels' values, truth's then prediction's
    const int64_t* first;   // (2 * labels + 1): where the values of mask m = 2 * label + side begin
    SurfaceTally* tallies;  // (size[0], labels)
    int32_t* is_fraction;   // (2): set where a float map holds a value that is not whole
};

// ---- surface_pack: both masks of one label, inside its box, as bit-planes ----
struct SurfacePackParams {
    LabelMap maps[2];  // data at the box's first voxel
    int64_t size[3];   // of the box, voxels
    const int64_t* values[2];
    int64_t value_count[2];
    PlaneGrid grid;
    uint64_t* voxels[2];
};

// ---- surface_border: which elements are surface, and the pyramid over them ----
struct SurfaceBorderParams {
    int64_t voxel_size[3];
    bool is_flat;     // 2-D: one x, and squares of four voxels
    bool is_surfels;  // else voxels
    PlaneGrid grid;   // of voxels and elements alike
    PlaneGrid level_grid[kLevels];
    const uint64_t* voxels[2];
    const uint64_t* empty_plane;  // grid.plane + grid.pitch zero words
    uint64_t* border[2];
    uint64_t* level[2][kLevels];
    int64_t* element_count;  // (2, size[0]): of each x
};

// ---- surface_search: every element's distance to the other surface ----
struct SurfaceOffset {
    int16_t dx, dy, dz;  // dz >= 0 stands for both signs
};

struct SurfaceClass {  // offsets of one distance
    int32_t first, count;
};

struct SurfaceSearchParams {
    SurfaceBorderParams planes;
    const SurfaceClass* classes;  // nearest first; class 0 is distance 0
    const double* class_square;   // squared distance of each class
    const SurfaceOffset* offsets;
    int class_count;
    int near_count;           // the first so many have offsets: all on the CPU
    bool has_target;          // false: the other surface is empty, and every element counts as class 0
    const double* square[3];  // (size + 1): (n * spacing)^2 along x, y, z
    double spacing[3];
    int last_axis;                // which of x, y, z is added last: the map's last axis
    int slabs;                    // the work is cut into 2 * slabs blocks along x, whatever the number of threads
    const uint8_t* size_of_code;  // (256): which of the different element sizes a code has
    int size_count;
    uint32_t* counts;    // (2, slabs, class_count, size_count): elements of each class and size
    int64_t* far_first;  // (2, slabs): where a block's elements beyond the classes begin
    int64_t* far_count;  // (2, slabs)
    double* far_square;  // squared distance, mm^2
    uint8_t* far_size;
    int64_t* pending;  // (2 * slabs + elements): workspace of backends that search in two steps; null on the CPU
};

COVFAST_HD inline int64_t slab_begin(const SurfaceSearchParams& p, int64_t slab) {
    return p.planes.grid.size[0] * slab / p.slabs;
}

}  // namespace covfast
