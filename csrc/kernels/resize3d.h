// resize3d: linear interpolation between the two nearest samples along each axis (bilinear for D = 1). Output o of an
// axis lies at o (n_in - 1) / (n_out - 1) with align_corners, else at (o + 0.5) scale - 0.5, not below 0; beyond the
// last sample its value continues. scale = n_in / n_out, or 1 / factor where the size came from a factor. The other
// kinds copy one sample: kNearest that of floor(o scale), kNearestExact that of floor((o + 0.5) scale).
//
// x  (planes, in_size) f32, contiguous; planes = batch * channels
// y  (planes, out_size) f32, contiguous; may not overlap x
// Positions and sums in f32, as in torch: within 2^-23 * n_in of the difference of neighbours. Constants stay exact.
// Throws SHAPE if a size is below 1, VALUE_RANGE if a factor is not a positive finite number.
// Source: torch.nn.functional.interpolate, modes linear, bilinear, trilinear, nearest, nearest-exact.
#pragma once
#include <cstdint>

namespace covfast {

struct Resize3dParams {
    const float* x;  // (planes, in_size)
    float* y;        // (planes, out_size)
    int64_t planes;
    int64_t in_size[3], out_size[3];  // (D, H, W)
    const int64_t* left[3];           // (out_size[a]), 0 <= left < in_size[a]
    const float* fraction[3];         // (out_size[a]); null where one sample is copied
};

struct Context;
// Checks the sizes and runs on the context's backend; the tables are those of resize_axis (kernels/resize_axis.h).
void resize3d(const Resize3dParams& params, const Context& context);

}  // namespace covfast
