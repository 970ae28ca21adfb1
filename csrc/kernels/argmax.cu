// One thread a voxel, grid-stride: threads of a warp read neighbouring columns of each channel. The rows' flags are
// cleared by a launch before; threads that find one set the same value.
#include "cuda/launch.h"
#include "kernels/argmax_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void clear_flags_kernel(ArgmaxParams p) {
    for (int64_t row = grid_begin(); row < p.rows; row += grid_step()) p.bad[row] = 0;
}

__global__ void argmax_kernel(ArgmaxParams p) {
    const int64_t n = p.rows * p.width;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t row = i / p.width, w = i % p.width;
        bool is_bad = false;
        p.y[row * p.y_row_stride + w * p.y_stride] = argmax_value(p, p.x + row * p.row_stride + w, is_bad);
        if (is_bad && p.bad != nullptr) p.bad[row] = 1;
    }
}

}  // namespace

void argmax(const ArgmaxParams& params, const Exec& exec) {
    if (params.bad != nullptr)
        launch("argmax", clear_flags_kernel, blocks_for(params.rows), kThreadsPerBlock, 0, exec.stream, params);
    launch("argmax", argmax_kernel, blocks_for(params.rows * params.width), kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
