// Array arguments of the binding: checked once, seen as pointer and strides, never copied.
#pragma once
#include <pybind11/numpy.h>

#include <array>
#include <cstdint>

#include "core/error.h"
#include "core/view.h"

namespace covfast::python {

namespace py = pybind11;

struct HuView {
    const void* data;
    bool is_float;                        // f32, else i16
    std::array<int64_t, 3> size, stride;  // (D, H, W); strides in elements
};

// Strides of a (D, H, W) array in elements. Throws SHAPE where they are no whole elements, as in a field of a packed
// record, or the data is not aligned for T.
template <class T>
std::array<int64_t, 3> element_strides(const py::array& array, const char* name) {
    std::array<int64_t, 3> stride;
    bool is_whole = reinterpret_cast<uintptr_t>(array.data()) % alignof(T) == 0;
    for (int axis = 0; axis < 3; ++axis) {
        stride[axis] = array.strides(axis) / static_cast<int64_t>(sizeof(T));
        is_whole = is_whole && stride[axis] * static_cast<int64_t>(sizeof(T)) == array.strides(axis);
    }
    COVFAST_REQUIRE(is_whole, SHAPE, name, ": got a layout that is no whole elements apart, expected an array of ",
                    py::str(py::dtype::of<T>()).cast<std::string>(), "; copy it first");
    return stride;
}

// A (D, H, W) volume of int16 or float32, any strides. Throws SHAPE, DTYPE.
inline HuView hu_view(const py::array& hu) {
    COVFAST_REQUIRE(hu.ndim() == 3, SHAPE, "hu: got ", hu.ndim(), " axes, expected 3: (D, H, W)");
    const bool is_float = py::isinstance<py::array_t<float>>(hu), is_int = py::isinstance<py::array_t<int16_t>>(hu);
    COVFAST_REQUIRE(is_float || is_int, DTYPE, "hu: got ", py::str(hu.dtype()).cast<std::string>(),
                    ", expected int16 or float32");
    return {hu.data(),
            is_float,
            {hu.shape(0), hu.shape(1), hu.shape(2)},
            is_float ? element_strides<float>(hu, "hu") : element_strides<int16_t>(hu, "hu")};
}

// A (D, H, W) array of T to read, any strides. Throws SHAPE, DTYPE.
template <class T>
View3<const T> input_view(const py::array& array, const char* name) {
    COVFAST_REQUIRE(array.ndim() == 3, SHAPE, name, ": got ", array.ndim(), " axes, expected 3: (D, H, W)");
    COVFAST_REQUIRE(py::isinstance<py::array_t<T>>(array), DTYPE, name, ": got ",
                    py::str(array.dtype()).cast<std::string>(), ", expected ",
                    py::str(py::dtype::of<T>()).cast<std::string>());
    return {static_cast<const T*>(array.data()),
            {array.shape(0), array.shape(1), array.shape(2)},
            element_strides<T>(array, name)};
}

// A writable (D, H, W) array of T, any strides. Throws SHAPE, DTYPE.
template <class T>
View3<T> output_view(py::array& array, const char* name) {
    const View3<const T> view = input_view<T>(array, name);
    return {static_cast<T*>(array.mutable_data()), view.size, view.stride};
}

}  // namespace covfast::python
