// One thread an item, grid-stride: memory bound, so neighbouring threads take neighbouring items.
#include "cuda/launch.h"
#include "kernels/null_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

__global__ void null_kernel(NullParams p) {
    for (int64_t i = grid_begin(); i < p.n; i += grid_step()) null_item(p, i);
}

}  // namespace

void null(const NullParams& params, const Exec& exec) {
    launch("null", null_kernel, blocks_for(params.n), kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
