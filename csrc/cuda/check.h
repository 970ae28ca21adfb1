// Turns a CUDA status into an error that names the step.
#pragma once
#include "core/error.h"

#ifndef COVFAST_CUDA_SHIM_BUILD
#include <cuda_runtime.h>

namespace covfast::COVFAST_ISA {

inline void check(cudaError_t status, const char* step) {
    if (status == cudaSuccess) return;
    (void)cudaGetLastError();  // else the next launch that succeeds would report this failure again
    const Code code = status == cudaErrorMemoryAllocation ? Code::MEMORY_LIMIT : Code::DEVICE;
    fail(code, "cuda: got '", cudaGetErrorString(status), "' in ", step, ", expected success");
}

}  // namespace covfast::COVFAST_ISA
#endif
