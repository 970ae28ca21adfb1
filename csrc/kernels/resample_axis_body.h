// Per-value body of resample_axis for one output (a, o, b); the CPU twin keeps the same order of k.
#pragma once
#include "cpu/isa.h"
#include "kernels/resample_axis.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline float resample_value(const ResampleAxisParams& p, int64_t a, int64_t o, int64_t b) {
    const float* x = p.x + (a * p.n_in + p.first[o]) * p.inner + b;
    float sum = 0;
    for (int64_t k = 0; k < p.taps; ++k) sum += p.weight[o * p.taps + k] * x[k * p.inner];
    return sum;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
