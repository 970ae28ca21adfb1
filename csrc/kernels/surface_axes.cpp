#include "kernels/surface_axes.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/surface_area.h"

namespace covfast {
namespace {

// A code whose bits are numbered by (x, y, z), with its bits numbered by the map's axes.
int code_in_map_order(int code, const SearchAxes& axes) {
    int moved = 0;
    for (int bit = 0; bit < 8; ++bit) {
        if (!(code >> bit & 1)) continue;
        int to = 0;
        for (int i = 0; i < 3; ++i) to |= (bit >> (2 - i) & 1) << (2 - axes.source[i]);
        moved |= 1 << to;
    }
    return moved;
}

// In 2-D both halves of a code are alike, and only y and z can have changed places.
int flat_code_in_map_order(int code, const SearchAxes& axes) {
    const bool is_swapped = axes.source[1] == 1;
    return is_swapped ? (code & 0x99) | (code & 0x22) << 1 | (code & 0x44) >> 1 : code;
}

std::array<double, 256> sizes_by_code(const SurfaceParams& params, const SearchAxes& axes) {
    std::array<double, 256> sizes;
    sizes.fill(1.0);
    if (params.kind != SurfaceKind::kSurfels) return sizes;
    const double* mm = params.spacing_mm;
    const auto of_map = params.rank == 2 ? contour_lengths({mm[0], mm[1]}) : surfel_areas({mm[0], mm[1], mm[2]});
    for (int code = 0; code < 256; ++code)
        sizes[code] = of_map[params.rank == 2 ? flat_code_in_map_order(code, axes) : code_in_map_order(code, axes)];
    return sizes;
}

}  // namespace

MapAxes memory_order(const SurfaceParams& params) {
    std::array<int, 3> order{0, 1, 2};
    const auto stride = [&](int axis) { return std::abs(params.stride[0][axis]) + std::abs(params.stride[1][axis]); };
    // A word along an axis of a few voxels would be all but empty: such an axis is fast only if no other is longer.
    const auto is_short = [&](int axis) { return params.size[axis] < 8; };
    std::stable_sort(order.begin(), order.begin() + params.rank,
                     [&](int a, int b) { return is_short(a) != is_short(b) ? is_short(a) : stride(a) > stride(b); });
    if (params.rank == 2) order = {-1, order[0], order[1]};
    MapAxes axes{{order, {}}, {}, {}};
    for (int side = 0; side < 2; ++side) axes.maps[side] = {params.maps[side], params.types[side], {}};
    for (int i = 0; i < 3; ++i) {
        const int from = order[i];
        axes.size[i] = from < 0 ? 1 : params.size[from];
        axes.search.spacing[i] = from < 0 ? 1.0 : params.spacing_mm[from];
        for (int side = 0; side < 2; ++side) axes.maps[side].stride[i] = from < 0 ? 0 : params.stride[side][from];
    }
    return axes;
}

ElementSizes element_sizes(const SurfaceParams& params, const SearchAxes& axes) {
    const std::array<double, 256> by_code = sizes_by_code(params, axes);
    ElementSizes found{{by_code.begin(), by_code.end()}, {}};
    std::vector<double>& sizes = found.sizes;
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    for (const double size : by_code)
        found.of_code.push_back(std::lower_bound(sizes.begin(), sizes.end(), size) - sizes.begin());
    return found;
}

}  // namespace covfast
