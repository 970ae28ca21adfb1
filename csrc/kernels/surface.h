// surface: how far apart two label maps' surfaces lie, for every label: counts of voxels, and for each direction the
// surface elements grouped by their exact distance to the other surface.
//
// truth, prediction  (D, H, W) or (H, W) label maps, any integer, bool or whole-number float type, any strides, in the
//                    memory of the backend. A label's mask holds the voxels whose value is one of its values.
// surfels            Elements are the corners of voxels whose 2x2x2 (2x2) voxels are not all alike; outside counts as
//                    background. The size of one is the area (length) that marching cubes gives its 8-bit code, as in
//                    google-deepmind/surface-distance.
// voxels             Elements are the voxels of the mask with a face neighbour outside of it; their size is 1.
// distance           From an element to the nearest of the other surface: sqrt of the sum, in axis order, of
//                    (steps * spacing)^2 in float64; infinite where the other surface is empty.
//
// The same for any layout of the maps and any number of threads; an image (2-D) is one thread's work. Workspace: some 6
// bits a voxel of the largest label's box (8 in 2-D), and room for 9 bytes an element, of which only elements far from
// the other surface touch theirs. Throws SHAPE, VALUE_RANGE (fractions in a float map), MEMORY_LIMIT, UNAVAILABLE.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/surface_pass.h"

namespace covfast {

struct Context;

enum class SurfaceKind { kNone, kSurfels, kVoxels };

struct SurfaceParams {
    const void* maps[2];  // truth, prediction
    LabelType types[2];
    int rank;              // 2 or 3
    int64_t size[3];       // of both maps; the first `rank` count
    int64_t stride[2][3];  // of each map, in elements
    double spacing_mm[3];
    SurfaceKind kind;
    std::vector<std::vector<int64_t>> values[2];  // of each map, for each label
};

// Elements of equal distance and size, sorted by both.
struct SurfaceGroups {
    std::vector<double> distance_mm, element;
    std::vector<int64_t> count;
};

struct LabelMeasure {
    int64_t true_positives, false_positives, false_negatives, true_negatives;  // voxels
    SurfaceGroups truth_to_prediction, prediction_to_truth;
};

std::vector<LabelMeasure> surface(const SurfaceParams& params, const Context& context);

}  // namespace covfast
