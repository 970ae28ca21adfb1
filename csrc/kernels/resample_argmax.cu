// One thread a voxel of y, grid-stride: threads of a warp read neighbouring columns of each channel. The rows' flags
// are cleared by a launch before; threads that find one set the same value.
#include "cuda/launch.h"
#include "kernels/resample_argmax_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void clear_bad_kernel(ResampleArgmaxParams p) {
    for (int64_t row = grid_begin(); row < p.out_rows; row += grid_step()) p.bad[row] = 0;
}

__global__ void resample_argmax_kernel(ResampleArgmaxParams p) {
    for (int64_t i = grid_begin(); i < p.out_rows * p.out_width; i += grid_step()) {
        const int64_t r = i / p.out_width, w = i % p.out_width;
        bool is_bad = false;
        p.y[r * p.y_row_stride + w * p.y_stride] = resampled_label(p, r, w, is_bad);
        if (is_bad && p.bad != nullptr) p.bad[r] = 1;
    }
}

}  // namespace

void resample_argmax(const ResampleArgmaxParams& params, const Exec& exec) {
    if (params.bad != nullptr)
        launch("resample_argmax", clear_bad_kernel, blocks_for(params.out_rows), kThreadsPerBlock, 0, exec.stream,
               params);
    launch("resample_argmax", resample_argmax_kernel, blocks_for(params.out_rows * params.out_width), kThreadsPerBlock,
           0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
