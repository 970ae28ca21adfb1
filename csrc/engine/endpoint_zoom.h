// endpoint_zoom: a slice resampled so that its first and last voxels fall on the first and last of the output, as
// scipy.ndimage.zoom does with grid_mode=False and mode="constant", to the last bit.
//
// Output o of an axis lies at c = o * ((n_in - 1) / (n_out - 1)), in double, 0 where n_out is 1. A c that rounding puts
// beyond n_in - 1 is outside: there the output is 0. Order 0 takes floor(c + 0.5); order 1 adds the products of the
// four values with their weights in the order of rows, columns, in double.
// Source: scipy 1.17, ndimage/src/ni_interpolation.c, NI_ZoomShift; read for its arithmetic.
#pragma once
#include <cstdint>
#include <vector>

namespace covfast {

// One axis of order 0: which input each output shows, or -1 outside.
std::vector<int32_t> nearest_zoom(int64_t n_in, int64_t n_out);

// One axis of order 1.
struct LinearZoom {
    struct Tap {
        int32_t first, second;  // -1: outside
        double weight[2];
    };
    std::vector<Tap> taps;  // (n_out)
};
LinearZoom linear_zoom(int64_t n_in, int64_t n_out);

}  // namespace covfast
