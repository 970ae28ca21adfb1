// stitch: sum[origin + p] += weight_d[d] weight_h[h] weight_w[w] * x[c, q], p = (d, h, w), q = p, or window - 1 - p
// along a flipped axis: adds one window of a sliding window, mirrored back, to a volume of which a ring of planes is
// held. stitch_plane: y = sum / (total_d * total_h[h] * total_w[w]): one plane in which all windows are, as their mean.
//
// x       (C, window) f32, any strides in elements; a stride of 0 repeats
// weight  (window[axis]) f32 for each axis; their product, but no less than `floor`, is the window's importance
// sum     (ring, C, height, width) f32, contiguous: plane d of the volume lies in slot d % ring. May not overlap x.
// y       (C, height, width) f32, any strides of channel and row; may be `sum` itself with its strides, may not overlap
//         it otherwise
// What of the window lies outside the volume (depth, height, width) is left out. The ring must hold as many planes as
// the window has inside. Each sum is changed once a call. stitch: within 2^-22 of |weight * x| and 2^-24 of |sum|
// (fused multiply-adds where the instruction set has them). stitch_plane: within 3 * 2^-24.
// No workspace. Throws SHAPE if a size is negative or the ring too small.
// Source: nnU-Net, Isensee et al. 2021, doi 10.1038/s41592-020-01008-z (sliding window, Gaussian importance). The total
// of a grid of windows is a product over the axes because their importance is: no volume of weights is held.
#pragma once
#include <cstdint>

namespace covfast {

struct StitchParams {
    const float* x;
    int64_t channels;
    int64_t window[3];
    int64_t stride[4];  // of x along C, D, H, W, in elements
    bool flip[3];
    const float* weight[3];  // (window[0]), (window[1]), (window[2])
    float* sum;              // (ring, C, height, width)
    int64_t ring, depth, height, width;
    int64_t origin[3];  // of the window in the volume (depth, height, width); it may lie outside
    float floor = 0;    // least importance; above 0, the total is no product over the axes any more
};

struct StitchPlaneParams {
    const float* sum;  // (C, height, width)
    int64_t channels, height, width;
    float total_d;         // of this plane: the sum of weight[0] over the windows in it, times the mirrored readings
    const float* total_h;  // (height)
    const float* total_w;  // (width)
    float* y;
    int64_t y_channel_stride, y_row_stride;  // in elements
};

struct Context;
void stitch(const StitchParams& params, const Context& context);
void stitch_plane(const StitchPlaneParams& params, const Context& context);

}  // namespace covfast
