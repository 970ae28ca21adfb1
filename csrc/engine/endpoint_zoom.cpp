#include "engine/endpoint_zoom.h"

#include <cmath>

namespace covfast {
namespace {

// Calls fn(output, position) for each output inside.
template <class Fn>
void for_each_inside(int64_t n_in, int64_t n_out, const Fn& fn) {
    const double step = n_out > 1 ? static_cast<double>(n_in - 1) / static_cast<double>(n_out - 1) : 1.0;
    for (int64_t o = 0; o < n_out; ++o) {
        const double at = static_cast<double>(o) * step;
        if (at <= static_cast<double>(n_in - 1)) fn(o, at);
    }
}

}  // namespace

std::vector<int32_t> nearest_zoom(int64_t n_in, int64_t n_out) {
    std::vector<int32_t> from(n_out, -1);
    for_each_inside(n_in, n_out, [&](int64_t o, double at) { from[o] = static_cast<int32_t>(std::floor(at + 0.5)); });
    return from;
}

LinearZoom linear_zoom(int64_t n_in, int64_t n_out) {
    LinearZoom zoom;
    zoom.taps.assign(n_out, {-1, -1, {0, 0}});
    for_each_inside(n_in, n_out, [&](int64_t o, double at) {
        const double floor = std::floor(at), fraction = at - floor;
        const auto first = static_cast<int32_t>(floor);
        // The second weight is what is missing to 1, which is not always the fraction's last bit. Behind the last voxel
        // it is 0; any value does.
        const double weight = 1.0 - fraction;
        zoom.taps[o] = {first, first + 1 < n_in ? first + 1 : first, {weight, 1.0 - weight}};
    });
    return zoom;
}

}  // namespace covfast
