// Elementary functions of a register of floats, the operations of their scalar twins in the same order.
#pragma once
#include <cstdint>

#include "cpu/simd.h"

namespace covfast::COVFAST_ISA {
namespace {

typedef int32_t VecInt __attribute__((vector_size(4 * kVecLanes)));

// exp_f32 of kernels/exp_body.h: there is its source and its error.
inline Vec exp_vec(Vec x) {
    constexpr float kLow = -87.33654f, kHigh = 88.72283f;
    const Vec low = fill(kLow), high = fill(kHigh);
    const Vec inside = x > high ? high : (x > low ? x : low);
    const Vec round = fill(12582912.0f);
    const Vec k = (inside * 1.44269504f + round) - round;
    const Vec r = (inside - k * 0.693359375f) + k * 2.12194440e-4f;
    Vec e = fill(1.0f / 5040);
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r * r + r + 1.0f;
    const VecInt whole = __builtin_convertvector(k, VecInt), half = whole >> 1;
    e = e * (Vec)((half + 127) << 23) * (Vec)((whole - half + 127) << 23);
    e = x > high ? fill(__builtin_inff()) : e;
    e = x < low ? Vec{} : e;
    return x == x ? e : x;
}

inline Vec sigmoid_vec(Vec x) { return 1.0f / (1.0f + exp_vec(-x)); }

}  // namespace
}  // namespace covfast::COVFAST_ISA
