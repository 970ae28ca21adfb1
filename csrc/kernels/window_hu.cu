// One thread a voxel of y, grid-stride: writes coalesce; x is read along its own last axis.
#include "cuda/launch.h"
#include "kernels/table.h"
#include "kernels/window_hu_body.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void window_hu_kernel(WindowHuParams p) {
    const int64_t n = p.size[0] * p.size[1] * p.size[2];
    const float scale = 1.0f / (p.high - p.low);
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t w = i % p.size[2], h = i / p.size[2] % p.size[1], d = i / p.size[2] / p.size[1];
        const int64_t at = d * p.stride[0] + h * p.stride[1] + w * p.stride[2];
        const float v =
            p.is_float ? static_cast<const float*>(p.x)[at] : static_cast<float>(static_cast<const int16_t*>(p.x)[at]);
        p.y[i] = window_value(v, p.low, p.high, scale);
    }
}

}  // namespace

void window_hu(const WindowHuParams& params, const Exec& exec) {
    launch("window_hu", window_hu_kernel, blocks_for(params.size[0] * params.size[1] * params.size[2]),
           kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
