// The maps of surface as its passes see them: axes in the order of memory, and the element sizes that follow.
#pragma once
#include <array>
#include <vector>

#include "kernels/surface.h"
#include "kernels/surface_classes.h"

namespace covfast {

// x is the slowest axis in memory, z the fastest. In 2-D x is an axis of one.
struct MapAxes {
    SearchAxes search;
    std::array<int64_t, 3> size;
    LabelMap maps[2];

    int64_t voxels() const { return size[0] * size[1] * size[2]; }
};

MapAxes memory_order(const SurfaceParams& params);

// The different sizes of elements, rising, and which of them each 8-bit code has that the passes make.
struct ElementSizes {
    std::vector<double> sizes;
    std::vector<uint8_t> of_code;  // (256)
};

ElementSizes element_sizes(const SurfaceParams& params, const SearchAxes& axes);

}  // namespace covfast
