// Per-value bodies of stitch_half and stitch_half_plane. Product and sum are rounded one after the other, never in one
// instruction: CMakeLists.txt compiles the CPU's file so.
#pragma once
#include "kernels/half_body.h"
#include "kernels/stitch_half.h"
#include "kernels/stitch_position.h"

namespace covfast::COVFAST_ISA {
namespace {

// Where row (d, h) of the window begins in a volume of `channels`, as if its first column were column 0 of the volume.
COVFAST_HD inline int64_t stitch_half_row(const StitchHalfParams& p, int64_t channels, int64_t c, int64_t d,
                                          int64_t h) {
    return (((p.origin[0] + d) % p.ring * channels + c) * p.height + p.origin[1] + h) * p.width + p.origin[2];
}

COVFAST_HD inline float half_product(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

COVFAST_HD inline uint16_t stitch_half_value(uint16_t sum, float scale, uint16_t weight, float x) {
    return half_from_float(half_to_float(sum) + half_product(half_product(x, scale), half_to_float(weight)));
}

COVFAST_HD inline uint16_t stitch_half_count(uint16_t count, uint16_t weight) {
    return half_from_float(half_to_float(count) + half_to_float(weight));
}

// The mean over the folds of one voxel; `sum` is that of fold 0.
COVFAST_HD inline float stitch_half_mean(const StitchHalfPlaneParams& p, const uint16_t* sum, uint16_t count) {
    const float divisor = half_to_float(count);
    uint16_t mean = half_from_float(half_to_float(sum[0]) / divisor);
    for (int64_t f = 1; f < p.folds; ++f) {
        const uint16_t next = half_from_float(half_to_float(sum[f * p.fold_stride]) / divisor);
        mean = half_from_float(half_to_float(mean) + half_to_float(next));
    }
    return half_to_float(p.folds == 1 ? mean : half_from_float(half_to_float(mean) / static_cast<float>(p.folds)));
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
