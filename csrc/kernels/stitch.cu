// One thread a value of the window, grid-stride: threads of a warp add to neighbouring columns, and no two threads of a
// launch to the same sum. Windows follow each other on the stream.
#include "cuda/launch.h"
#include "kernels/stitch_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void stitch_kernel(StitchParams p) {
    const StitchBox box = stitch_box(p);
    const int64_t n = p.channels * box.planes * box.rows * box.columns;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t w = box.w.begin + i % box.columns, r = i / box.columns, h = box.h.begin + r % box.rows;
        const int64_t c = r / box.rows % p.channels, d = box.d.begin + r / box.rows / p.channels;
        float* sum = p.sum + stitch_row(p, c, d, h) + w;
        *sum = stitch_value(*sum, p.weight[0][d] * p.weight[1][h], p.weight[2][w], p.floor,
                            p.x[stitch_source(p, c, d, h, w)]);
    }
}

__global__ void stitch_plane_kernel(StitchPlaneParams p) {
    const int64_t n = p.channels * p.height * p.width;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t w = i % p.width, h = i / p.width % p.height, c = i / p.width / p.height;
        p.y[c * p.y_channel_stride + h * p.y_row_stride + w] =
            stitch_mean(p.sum[i], p.total_d * p.total_h[h], p.total_w[w]);
    }
}

}  // namespace

void stitch(const StitchParams& params, const Exec& exec) {
    const StitchBox box = stitch_box(params);
    launch("stitch", stitch_kernel, blocks_for(params.channels * box.planes * box.rows * box.columns), kThreadsPerBlock,
           0, exec.stream, params);
}

void stitch_plane(const StitchPlaneParams& params, const Exec& exec) {
    launch("stitch_plane", stitch_plane_kernel, blocks_for(params.channels * params.height * params.width),
           kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
