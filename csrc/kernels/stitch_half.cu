// One thread a value of the window, grid-stride, as stitch.cu; the values of the count follow as those of one more
// channel.
#include "cuda/launch.h"
#include "kernels/stitch_half_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline int64_t stitch_half_count_of(const StitchHalfParams& p, const StitchBox& box) {
    return (p.channels + (p.count != nullptr ? 1 : 0)) * box.planes * box.rows * box.columns;
}

__global__ void stitch_half_kernel(StitchHalfParams p) {
    const StitchBox box = stitch_box(p);
    const int64_t n = stitch_half_count_of(p, box);
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t w = box.w.begin + i % box.columns, r = i / box.columns, h = box.h.begin + r % box.rows;
        const int64_t d = box.d.begin + r / box.rows % box.planes, c = r / box.rows / box.planes;
        const uint16_t weight = p.weight[(d * p.window[1] + h) * p.window[2] + w];
        if (c == p.channels) {
            uint16_t* count = p.count + stitch_half_row(p, 1, 0, d, h) + w;
            *count = stitch_half_count(*count, weight);
        } else {
            uint16_t* sum = p.sum + stitch_half_row(p, p.channels, c, d, h) + w;
            *sum = stitch_half_value(*sum, p.scale, weight, p.x[stitch_source(p, c, d, h, w)]);
        }
    }
}

__global__ void stitch_half_plane_kernel(StitchHalfPlaneParams p) {
    const int64_t n = p.channels * p.height * p.width;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t w = i % p.width, h = i / p.width % p.height, c = i / p.width / p.height;
        p.y[c * p.y_channel_stride + h * p.y_row_stride + w] = stitch_half_mean(p, p.sum + i, p.count[h * p.width + w]);
    }
}

}  // namespace

void stitch_half(const StitchHalfParams& params, const Exec& exec) {
    launch("stitch_half", stitch_half_kernel, blocks_for(stitch_half_count_of(params, stitch_box(params))),
           kThreadsPerBlock, 0, exec.stream, params);
}

void stitch_half_plane(const StitchHalfPlaneParams& params, const Exec& exec) {
    launch("stitch_half_plane", stitch_half_plane_kernel, blocks_for(params.channels * params.height * params.width),
           kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
