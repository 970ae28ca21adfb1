// Per-value bodies of stitch and stitch_plane; the CPU twin keeps the order of the products.
#pragma once
#include "kernels/stitch.h"
#include "kernels/stitch_position.h"

namespace covfast::COVFAST_ISA {
namespace {

// Where row (c, d, h) of the window begins in the sums, as if its first column were column 0 of the volume.
COVFAST_HD inline int64_t stitch_row(const StitchParams& p, int64_t c, int64_t d, int64_t h) {
    return (((p.origin[0] + d) % p.ring * p.channels + c) * p.height + p.origin[1] + h) * p.width + p.origin[2];
}

COVFAST_HD inline float stitch_value(float sum, float row_weight, float column_weight, float floor, float x) {
    const float weight = row_weight * column_weight;
    return sum + (weight > floor ? weight : floor) * x;
}

COVFAST_HD inline float stitch_mean(float sum, float row_total, float column_total) {
    return sum / (row_total * column_total);
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
