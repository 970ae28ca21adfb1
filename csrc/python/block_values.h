// Planar arrays as values of the blocked layout, for the bindings of its ops: one image, channel c in lane c.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "kernels/reorder.h"
#include "python/bind.h"

namespace covfast::python {

using FloatArray = py::array_t<float, py::array::c_style>;
using OptionalArray = std::optional<FloatArray>;
using Axes = std::array<int64_t, 3>;

inline Element element_of(int element) {
    COVFAST_REQUIRE(element >= 0 && element <= 2, VALUE_RANGE, "element: got ", element, ", expected 0 to 2");
    return static_cast<Element>(element);
}

// Sizes (D, H, W) of one image (1, C, D, H, W).
inline Axes image_size(const FloatArray& x, const char* name) {
    COVFAST_REQUIRE(x.ndim() == 5 && x.shape(0) == 1, SHAPE, name, ": got ", x.ndim(), " axes and a batch of ",
                    x.ndim() > 0 ? x.shape(0) : 0, ", expected one image: (1, C, D, H, W)");
    return {x.shape(2), x.shape(3), x.shape(4)};
}

inline int64_t volume(const Axes& size) { return size[0] * size[1] * size[2]; }

inline FloatArray image(int64_t channels, const Axes& size) {
    return FloatArray({int64_t{1}, channels, size[0], size[1], size[2]});
}

// The operands of one call, on its backend. Only for backends that work in host memory, as all with these ops do.
class BlockCall {
public:
    BlockCall(const std::string& device, int threads, const char* op)
        : context_{&choose_backend(device, {op, "reorder"}), threads} {}

    const Context& context() const { return context_; }

    void* room(size_t bytes) {
        held_.emplace_back(*context_.backend, static_cast<int64_t>(bytes));
        return held_.back().data();
    }

    // Memory of a value; filled, so that what an op leaves out is seen.
    void* value(int64_t channels, int64_t plane, Element element) {
        const size_t bytes = blocks_of(channels) * plane * kLanes * element_bytes(element);
        void* memory = room(bytes);
        std::fill_n(static_cast<unsigned char*>(memory), bytes, 0x55);
        return memory;
    }

    // A planar array as a value; null for none.
    void* put(const float* planar, int64_t channels, int64_t plane, Element element, float scale = 1) {
        if (planar == nullptr) return nullptr;
        void* blocked = value(channels, plane, element);
        move(const_cast<float*>(planar), blocked, channels, plane, element, scale, true);
        return blocked;
    }

    void get(const void* blocked, float* planar, int64_t channels, int64_t plane, Element element, float scale = 1) {
        move(planar, const_cast<void*>(blocked), channels, plane, element, scale, false);
    }

    // One number a channel as one a lane, zeros behind; null for none.
    const float* lanes(const float* numbers, int64_t channels) {
        if (numbers == nullptr) return nullptr;
        const int64_t lanes = blocks_of(channels) * kLanes;
        float* padded = static_cast<float*>(room(lanes * sizeof(float)));
        std::fill(std::copy_n(numbers, channels, padded), padded + lanes, 0.0f);
        return padded;
    }

private:
    void move(float* planar, void* blocked, int64_t channels, int64_t plane, Element element, float scale, bool in) {
        const int64_t lanes = blocks_of(channels) * kLanes;
        std::vector<int32_t> channel(lanes, -1);
        for (int64_t c = 0; c < channels; ++c) channel[c] = static_cast<int32_t>(c);
        reorder({planar, blocked, {channel.data(), lanes}, channels, plane, scale, element, in}, context_);
    }

    Context context_;
    std::list<DeviceArray<std::byte>> held_;
};

}  // namespace covfast::python
