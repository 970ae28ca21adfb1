// One call of an op on arrays (N, C, D, H, W), for the bindings of planar ops.
#pragma once
#include <pybind11/numpy.h>

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "python/bind.h"

namespace covfast::python {

using FloatArray = py::array_t<float, py::array::c_style>;
using Axes = std::array<int64_t, 3>;

inline Axes size_of(const FloatArray& x, const char* name) {
    COVFAST_REQUIRE(x.ndim() == 5, SHAPE, name, ": got ", x.ndim(), " axes, expected 5: (N, C, D, H, W)");
    return {x.shape(2), x.shape(3), x.shape(4)};
}

inline int64_t plane_of(const FloatArray& x, const char* name) {
    const Axes size = size_of(x, name);
    return size[0] * size[1] * size[2];
}

// Operands on the backend: copies go up when they are made, the answer comes down at the end.
class Call {
public:
    Call(const std::string& device, int threads, const char* op) : context_{&choose_backend(device, {op}), threads} {}

    const Context& context() const { return context_; }
    template <class T>
    const T* put(const T* host, int64_t count) {
        if (host == nullptr) return nullptr;
        DeviceArray<std::byte> memory(*context_.backend, count * sizeof(T));
        memory.upload(reinterpret_cast<const std::byte*>(host), count * sizeof(T));
        held_.push_back(std::move(memory));
        return reinterpret_cast<const T*>(held_.back().data());
    }
    float* room(int64_t count) {
        held_.emplace_back(*context_.backend, count * sizeof(float));
        return reinterpret_cast<float*>(held_.back().data());
    }
    void get(const float* from, float* host, int64_t count) {
        context_.backend->download(host, from, count * sizeof(float), context_.stream);
    }

private:
    Context context_;
    std::vector<DeviceArray<std::byte>> held_;
};

}  // namespace covfast::python
