// conv_winograd as a single op in the blocked layout, (blocks, D, H, W, 16) float32: for covfast/winograd_ops.py and
// the tests.
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
#include "kernels/conv_winograd.h"
#include "kernels/device_array.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using IntArray = py::array_t<int32_t, py::array::c_style>;
using Axes = std::array<int64_t, 3>;
using Operand = std::optional<FloatArray>;

const float* data_of(const Operand& array) { return array ? array->data() : nullptr; }

const float* data_of(const Operand& array, int64_t count, const char* name) {
    COVFAST_REQUIRE(!array || array->size() == count, SHAPE, name, ": got ", array ? array->size() : 0,
                    " numbers, expected ", count);
    return data_of(array);
}

LaneMap lane_map(const IntArray& lanes, int64_t channels, const char* name) {
    COVFAST_REQUIRE(lanes.ndim() == 1 && lanes.size() % kLanes == 0, SHAPE, name, ": got ", lanes.size(),
                    " lanes, expected a multiple of 16");
    const int32_t last = lanes.size() == 0 ? -1 : *std::max_element(lanes.data(), lanes.data() + lanes.size());
    COVFAST_REQUIRE(last < channels, SHAPE, name, ": got channel ", last, ", expected one below ", channels);
    return {lanes.data(), lanes.size()};
}

ConvPack pack_of(const FloatArray& weight, const IntArray& in_lanes, const IntArray& out_lanes) {
    COVFAST_REQUIRE(weight.ndim() == 5, SHAPE, "weight: got ", weight.ndim(),
                    " axes, expected 5: (out, in, kD, kH, kW)");
    ConvPack pack{};
    pack.weight = weight.data(), pack.in_channels = weight.shape(1);
    pack.taps = weight.shape(2) * weight.shape(3) * weight.shape(4), pack.element = Element::kF32;
    pack.in = lane_map(in_lanes, weight.shape(1), "in_lanes");
    pack.out = lane_map(out_lanes, weight.shape(0), "out_lanes");
    return pack;
}

ConvBlockedParams params_of(const FloatArray& x, const FloatArray& weight, const ConvPack& pack, Axes padding) {
    COVFAST_REQUIRE(x.ndim() == 5 && x.shape(4) == kLanes && x.shape(0) * kLanes == pack.in.lanes, SHAPE, "x: got ",
                    x.ndim(), " axes or another number of blocks, expected (", pack.in.lanes / kLanes,
                    ", D, H, W, 16)");
    ConvBlockedParams p{};
    p.x = x.data(), p.in_blocks = pack.in.lanes / kLanes, p.out_blocks = pack.out.lanes / kLanes;
    p.in_channels = pack.in.lanes;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = x.shape(1 + a), p.kernel[a] = weight.shape(2 + a), p.padding[a] = padding[a];
        p.stride[a] = p.dilation[a] = 1;
        COVFAST_REQUIRE(p.padding[a] >= 0, VALUE_RANGE, "padding: got ", p.padding[a], ", expected at least 0");
        p.out_size[a] = conv_out_size(p.in_size[a], p.kernel[a], 1, 1, p.padding[a]);
        COVFAST_REQUIRE(p.out_size[a] >= 1, SHAPE, "y: got size ", p.out_size[a], ", expected at least 1");
    }
    COVFAST_REQUIRE(conv_winograd_fits(p), VALUE_RANGE, "weight: got kernel (", p.kernel[0], ", ", p.kernel[1], ", ",
                    p.kernel[2], "), expected (3, 3, 3) or (1, 3, 3)");
    return p;
}

// slope: that of kLeaky, or none. operands: before, after, other. Returns y, y + other or none, and the statistics.
std::tuple<FloatArray, Operand, FloatArray> run_conv_winograd(const FloatArray& x, const FloatArray& weight,
                                                              const IntArray& in_lanes, const IntArray& out_lanes,
                                                              const Operand& bias, const Operand& slope,
                                                              const std::array<Operand, 3>& operands, Axes padding,
                                                              const std::string& device, int threads) {
    const ConvPack pack = pack_of(weight, in_lanes, out_lanes);
    ConvBlockedParams p = params_of(x, weight, pack, padding);
    FloatArray y({p.out_blocks, p.out_size[0], p.out_size[1], p.out_size[2], kLanes});
    FloatArray stats({conv_winograd_parts(p), pack.out.lanes, int64_t{2}});
    Operand total =
        operands[2] ? Operand(FloatArray(std::vector<py::ssize_t>(y.shape(), y.shape() + y.ndim()))) : std::nullopt;
    p.y = y.mutable_data(), p.stats = stats.mutable_data();
    p.epilogue.kind = slope ? EpilogueKind::kLeaky : EpilogueKind::kNone;
    p.epilogue.bias = data_of(bias, pack.out.lanes, "bias"), p.epilogue.slope = data_of(slope, pack.out.lanes, "slope");
    p.epilogue.before = data_of(operands[0], y.size(), "before");
    p.epilogue.after = data_of(operands[1], y.size(), "after");
    p.epilogue.other = data_of(operands[2], y.size(), "other");
    p.epilogue.total = total ? total->mutable_data() : nullptr;
    {
        py::gil_scoped_release nogil;
        const Context context{&choose_backend(device, {"conv_winograd"}), threads};
        const DeviceArray<std::byte> weights(*context.backend, conv_winograd_pack_bytes(pack));
        const DeviceArray<std::byte> workspace(*context.backend, conv_winograd_workspace(p, threads));
        conv_winograd_pack(pack, weights.data());
        p.weight = weights.data(), p.workspace = workspace.data();
        conv_winograd(p, context);
    }
    return {y, total, stats};
}

}  // namespace

void register_winograd(py::module_& m) {
    m.def("conv_winograd", run_conv_winograd, py::arg("x").noconvert(), py::arg("weight").noconvert(),
          py::arg("in_lanes").noconvert(), py::arg("out_lanes").noconvert(), py::arg("bias").noconvert(),
          py::arg("slope").noconvert(), py::arg("operands"), py::arg("padding"), py::arg("device"), py::arg("threads"));
}

}  // namespace covfast::python
