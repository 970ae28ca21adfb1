// The last step of surface: counts by distance class and code, and the list of elements found far, become groups of
// equal distance and size.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "kernels/surface.h"

namespace covfast {

struct SurfaceCounts {
    const std::vector<double>* class_square;  // squared distance of each class
    std::vector<int64_t> counts;              // (classes, 256)
    struct FarList {
        const double* square;
        const uint8_t* code;
        int64_t count;
    };
    std::vector<FarList> far;
    bool has_target;  // false: every distance is infinite
};

// element: size of an element by its code.
SurfaceGroups group_elements(const SurfaceCounts& counts, const std::array<double, 256>& element);

}  // namespace covfast
