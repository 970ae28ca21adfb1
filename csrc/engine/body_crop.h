// body_crop: the box of an axial CT slice that holds the body, found as lungmask finds it.
//
// The slice, clipped to [low, high] HU, is shrunk to 128 x 128 (order 0); above -500 HU is body. Closing by a cross,
// holes filled (8-connected), two erosions, the largest 4-connected piece, two dilations; grown back to the slice's
// size (order 0); of what is then 8-connected, the box of the piece whose first voxel comes first, which need not be
// the largest. Nothing left: the whole slice. Everything outside the 128 x 128 is air.
// Source: lungmask 0.2.22, lungmask/utils.py; arithmetic of scipy.ndimage and skimage.measure.
#pragma once
#include <array>
#include <cstdint>

namespace covfast {

// (H, W) of HU, any strides.
struct HuSlice {
    const void* data;
    bool is_float;  // f32, else i16
    std::array<int64_t, 2> size, stride;
    float low_hu, high_hu;  // clipped to

    float at(int64_t h, int64_t w) const;
};

struct SliceBox {
    std::array<int64_t, 2> begin, end;  // rows, columns
};

SliceBox body_box(const HuSlice& slice);

inline float HuSlice::at(int64_t h, int64_t w) const {
    const int64_t i = h * stride[0] + w * stride[1];
    const float hu = is_float ? static_cast<const float*>(data)[i] : static_cast<const int16_t*>(data)[i];
    return hu < low_hu ? low_hu : hu > high_hu ? high_hu : hu;  // NaN stays
}

}  // namespace covfast
