// The last step of surface: counts by distance class and size, and the list of elements found far, become groups of
// equal distance and size.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/surface.h"

namespace covfast {

struct SurfaceCounts {
    const std::vector<double>* class_square;  // squared distance of each class
    std::vector<int64_t> counts;              // (classes, sizes)
    struct FarList {
        const double* square;
        const uint8_t* size;
        int64_t count;
    };
    std::vector<FarList> far;
    bool has_target;  // false: every distance is infinite
};

// sizes: the different sizes of elements, rising.
SurfaceGroups group_elements(const SurfaceCounts& counts, const std::vector<double>& sizes);

}  // namespace covfast
