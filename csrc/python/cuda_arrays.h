// Arrays in device memory, seen through __cuda_array_interface__ (CuPy, torch, Numba): pointer, sizes and strides,
// never copied. https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, versions 0 to 3.
#pragma once
#include <pybind11/numpy.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace covfast::python {

namespace py = pybind11;

struct CudaArray {
    const void* data;
    py::dtype type;
    std::vector<int64_t> shape, strides;  // strides in bytes
    void* stream;                         // what is queued there must run first; null: nothing to wait for
};

inline bool is_cuda_array(const py::object& array) { return py::hasattr(array, "__cuda_array_interface__"); }

namespace detail {

[[noreturn]] inline void fail_interface(const char* name) {
    fail(Code::DTYPE, name, ": got a __cuda_array_interface__ with fields of other types, expected shape and strides",
         " of whole numbers, typestr a NumPy type, data (address, read-only)");
}

inline py::object cuda_field(const py::dict& interface, const char* name, const char* field) {
    COVFAST_REQUIRE(interface.contains(field), DTYPE, name, ": got a __cuda_array_interface__ without '", field,
                    "', expected shape, typestr, data and version");
    return interface[field];
}

// The stream of version 3: 1 and 2 are CUDA's own names of the default streams, 0 says nothing and is ruled out there.
inline void* cuda_stream(const py::dict& interface, const char* name) {
    if (!interface.contains("stream") || interface["stream"].is_none()) return nullptr;
    const auto stream = interface["stream"].cast<uintptr_t>();
    COVFAST_REQUIRE(stream != 0, DTYPE, name,
                    ": got the stream 0 in __cuda_array_interface__, expected None, 1, 2 or a stream's address");
    return reinterpret_cast<void*>(stream);
}

inline std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape, int64_t item_bytes) {
    std::vector<int64_t> strides(shape.size());
    for (size_t axis = shape.size(); axis-- > 0; item_bytes *= shape[axis]) strides[axis] = item_bytes;
    return strides;
}

}  // namespace detail

// Throws DTYPE for an interface that is not as documented, or an array with a mask.
inline CudaArray cuda_array(const py::object& array, const char* name) {
    try {
        const auto interface = array.attr("__cuda_array_interface__").cast<py::dict>();
        COVFAST_REQUIRE(!interface.contains("mask") || interface["mask"].is_none(), DTYPE, name,
                        ": got an array with a mask, expected one without");
        const auto data = detail::cuda_field(interface, name, "data").cast<std::pair<uintptr_t, bool>>();
        CudaArray out{reinterpret_cast<const void*>(data.first),
                      py::dtype(detail::cuda_field(interface, name, "typestr").cast<std::string>()),
                      detail::cuda_field(interface, name, "shape").cast<std::vector<int64_t>>(),
                      {},
                      detail::cuda_stream(interface, name)};
        const bool has_strides = interface.contains("strides") && !interface["strides"].is_none();
        out.strides = has_strides ? interface["strides"].cast<std::vector<int64_t>>()
                                  : detail::dense_strides(out.shape, out.type.itemsize());
        COVFAST_REQUIRE(out.strides.size() == out.shape.size(), DTYPE, name, ": got ", out.strides.size(),
                        " strides in __cuda_array_interface__, expected one for each of ", out.shape.size(), " axes");
        for (const int64_t size : out.shape)
            COVFAST_REQUIRE(size >= 0, DTYPE, name, ": got a size of ", size,
                            " in __cuda_array_interface__, expected 0 or more");
        return out;
    } catch (const py::builtin_exception&) {  // a field cannot be cast
        detail::fail_interface(name);
    } catch (const py::error_already_set&) {  // the attribute or NumPy's dtype
        detail::fail_interface(name);
    }
}

}  // namespace covfast::python
