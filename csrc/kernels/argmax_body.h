// Per-voxel body of argmax, shared by the tails of argmax_cpu.cpp and argmax.cu.
#pragma once
#include "cpu/isa.h"
#include "kernels/argmax.h"

namespace covfast::COVFAST_ISA {
namespace {

// An infinite number less itself is NaN, as NaN is.
COVFAST_HD inline bool argmax_is_bad(float v) { return !(v - v == 0.0f); }

// Label of the voxel whose channel 0 is at x; `bad` becomes true if what decides is not finite.
COVFAST_HD inline uint8_t argmax_value(const ArgmaxParams& p, const float* x, bool& bad) {
    if (p.regions) {
        uint8_t label = 0;
        for (int64_t c = 0; c < p.channels; ++c) {
            const float v = x[c * p.channel_stride];
            bad = bad || argmax_is_bad(v);
            if (v > 0.0f) label = p.values[c];
        }
        return label;
    }
    float best = x[0];
    int64_t winner = 0;
    for (int64_t c = 1; c < p.channels; ++c) {
        const float v = x[c * p.channel_stride];
        if (v > best || (v != v && best == best)) best = v, winner = c;
    }
    bad = bad || argmax_is_bad(best);
    return p.values[winner];
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
