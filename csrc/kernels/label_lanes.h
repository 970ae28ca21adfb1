// Registers of labels, shared by argmax_cpu.cpp and resample_argmax_cpu.cpp. Only for files compiled per instruction
// set.
#pragma once
#include "cpu/simd.h"

namespace covfast::COVFAST_ISA {
namespace {

typedef int32_t Lanes __attribute__((vector_size(4 * kVecLanes)));
typedef uint8_t Bytes __attribute__((vector_size(kVecLanes)));

// An infinite number less itself is NaN, as NaN is.
inline Lanes not_finite(Vec v) { return ~(v - v == 0); }

// Where v takes the place of the best so far: the first of equals stays, and NaN once it is there.
inline Lanes beats(Vec v, Vec best) { return (v > best) | ((v != v) & (best == best)); }

}  // namespace
}  // namespace covfast::COVFAST_ISA
