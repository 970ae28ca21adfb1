// A 3-D array that somebody else owns: pointer, sizes, strides in elements (negative where an axis is read backwards).
// For front files, engine and bindings; the files compiled per instruction set take plain pointers.
#pragma once
#include <array>
#include <cstdint>

namespace covfast {

template <class T>
struct View3 {
    T* data = nullptr;
    std::array<int64_t, 3> size{};    // (D, H, W)
    std::array<int64_t, 3> stride{};  // elements

    T& at(int64_t d, int64_t h, int64_t w) const { return data[d * stride[0] + h * stride[1] + w * stride[2]]; }
};

}  // namespace covfast
