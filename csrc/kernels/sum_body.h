// Sums of a run of f32 in f64, in kSumLanes partial sums that the compiler vectorises; the order depends on the length
// alone. Compiled once per instruction set.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kSumLanes = 16;

// Sum of (x - offset)^power for power 1 or 2.
template <int kPower>
inline double sum_f64(const float* x, int64_t n, double offset) {
    double lane[kSumLanes] = {};
    int64_t i = 0;
    for (; i + kSumLanes <= n; i += kSumLanes)
        for (int64_t k = 0; k < kSumLanes; ++k) {
            const double d = x[i + k] - offset;
            lane[k] += kPower == 2 ? d * d : d;
        }
    double sum = 0;
    for (; i < n; ++i) sum += kPower == 2 ? (x[i] - offset) * (x[i] - offset) : x[i] - offset;
    for (const double part : lane) sum += part;
    return sum;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
