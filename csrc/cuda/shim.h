// Test build only: runs a CUDA kernel's own source on the CPU, thread after thread. What a kernel needs beyond this
// (__syncthreads, shuffles) is left undefined, so that such a kernel fails to compile instead of running wrong.
#pragma once
#include <cstddef>
#include <cstdint>

#define __global__ static
#define __device__
#define __host__

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace covfast::shim {

inline thread_local dim3 thread_index, block_index, block_size, grid_size;

template <class Kernel>
void launch(dim3 grid, dim3 block, size_t, Kernel&& kernel) {
    grid_size = grid, block_size = block;
    for (unsigned bz = 0; bz < grid.z; ++bz)
        for (unsigned by = 0; by < grid.y; ++by)
            for (unsigned bx = 0; bx < grid.x; ++bx)
                for (unsigned tz = 0; tz < block.z; ++tz)
                    for (unsigned ty = 0; ty < block.y; ++ty)
                        for (unsigned tx = 0; tx < block.x; ++tx) {
                            block_index = dim3(bx, by, bz), thread_index = dim3(tx, ty, tz);
                            kernel();
                        }
}

}  // namespace covfast::shim

#define threadIdx (::covfast::shim::thread_index)
#define blockIdx (::covfast::shim::block_index)
#define blockDim (::covfast::shim::block_size)
#define gridDim (::covfast::shim::grid_size)
