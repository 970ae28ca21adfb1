// Per-item body of null, shared by null_cpu.cpp and null.cu.
#pragma once
#include <cstdint>

#include "cpu/isa.h"
#include "kernels/null.h"

namespace covfast::COVFAST_ISA {
namespace {

COVFAST_HD inline void null_item(const NullParams& p, int64_t i) { p.y[i] = p.x[i]; }

}  // namespace
}  // namespace covfast::COVFAST_ISA
