// Where one value of gather comes from, shared by gather_cpu.cpp and gather.cu.
#pragma once
#include "cpu/isa.h"
#include "kernels/gather.h"

namespace covfast::COVFAST_ISA {
namespace {

// Position in x of the window's position `p` along an axis; outside [0, size) there is nothing to read.
COVFAST_HD inline int64_t gather_position(const GatherParams& g, int axis, int64_t p) {
    return g.origin[axis] + (g.flip[axis] ? g.window[axis] - 1 - p : p);
}

COVFAST_HD inline bool gather_is_inside(const GatherParams& g, int axis, int64_t at) {
    return at >= 0 && at < g.size[axis];
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
