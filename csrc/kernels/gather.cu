// One thread a value of y, grid-stride: writes coalesce; x is read along its own last axis.
#include "cuda/launch.h"
#include "kernels/gather_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void gather_kernel(GatherParams p) {
    const int64_t plane = p.window[1] * p.window[2], n = p.channels * p.window[0] * plane;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t d = gather_position(p, 0, i / plane % p.window[0]);
        const int64_t h = gather_position(p, 1, i / p.window[2] % p.window[1]);
        const int64_t w = gather_position(p, 2, i % p.window[2]);
        const bool is_inside = gather_is_inside(p, 0, d) && gather_is_inside(p, 1, h) && gather_is_inside(p, 2, w);
        const int64_t c = i / plane / p.window[0];
        p.y[i] = is_inside ? p.x[c * p.stride[0] + d * p.stride[1] + h * p.stride[2] + w * p.stride[3]] : p.fill;
    }
}

}  // namespace

void gather(const GatherParams& params, const Exec& exec) {
    const int64_t n = params.channels * params.window[0] * params.window[1] * params.window[2];
    launch("gather", gather_kernel, blocks_for(n), kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
