// The distance classes of surface's search: the squared distances that elements are counted by, nearest first, and for
// the nearest of them the offsets that the search tries.
#pragma once
#include <array>
#include <vector>

#include "kernels/surface_pass.h"

namespace covfast {

struct DistanceClasses {
    std::vector<double> square;         // rising; the first is 0
    std::vector<SurfaceClass> classes;  // offsets of the first so many
    std::vector<SurfaceOffset> offsets;
};

// The axes x, y, z: the map's axis that each is (-1 for the x of 2-D), and the spacing along it.
struct SearchAxes {
    std::array<int, 3> source;
    std::array<double, 3> spacing;
};

// Squared length of steps along x, y, z in float64, summed in the order of the map's axes.
double squared_steps(const SearchAxes& axes, const std::array<int64_t, 3>& steps);

// Classes with offsets, as many as the near search can use.
DistanceClasses near_classes(const SearchAxes& axes);

// Appends classes without offsets: the next squared distances between grid points, up to some thousand. A distance may
// be missing among them: then its elements are listed, not counted.
void append_far_classes(const SearchAxes& axes, DistanceClasses& table);

}  // namespace covfast
