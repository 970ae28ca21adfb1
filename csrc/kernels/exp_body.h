// exp(x) in f32 without a call, so that a loop over it vectorises and gives the same bits on every machine of one
// instruction set. exp(x) = 2^k e^r with k = round(x / ln 2) and |r| <= ln 2 / 2, e^r by its Taylor series to r^7
// (remainder below 2^-27). Within 2 units in the last place from -87 to 88; 0 below, infinite above, NaN stays NaN.
// Source: Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6 (the split of ln 2).
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline float exp_f32(float x) {
    constexpr float kLow = -87.33654f, kHigh = 88.72283f;  // ln of the least normal and of the greatest float
    const float inside = x > kHigh ? kHigh : (x > kLow ? x : kLow);
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and taking away rounds to a whole number
    const float k = (inside * 1.44269504f + kRound) - kRound;
    const float r = (inside - k * 0.693359375f) + k * 2.12194440e-4f;  // ln 2 in two parts, the first exact in 10 bits
    float e = 1.0f / 5040;
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r * r + r + 1.0f;
    // 2^k in two factors: 2^128 alone has no float, though e * 2^128 may.
    const int32_t whole = static_cast<int32_t>(k), half = whole / 2;
    const int32_t bits = (half + 127) << 23, other_bits = (whole - half + 127) << 23;
    float power, other_power;  // one by one: compilers do not vectorise a loop over an array of two
    __builtin_memcpy(&power, &bits, sizeof power);
    __builtin_memcpy(&other_power, &other_bits, sizeof other_power);
    e = e * power * other_power;
    e = x > kHigh ? __builtin_inff() : e;
    e = x < kLow ? 0.0f : e;
    return x == x ? e : x;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
