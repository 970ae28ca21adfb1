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

using LaneList = std::vector<int32_t>;

inline LaneList lanes_of(int64_t channels) {
    LaneList lanes(blocks_of(channels) * kLanes, -1);
    for (int64_t c = 0; c < channels; ++c) lanes[c] = static_cast<int32_t>(c);
    return lanes;
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

    // A planar array as a value; null for none. lanes: which channel each lane holds; none: one after the other.
    void* put(const float* planar, int64_t channels, int64_t plane, Element element, float scale = 1,
              LaneList lanes = {}) {
        if (planar == nullptr) return nullptr;
        if (lanes.empty()) lanes = lanes_of(channels);
        void* blocked = value(static_cast<int64_t>(lanes.size()), plane, element);
        const LaneMap map = {lanes.data(), static_cast<int64_t>(lanes.size())};
        reorder({const_cast<float*>(planar), blocked, map, channels, plane, scale, element, true}, context_);
        return blocked;
    }

    void get(const void* blocked, float* planar, int64_t channels, int64_t plane, Element element, float scale = 1,
             LaneList lanes = {}) {
        if (lanes.empty()) lanes = lanes_of(channels);
        const LaneMap map = {lanes.data(), static_cast<int64_t>(lanes.size())};
        reorder({planar, const_cast<void*>(blocked), map, channels, plane, scale, element, false}, context_);
    }

    // One number a channel as one a lane, zeros in lanes without a channel; null for none.
    const float* lanes(const float* numbers, int64_t channels, LaneList lanes = {}) {
        if (numbers == nullptr) return nullptr;
        if (lanes.empty()) lanes = lanes_of(channels);
        float* spread = static_cast<float*>(room(lanes.size() * sizeof(float)));
        for (size_t l = 0; l < lanes.size(); ++l) spread[l] = lanes[l] < 0 ? 0.0f : numbers[lanes[l]];
        return spread;
    }

private:
    Context context_;
    std::list<DeviceArray<std::byte>> held_;
};

}  // namespace covfast::python
