// Test build only: runs a CUDA kernel's own source on the CPU, thread after thread. What a kernel needs beyond this
// (__syncthreads, shuffles) is left undefined, so that such a kernel fails to compile instead of running wrong.
#pragma once
#include <cstddef>
#include <cstdint>

#define __global__ static
#define __device__
#define __host__
#define __grid_constant__

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

// A launch is one thread here, so that an atomic is what it says, step by step.
template <class T>
T exchange(T* to, T value) {
    const T before = *to;
    *to = value;
    return before;
}

}  // namespace covfast::shim

template <class T>
inline T atomicAdd(T* to, T value) {
    return covfast::shim::exchange(to, static_cast<T>(*to + value));
}
template <class T>
inline T atomicMin(T* to, T value) {
    return covfast::shim::exchange(to, value < *to ? value : *to);
}
template <class T>
inline T atomicMax(T* to, T value) {
    return covfast::shim::exchange(to, value > *to ? value : *to);
}
inline int __popcll(uint64_t bits) { return __builtin_popcountll(bits); }
inline int __clzll(int64_t bits) { return bits == 0 ? 64 : __builtin_clzll(bits); }
inline int __ffsll(int64_t bits) { return __builtin_ffsll(bits); }

#define threadIdx (::covfast::shim::thread_index)
#define blockIdx (::covfast::shim::block_index)
#define blockDim (::covfast::shim::block_size)
#define gridDim (::covfast::shim::grid_size)
