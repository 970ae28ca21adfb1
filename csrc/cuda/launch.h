// How a CUDA kernel is launched, by nvcc or, in the test build, by the shim that runs its source on the CPU.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#ifdef COVFAST_CUDA_SHIM_BUILD
#include "cuda/shim.h"
#else
#include <cuda_runtime.h>
#endif

#include "cuda/check.h"

namespace covfast::COVFAST_ISA {

constexpr int kThreadsPerBlock = 256;
constexpr int64_t kMaxBlocks = 1 << 16;  // grid-stride kernels need no more; keeps the grid inside 32 bits

inline dim3 blocks_for(int64_t items) {
    const int64_t blocks = (items + kThreadsPerBlock - 1) / kThreadsPerBlock;
    return dim3(static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, kMaxBlocks)));
}

// Grid-stride loop: for (int64_t i = grid_begin(); i < n; i += grid_step())
__device__ inline int64_t grid_begin() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t grid_step() { return int64_t(gridDim.x) * blockDim.x; }

// Queues kernel<<<grid, block, shared_bytes, stream>>>(args...). Throws DEVICE if the launch is refused; never waits.
template <class... Params, class... Args>
void launch(const char* op, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
            const Args&... args) {
#ifdef COVFAST_CUDA_SHIM_BUILD
    (void)op, (void)stream;
    shim::launch(grid, block, shared_bytes, [&] { kernel(args...); });
#else
    const cudaStream_t queue = static_cast<cudaStream_t>(stream);
    kernel<<<grid, block, shared_bytes, queue>>>(args...);
    check(cudaGetLastError(), op);
#endif
}

}  // namespace covfast::COVFAST_ISA
