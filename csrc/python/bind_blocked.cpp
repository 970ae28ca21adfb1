// conv_blocked as a single op on raw values of the blocked layout, (blocks, D, H, W, 16) of float32, uint16 (the bits
// of bf16) or uint8: for covfast/blocked_ops.py and the tests.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/backend.h"
#include "kernels/conv3d.h"
#include "kernels/conv_blocked.h"
#include "kernels/device_array.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using Axes = std::array<int64_t, 3>;
using Lanes = std::vector<int32_t>;
using Operand = std::optional<py::array>;
using LaneNumbers = std::optional<FloatArray>;

py::dtype type_of(Element element) {
    return element == Element::kF32    ? py::dtype::of<float>()
           : element == Element::kBf16 ? py::dtype::of<uint16_t>()
                                       : py::dtype::of<uint8_t>();
}

Element element_of(int number, const char* name) {
    COVFAST_REQUIRE(number >= 0 && number <= 2, VALUE_RANGE, name, ": got ", number, ", expected 0 to 2");
    return static_cast<Element>(number);
}

void require_raw(const py::array& array, Element element, const char* name) {
    COVFAST_REQUIRE(array.itemsize() == element_bytes(element) && (array.flags() & py::array::c_style) != 0, SHAPE,
                    name, ": got values of ", array.itemsize(), " bytes, expected contiguous ones of ",
                    element_bytes(element));
}

LaneMap map_of(const Lanes& lanes, int64_t channels, const char* name) {
    for (const int32_t channel : lanes)
        COVFAST_REQUIRE(channel >= -1 && channel < channels, SHAPE, name, ": got channel ", channel,
                        ", expected -1 to ", channels - 1);
    return {lanes.data(), static_cast<int64_t>(lanes.size())};
}

const float* lane_data(const LaneNumbers& numbers, int64_t lanes, const char* name) {
    COVFAST_REQUIRE(!numbers || numbers->size() == lanes, SHAPE, name, ": got ", numbers ? numbers->size() : 0,
                    " numbers, expected ", lanes);
    return numbers ? numbers->data() : nullptr;
}

// kind, bias and slope (lanes), before, after, other (raw, like y).
using EpilogueArrays = std::tuple<int, LaneNumbers, LaneNumbers, std::array<Operand, 3>>;

Epilogue epilogue_of(const EpilogueArrays& arrays, const py::array& y, Element element, int64_t lanes) {
    const auto& [kind, bias, slope, operands] = arrays;
    for (const Operand& operand : operands) {
        if (!operand) continue;
        require_raw(*operand, element, "before, after, other");
        COVFAST_REQUIRE(operand->size() == y.size(), SHAPE, "before, after, other: got ", operand->size(),
                        " values, expected ", y.size(), ", those of y");
    }
    Epilogue e{};
    e.kind = static_cast<EpilogueKind>(kind);
    e.bias = lane_data(bias, lanes, "bias"), e.slope = lane_data(slope, lanes, "slope");
    e.before = operands[0] ? operands[0]->data() : nullptr;
    e.after = operands[1] ? operands[1]->data() : nullptr;
    e.other = operands[2] ? operands[2]->data() : nullptr;
    return e;
}

// window: stride, padding, dilation.
ConvBlockedParams params_of(const py::array& x, const FloatArray& weight, const std::array<Axes, 3>& window,
                            bool is_planar) {
    COVFAST_REQUIRE(weight.ndim() == 5, SHAPE, "weight: got ", weight.ndim(),
                    " axes, expected 5: (out, in, kD, kH, kW)");
    COVFAST_REQUIRE(x.ndim() == (is_planar ? 4 : 5) && (is_planar || x.shape(4) == kLanes), SHAPE, "x: got ", x.ndim(),
                    " axes, expected ", is_planar ? "(C, D, H, W)" : "(blocks, D, H, W, 16)");
    const auto& [stride, padding, dilation] = window;
    ConvBlockedParams p{};
    p.x = x.data(), p.x_is_planar = is_planar;
    p.in_channels = x.shape(0) * (is_planar ? 1 : kLanes), p.in_blocks = blocks_of(p.in_channels);
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(stride[a] >= 1 && dilation[a] >= 1 && padding[a] >= 0, VALUE_RANGE,
                        "stride, dilation, padding: got ", stride[a], ", ", dilation[a], ", ", padding[a],
                        ", expected at least 1, 1, 0");
        p.in_size[a] = x.shape(1 + a), p.kernel[a] = weight.shape(2 + a);
        p.stride[a] = stride[a], p.padding[a] = padding[a], p.dilation[a] = dilation[a];
        p.out_size[a] = conv_out_size(p.in_size[a], p.kernel[a], stride[a], dilation[a], padding[a]);
    }
    return p;
}

// The bias that takes back what 128 in every input of u8 adds.
std::vector<float> bias_of_u8(const float* bias, const std::vector<float>& scale, const std::vector<float>& offset) {
    std::vector<float> shifted(scale.size());
    for (size_t i = 0; i < scale.size(); ++i) shifted[i] = (bias == nullptr ? 0.0f : bias[i]) - offset[i] * scale[i];
    return shifted;
}

// elements: of x and y. in_scale: of u8, one number an input lane. Returns y, y + other or none, and the statistics.
std::tuple<py::array, Operand, FloatArray> run_conv_blocked(const py::array& x, const FloatArray& weight,
                                                            const Lanes& in_lanes, const Lanes& out_lanes,
                                                            const std::array<Axes, 3>& window,
                                                            std::array<int, 2> elements, const LaneNumbers& in_scale,
                                                            bool is_planar, const EpilogueArrays& epilogue,
                                                            const std::string& device, int threads) {
    ConvBlockedParams p = params_of(x, weight, window, is_planar);
    p.x_element = element_of(elements[0], "element"), p.y_element = element_of(elements[1], "y_element");
    require_raw(x, is_planar ? Element::kF32 : p.x_element, "x");
    ConvPack pack{};
    pack.weight = weight.data(), pack.in_channels = weight.shape(1);
    pack.taps = p.kernel[0] * p.kernel[1] * p.kernel[2], pack.element = p.x_element, pack.x_is_planar = is_planar;
    pack.in = map_of(in_lanes, weight.shape(1), "in_lanes"), pack.out = map_of(out_lanes, weight.shape(0), "out_lanes");
    COVFAST_REQUIRE(pack.in.lanes == p.in_channels, SHAPE, "in_lanes: got ", pack.in.lanes, " lanes, expected ",
                    p.in_channels, ", those of x");
    p.out_blocks = pack.out.lanes / kLanes;
    pack.in_scale = lane_data(in_scale, pack.in.lanes, "in_scale");
    std::vector<float> scale(pack.out.lanes), offset(pack.out.lanes), bias;
    pack.out_scale = scale.data(), pack.offset = offset.data();
    const std::vector<int64_t> shape = {p.out_blocks, p.out_size[0], p.out_size[1], p.out_size[2], kLanes};
    py::array y(type_of(p.y_element), shape);
    FloatArray stats({conv_blocked_parts(p), pack.out.lanes, int64_t{2}});
    const bool has_total = std::get<3>(epilogue)[2].has_value();
    Operand total = has_total ? Operand(py::array(type_of(p.y_element), shape)) : std::nullopt;
    p.y = y.mutable_data(), p.stats = stats.mutable_data();
    p.epilogue = epilogue_of(epilogue, y, p.y_element, pack.out.lanes);
    p.epilogue.total = total ? total->mutable_data() : nullptr;
    py::gil_scoped_release nogil;
    const Context context{&choose_backend(device, {"conv_blocked"}), threads};
    const DeviceArray<std::byte> packed(*context.backend, static_cast<int64_t>(conv_blocked_pack_bytes(pack)));
    conv_blocked_pack(pack, packed.data());
    if (p.x_element == Element::kU8) {
        bias = bias_of_u8(p.epilogue.bias, scale, offset);
        p.epilogue.bias = bias.data(), p.scale = scale.data();
    }
    p.weight = packed.data();
    conv_blocked(p, context);
    return {std::move(y), std::move(total), std::move(stats)};
}

}  // namespace

void register_blocked(py::module_& m) {
    m.def("conv_blocked", run_conv_blocked, py::arg("x"), py::arg("weight").noconvert(), py::arg("in_lanes"),
          py::arg("out_lanes"), py::arg("window"), py::arg("elements"), py::arg("in_scale"), py::arg("is_planar"),
          py::arg("epilogue"), py::arg("device"), py::arg("threads"));
}

}  // namespace covfast::python
