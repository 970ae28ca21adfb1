// Per-voxel body of window_hu, shared by window_hu_cpu.cpp and window_hu.cu.
#pragma once
#include "cpu/isa.h"
#include "kernels/window_hu.h"

namespace covfast::COVFAST_ISA {
namespace {

// The comparisons are written so that NaN falls to 0.
COVFAST_HD inline float window_value(float v, float low, float high, float scale) {
    v = v > low ? v : low;
    v = v < high ? v : high;
    return (v - low) * scale;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
