// IEEE half precision (f16) as bits, to and from f32: rounded to nearest even, subnormals kept, overflow to infinity, a
// NaN stays one with the upper bits of its payload. The same bits as the conversions of F16C, AVX-512 and CUDA.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline float half_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

COVFAST_HD inline uint32_t half_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

COVFAST_HD inline float half_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, rest = static_cast<uint32_t>(half & 0x7fff) << 13;
    const uint32_t exponent = rest & 0x0f800000;
    if (exponent == 0x0f800000)  // infinity; a NaN becomes a quiet one
        return half_from_bits(sign | 0x7f800000 | (rest & 0x007fffff) | ((rest & 0x007fffff) != 0 ? 0x00400000 : 0));
    if (exponent != 0) return half_from_bits(sign | (rest + 0x38000000));
    // Subnormal: its bits become the lower ones of 2^-14, which is then taken off.
    return half_from_bits(sign | half_bits_of(half_from_bits(rest + 0x38800000) - half_from_bits(0x38800000)));
}

COVFAST_HD inline uint16_t half_from_float(float value) {
    const uint32_t bits = half_bits_of(value), rest = bits & 0x7fffffff;
    const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    if (rest > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | (rest >> 13 & 0x03ff));
    if (rest >= 0x47800000) return sign | 0x7c00;  // 2^16 and more
    // Below 2^-14: added to a half, whose last bit is worth 2^-24, it is rounded by the addition.
    if (rest < 0x38800000)
        return static_cast<uint16_t>(sign | (half_bits_of(half_from_bits(rest) + 0.5f) - half_bits_of(0.5f)));
    return static_cast<uint16_t>(sign | ((rest - 0x38000000 + 0x0fff + (rest >> 13 & 1)) >> 13));
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
