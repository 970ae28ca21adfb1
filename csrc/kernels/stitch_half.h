// stitch_half: sum[origin + p] = half(sum + scale * x * weight), count[origin + p] = half(count + weight) in IEEE half
// precision, rounded at each window to nearest even: the numbers of nnU-Net v2 on a CPU, where the prediction is f32,
// the importance and both volumes f16.
// stitch_half_plane: y = half(sum / count); of several networks ("folds") half(half(y_0 + y_1) + ...) / folds in half.
//
// x       (C, window) f32, any strides in elements; a stride of 0 repeats; read mirrored along flipped axes as by
// stitch weight  (window) f16 as bits, contiguous sum     (ring, C, height, width) f16 as bits, contiguous, plane d of
// the volume in slot d % ring count   (ring, height, width) f16 as bits, or null where another network's windows
// counted already y       (C, height, width) f32, which hold f16 numbers; any strides of channel and row What of the
// window lies outside the volume is left out. Overflow gives infinity, as there. The product and the sum are each
// rounded to f32 before the sum is rounded to f16, so that every instruction set gives the same bits. No workspace.
// Throws SHAPE if a size is negative, the ring too small, or there is no fold. Source: nnunetv2 2.8.1,
// inference/predict_from_raw_data.py.
#pragma once
#include <cstdint>

namespace covfast {

struct StitchHalfParams {
    const float* x;
    int64_t channels;
    int64_t window[3];
    int64_t stride[4];  // of x along C, D, H, W, in elements
    bool flip[3];
    float scale;             // of x: 1, or 1 / 8 for the sum of eight mirrored predictions
    const uint16_t* weight;  // (window)
    uint16_t* sum;           // (ring, C, height, width)
    uint16_t* count;         // (ring, height, width) or null
    int64_t ring, depth, height, width;
    int64_t origin[3];  // of the window in the volume (depth, height, width); it may lie outside
};

struct StitchHalfPlaneParams {
    const uint16_t* sum;    // (folds, C, height, width), folds `fold_stride` elements apart
    const uint16_t* count;  // (height, width)
    int64_t folds, fold_stride;
    int64_t channels, height, width;
    float* y;
    int64_t y_channel_stride, y_row_stride;  // in elements
};

struct Context;
void stitch_half(const StitchHalfParams& params, const Context& context);
void stitch_half_plane(const StitchHalfPlaneParams& params, const Context& context);

}  // namespace covfast
