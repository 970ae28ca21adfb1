// inner > 1: whole rows of `inner` are combined with one weight a tap, so the vector runs along inner and x, a few rows
// apart, stays in L1. inner == 1 (the last axis): the taps of neighbouring outputs lie side by side; a dot product
// each.
#include "kernels/resample_axis_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kValuesPerBlock = 1 << 14;

void combine_rows(const float* x, const float* weight, int64_t taps, int64_t inner, float* y) {
    for (int64_t b = 0; b < inner; ++b) y[b] = weight[0] * x[b];
    for (int64_t k = 1; k < taps; ++k) {
        const float w = weight[k];
        if (w == 0.0f) continue;
        const float* row = x + k * inner;
        for (int64_t b = 0; b < inner; ++b) y[b] += w * row[b];
    }
}

void resample_block(const void* params, int64_t begin, int64_t end) {
    const ResampleAxisParams& p = *static_cast<const ResampleAxisParams*>(params);
    for (int64_t r = begin; r < end; ++r) {
        const int64_t a = r / p.n_out, o = r % p.n_out;
        const float* x = p.x + (a * p.n_in + p.first[o]) * p.inner;
        const float* weight = p.weight + o * p.taps;
        if (p.inner == 1) {
            p.y[r] = resample_value(p, a, o, 0);
        } else {
            combine_rows(x, weight, p.taps, p.inner, p.y + r * p.inner);
        }
    }
}

}  // namespace

void resample_axis(const ResampleAxisParams& params, const Exec& exec) {
    if (params.inner == 0) return;
    const int64_t rows = kValuesPerBlock / params.inner;
    exec.parallel_for(resample_block, &params, params.outer * params.n_out, rows < 1 ? 1 : rows, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
