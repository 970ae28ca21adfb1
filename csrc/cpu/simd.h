// One register of floats, the widest of the instruction set, and what kernels do with it. Only for files compiled per
// instruction set. Sums of products contract to fused multiply-adds where the instruction set has them.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVecLanes = 16, kVecRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVecLanes = 8, kVecRegisters = 16;
#else
constexpr int kVecLanes = 4, kVecRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(4 * kVecLanes)));
typedef Vec VecAnywhere __attribute__((aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const VecAnywhere*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<VecAnywhere*>(p) = v; }
inline Vec fill(float v) { return v - Vec{}; }  // v - 0 is v, so that no subtraction is left; v + 0 would turn -0 to 0

// v where it is positive, else slope * v. NaN stays NaN. A slope of 0 gives 0 for -inf too: it meets the lowest finite
// number in its place.
inline Vec leaky(Vec v, Vec slope) {
    const Vec lowest = slope == 0 ? fill(-__FLT_MAX__) : fill(-__builtin_inff());
    return v > 0 ? v : (lowest > v ? lowest : v) * slope;  // in this order a maximum, which leaves NaN
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
