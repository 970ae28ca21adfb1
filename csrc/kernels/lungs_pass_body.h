// Per-voxel bodies of lungs_shrink and lungs_paint, shared by lungs_pass_cpu.cpp and lungs_pass.cu.
#pragma once
#include "cpu/isa.h"
#include "kernels/lungs_pass.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline int32_t clamp_hu(int32_t v) {
    v = v < kPaddingHu ? kAirHu : v;
    return v < kDenseHu ? v : kDenseHu;
}

COVFAST_HD inline int32_t lungs_hu(int16_t v) { return clamp_hu(v); }

// Rounded to the nearest, halves away from zero. NaN and infinity: see lungs_bad.
COVFAST_HD inline int32_t lungs_hu(float v) {
    v = v > -4000.0f ? v : -4000.0f;
    v = v < 4000.0f ? v : 4000.0f;
    return clamp_hu(static_cast<int32_t>(v + (v < 0.0f ? -0.5f : 0.5f)));
}

COVFAST_HD inline int32_t lungs_bad(int16_t) { return 0; }
COVFAST_HD inline int32_t lungs_bad(float v) { return v - v == 0.0f ? 0 : 1; }

// Mean of `count` voxels, halves up.
COVFAST_HD inline int16_t lungs_mean(int32_t sum, int32_t count) {
    const int32_t twice = 2 * sum + count, by = 2 * count;
    return static_cast<int16_t>(twice >= 0 ? twice / by : -((by - 1 - twice) / by));
}

COVFAST_HD inline int64_t lungs_end(int64_t coarse, int64_t factor, int64_t size) {
    return (coarse + 1) * factor < size ? (coarse + 1) * factor : size;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
