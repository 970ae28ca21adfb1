// One thread a value of y, grid-stride: for inner > 1 neighbouring threads read neighbouring x; the table is cached.
#include "cuda/launch.h"
#include "kernels/resample_axis_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void resample_axis_kernel(ResampleAxisParams p) {
    const int64_t n = p.outer * p.n_out * p.inner;
    for (int64_t i = grid_begin(); i < n; i += grid_step())
        p.y[i] = resample_value(p, i / p.inner / p.n_out, i / p.inner % p.n_out, i % p.inner);
}

}  // namespace

void resample_axis(const ResampleAxisParams& params, const Exec& exec) {
    launch("resample_axis", resample_axis_kernel, blocks_for(params.outer * params.n_out * params.inner),
           kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
