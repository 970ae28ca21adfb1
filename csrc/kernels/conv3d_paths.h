// The special kernels of conv3d, each in a file of its own. They return false, having done nothing, where the sizes are
// not theirs; the general kernel in conv3d_cpu.cpp takes every size. Which one runs depends on sizes alone.
#pragma once
#include "cpu/isa.h"
#include "kernels/conv3d.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {

bool conv3d_pointwise(const Conv3dParams& params, const Exec& exec);
bool conv3d_depthwise(const Conv3dParams& params, const Exec& exec);
bool conv3d_dense(const Conv3dParams& params, const Exec& exec);

}  // namespace covfast::COVFAST_ISA
