// Read-modify-write of memory that several threads share, for the types of our structs; the order does not matter.
#pragma once
#include "cuda/launch.h"

namespace covfast::COVFAST_ISA {
namespace {

// Returns what was there.
__device__ inline int64_t add_shared(int64_t* to, int64_t value) {
    return static_cast<int64_t>(
        atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value)));
}

__device__ inline uint32_t add_shared(uint32_t* to, uint32_t value) { return atomicAdd(to, value); }

// The plain reads spare most of the waiting: what others wrote since can only make the answer no more often.
__device__ inline void lower_shared(int64_t* to, int64_t value) {
    if (value < *to) atomicMin(reinterpret_cast<long long*>(to), static_cast<long long>(value));
}

__device__ inline void raise_shared(int64_t* to, int64_t value) {
    if (value > *to) atomicMax(reinterpret_cast<long long*>(to), static_cast<long long>(value));
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
