// Per-voxel body of resample_argmax, for resample_argmax.cu; the CPU twin keeps the same order of mixing.
#pragma once
#include "cpu/isa.h"
#include "kernels/argmax_body.h"
#include "kernels/half_body.h"
#include "kernels/resample_argmax.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline float lerp(float a, float b, float mix) { return a + mix * (b - a); }

// Channel c at output (r, w). What has no share is not read.
COVFAST_HD inline float resampled_logit(const ResampleArgmaxParams& p, int64_t c, int64_t r, int64_t w) {
    const float row_mix = p.row_mix[r], column_mix = p.column_mix[w];
    const bool has_below = row_mix != 0.0f && p.row[r] + 1 < p.height, has_next = p.column[w] + 1 < p.width;
    const int64_t at = c * p.channel_stride + p.row[r] * p.row_stride + p.column[w];
    float line[2] = {0, 0};
    for (int i = 0; i <= has_below; ++i) {
        float value[2];
        for (int j = 0; j <= has_next; ++j) {
            const int64_t from = at + i * p.row_stride + j;
            value[j] = p.above == nullptr ? p.below[from] : lerp(p.below[from], p.above[from], p.mix);
        }
        line[i] = has_next ? lerp(value[0], value[1], column_mix) : value[0];
    }
    const float v = has_below ? lerp(line[0], line[1], row_mix) : line[0];
    return p.round_to_half ? half_to_float(half_from_float(v)) : v;
}

COVFAST_HD inline uint8_t resampled_label(const ResampleArgmaxParams& p, int64_t r, int64_t w, bool& bad) {
    float best = resampled_logit(p, 0, r, w);
    uint8_t label = p.regions && !(best > 0.0f) ? 0 : p.values[0];
    bad = p.regions && argmax_is_bad(best);
    for (int64_t c = 1; c < p.channels; ++c) {
        const float v = resampled_logit(p, c, r, w);
        if (p.regions) {
            if (v > 0.0f) label = p.values[c];
            bad = bad || argmax_is_bad(v);
        } else if (v > best || (v != v && best == best)) {
            best = v, label = p.values[c];
        }
    }
    if (!p.regions) bad = argmax_is_bad(best);
    return label;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
