// components: connected components of a label map, and what is kept of them.
//
// labels  (D, H, W) u8, any strides in elements, in host memory. 0 is background; voxels of one value that touch form
//         one component. Touch: 6 (faces), 18 (and edges), 26 (and corners); 4 and 8 are faces and corners within each
//         slice, so slices have no component in common, and a 2-D image is a volume of depth 1.
//         A table may put several values into one group (nnU-Net's regions) or ignore some: group[v] replaces v.
// Components are numbered from 0 in the order of their first voxels (D slowest, W fastest), whatever the number of
// threads. Kept as runs along W: 16 bytes a run, 8 a row and 64 a component, nothing the size of the volume.
// Throws VALUE_RANGE for another connectivity, SHAPE where views disagree or an axis is 2^31 or longer, MEMORY_LIMIT
// for 2^31 runs or more.
// Source: runs and union-find after He, Chao and Suzuki, IEEE TIP 17(5) 2008; slabs joined at their borders are ours.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/view.h"

namespace covfast {

using GroupTable = std::array<uint8_t, 256>;

// Voxels [begin, end) along W of one row.
struct ComponentRun {
    int32_t begin, end;
    int32_t component;
    uint8_t value;  // the group's
};

struct Component {
    uint8_t value;  // the group's
    int64_t voxels;
    std::array<int64_t, 3> begin, end;  // bounding box
};

struct Components {
    std::array<int64_t, 3> size;
    std::vector<int64_t> row_first;  // D * H + 1: row (d, h) has the runs row_first[d * H + h] to the next row's
    std::vector<ComponentRun> runs;
    std::vector<Component> list;
};

// threads <= 0: all. groups null: each value by itself.
Components find_components(const View3<const uint8_t>& labels, int connectivity, int threads,
                           const GroupTable* groups = nullptr);

// numbers[voxel] = 1 + component, 0 elsewhere. (D, H, W) i32, any strides.
void write_numbers(const Components& components, const View3<int32_t>& numbers, int threads);

// What becomes of components of equal size: the first or the last of them is the largest, or all are.
enum class Ties { kFirst, kLast, kAll };

// One flag per component, 1 where it is kept: the largest of each value; those of at least so many voxels.
std::vector<uint8_t> largest_of_each(const Components& components, Ties ties);
std::vector<uint8_t> at_least(const Components& components, int64_t voxels);

// Sets the voxels of the components not kept to `background`; others, such as ignored values, stay.
void clear_others(const Components& components, const std::vector<uint8_t>& kept, const View3<uint8_t>& labels,
                  int threads, uint8_t background = 0);

// Holes of one value: components of the other voxels, 0 or another label, that do not reach the border of the volume,
// or of their slice where the connectivity (of the holes' voxels) is 4 or 8. 6 is scipy.ndimage.binary_fill_holes.
// Written to out as `value`; the rest of out stays. labels and out may be the same memory.
void fill_holes(const View3<const uint8_t>& labels, uint8_t value, int connectivity, const View3<uint8_t>& out,
                int threads);

}  // namespace covfast
