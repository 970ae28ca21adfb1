// One stream in, one stream out: memory bound, so the plain loop is left to the compiler's vectoriser.
#include "kernels/null_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;  // 256 KiB in, 256 KiB out: a block fits in L2

void null_range(const void* params, int64_t begin, int64_t end) {
    const NullParams p = *static_cast<const NullParams*>(params);
    for (int64_t i = begin; i < end; ++i) null_item(p, i);
}

}  // namespace

void null(const NullParams& params, const Exec& exec) {
    exec.parallel_for(null_range, &params, params.n, kGrain, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
