// log(x) in f32 for normal x > 0 without a call, so that a loop over it vectorises and gives the same bits on every
// machine of one instruction set. log(2^k m) = k ln 2 + 2 atanh(s) with s = (m - 1) / (m + 1) and m in
// [1 / sqrt 2, sqrt 2), atanh by its series to s^9 (remainder below 2^-30). Within 2 units in the last place.
// NaN stays NaN. Source: Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 5.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline float log_f32(float x) {
    int32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    constexpr int32_t kRootHalf = 0x3f3504f3;  // bits of 1 / sqrt 2
    const int32_t k = (bits - kRootHalf) >> 23, rest = bits - (k << 23);
    float m;
    __builtin_memcpy(&m, &rest, sizeof m);
    const float s = (m - 1.0f) / (m + 1.0f), q = s * s;
    float series = 2.0f / 9;
    series = series * q + 2.0f / 7;
    series = series * q + 2.0f / 5;
    series = series * q + 2.0f / 3;
    const float e = static_cast<float>(k), log_m = s * (series * q) + 2.0f * s;
    const float y = e * 0.693359375f + (log_m - e * 2.12194440e-4f);  // ln 2 in two parts, the first exact in 10 bits
    return x == x ? y : x;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
