// Resampling of whole volumes on NumPy arrays, for covfast/resample_ops.py and the tests.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "core/progress.h"
#include "engine/volume_input.h"
#include "kernels/resample_argmax.h"
#include "kernels/spline_axis.h"
#include "python/arrays.h"
#include "python/bind.h"
#include "python/layer_call.h"

namespace covfast::python {
namespace {

using ByteArray = py::array_t<uint8_t, py::array::c_style>;

bool is_on_host(const Call& call) { return std::string_view(call.context().backend->device) == "cpu"; }

// Host memory where the backend reads it, else a copy.
template <class T>
const T* reach(Call& call, const T* host, int64_t count) {
    return is_on_host(call) ? host : call.put(host, count);
}

// One axis of a contiguous array seen as (outer, n_in, inner).
FloatArray run_spline_axis(const FloatArray& x, int64_t n_out, int order, std::array<float, 2> range,
                           const std::string& device, int threads) {
    COVFAST_REQUIRE(x.ndim() == 3, SHAPE, "x: got ", x.ndim(), " axes, expected 3: (outer, n_in, inner)");
    const int64_t outer = x.shape(0), inner = x.shape(2);
    const SplineTable table = spline_table(x.shape(1), n_out, order);
    FloatArray y({outer, n_out, inner});
    const float* from = x.data();
    float* to = y.mutable_data();
    py::gil_scoped_release nogil;
    Call call(device, threads, "spline_axis");
    SplineAxisParams p = spline_params(table, reach(call, from, x.size()), outer, inner, to, range[0], range[1]);
    p.first = reach(call, p.first, n_out), p.weight = reach(call, p.weight, n_out * kSplineTaps);
    if (!is_on_host(call)) p.y = call.room(y.size());
    spline_axis(p, call.context());
    if (!is_on_host(call)) call.get(p.y, to, y.size());
    return y;
}

// In place along the first axis, as the engine resamples columns: x (n, inner) with max(n_in, n_out) rows.
void run_spline_columns(FloatArray& x, int64_t n_in, int64_t n_out, int order, const std::string& device, int threads) {
    COVFAST_REQUIRE(x.ndim() == 2 && x.shape(0) >= std::max(n_in, n_out), SHAPE, "x: got ", x.ndim(),
                    " axes, expected (rows, inner) with at least ", std::max(n_in, n_out), " rows");
    const SplineTable table = spline_table(n_in, n_out, order);
    float* host = x.mutable_data();
    py::gil_scoped_release nogil;
    Call call(device, threads, "spline_axis");
    float* memory = const_cast<float*>(reach(call, host, x.size()));
    SplineAxisParams p = spline_params(table, memory, 1, x.shape(1), memory);
    p.first = reach(call, p.first, n_out), p.weight = reach(call, p.weight, n_out * kSplineTaps);
    spline_axis(p, call.context());
    if (!is_on_host(call)) call.get(memory, host, x.size());
}

struct LabelRule {
    std::vector<uint8_t> values;
    bool regions, round_to_half;
};

ResampleArgmaxParams plane_params(Call& call, const FloatArray& x, const std::array<LerpTable, 3>& tables,
                                  const LabelRule& rule) {
    const auto& [depth, rows, columns] = tables;
    ResampleArgmaxParams p{};
    p.channels = x.shape(0), p.height = x.shape(2), p.width = x.shape(3);
    p.channel_stride = x.shape(1) * p.height * p.width, p.row_stride = p.width;
    p.out_rows = rows.n_out, p.out_width = columns.n_out;
    p.row = reach(call, rows.first.data(), rows.n_out), p.row_mix = reach(call, rows.mix.data(), rows.n_out);
    p.column = reach(call, columns.first.data(), columns.n_out);
    p.column_mix = reach(call, columns.mix.data(), columns.n_out);
    p.values = reach(call, rule.values.data(), p.channels);
    p.regions = rule.regions, p.round_to_half = rule.round_to_half;
    p.y_row_stride = p.out_width, p.y_stride = 1;
    return p;
}

// x (C, D, H, W) to labels of `size`, and per row whether something in it was not finite.
std::pair<ByteArray, ByteArray> run_resample_labels(const FloatArray& x, std::array<int64_t, 3> size,
                                                    std::array<int, 3> order, const std::vector<uint8_t>& values,
                                                    std::array<bool, 2> rule, const std::string& device, int threads) {
    COVFAST_REQUIRE(x.ndim() == 4, SHAPE, "logits: got ", x.ndim(), " axes, expected 4: (C, D, H, W)");
    COVFAST_REQUIRE(static_cast<int64_t>(values.size()) == x.shape(0), SHAPE, "values: got ", values.size(),
                    " numbers, expected one for each of ", x.shape(0), " channels");
    std::array<LerpTable, 3> tables;
    for (int axis = 0; axis < 3; ++axis) tables[axis] = lerp_table(x.shape(axis + 1), size[axis], order[axis]);
    ByteArray labels({size[0], size[1], size[2]}), bad({size[0], size[1]});
    uint8_t *labels_host = labels.mutable_data(), *bad_host = bad.mutable_data();
    const float* from = x.data();
    {
        py::gil_scoped_release nogil;
        Call call(device, threads, "resample_argmax");
        const Backend& backend = *call.context().backend;
        const LabelRule labelling{values, rule[0], rule[1]};
        ResampleArgmaxParams p = plane_params(call, x, tables, labelling);
        const int64_t plane = size[1] * size[2], step = p.height * p.width;
        DeviceArray<uint8_t> y(backend, plane), flags(backend, size[1]);
        const float* logits = reach(call, from, x.size());
        p.y = y.data(), p.bad = flags.data();
        const Team team(threads);  // a loop a plane
        for (int64_t d = 0; d < size[0]; ++d) {
            p.below = logits + tables[0].first[d] * step, p.mix = tables[0].mix[d];
            p.above = p.mix == 0 ? nullptr : p.below + step;
            if (is_on_host(call)) p.y = labels_host + d * plane, p.bad = bad_host + d * size[1];
            resample_argmax(p, call.context());
            if (is_on_host(call)) continue;
            y.download(labels_host + d * plane, plane), flags.download(bad_host + d * size[1], size[1]);
        }
    }
    return {labels, bad};
}

std::vector<RawChannel> raw_channels(const std::vector<py::array>& arrays) {
    std::vector<RawChannel> channels;
    for (const py::array& array : arrays) {
        const HuView view = hu_view(array);
        channels.push_back({view.data, view.is_float, view.size, view.stride});
    }
    return channels;
}

// begin, end, size; order; separate_axis; normalise_first.
using PlanFields = std::tuple<Axes, Axes, Axes, std::array<int, 3>, int, bool>;
InputPlan input_plan(const PlanFields& fields) {
    const auto& [begin, end, size, order, separate_axis, normalise_first] = fields;
    return {begin, end, size, order, separate_axis, normalise_first};
}

// Room for what the engine writes: (C, depth, H, W) with as many planes as it needs between.
FloatArray input_room(int64_t channels, const InputPlan& plan) {
    const auto& [depth, height, width] = plan.size;
    COVFAST_REQUIRE(depth >= 1 && height >= 1 && width >= 1, SHAPE, "size: got (", depth, ", ", height, ", ", width,
                    "), expected at least 1");
    return FloatArray({channels, std::max<int64_t>(depth, plan.end[0] - plan.begin[0]), height, width});
}

// (C, size): its first planes, not copied.
py::array_t<float> first_planes(const FloatArray& room, const InputPlan& plan) {
    return py::array_t<float>({room.shape(0), plan.size[0], room.shape(2), room.shape(3)},
                              {room.strides(0), room.strides(1), room.strides(2), room.strides(3)}, room.data(), room);
}

// kind, masked, low, high, mean, std of each channel.
using NormFields = std::tuple<int, bool, float, float, float, float>;
py::array_t<float> run_prepare_input(const std::vector<py::array>& arrays, const std::vector<NormFields>& norms,
                                     const PlanFields& fields, int threads) {
    const InputPlan plan = input_plan(fields);
    const std::vector<RawChannel> channels = raw_channels(arrays);
    const auto count = static_cast<int64_t>(channels.size());
    std::vector<ChannelNorm> schemes;
    for (const auto& [kind, masked, low, high, mean, std] : norms)
        schemes.push_back({static_cast<ChannelNorm::Kind>(kind), masked, low, high, mean, std});
    FloatArray y = input_room(count, plan);
    float* out = y.mutable_data();
    {
        py::gil_scoped_release nogil;
        prepare_input(channels, schemes, plan, out, {&choose_backend("cpu"), threads}, {});
    }
    return first_planes(y, plan);
}

py::array_t<float> run_prepare_previous(const py::array& previous, const std::vector<int>& labels,
                                        const PlanFields& fields, const std::vector<py::array>& arrays, int threads) {
    const InputPlan plan = input_plan(fields);
    const std::vector<RawChannel> channels = raw_channels(arrays);
    const auto count = static_cast<int64_t>(labels.size());
    COVFAST_REQUIRE(previous.ndim() == 3 && py::isinstance<py::array_t<uint8_t>>(previous), DTYPE,
                    "previous: got another array, expected (D, H, W) uint8");
    const View3<const uint8_t> view{static_cast<const uint8_t*>(previous.data()),
                                    {previous.shape(0), previous.shape(1), previous.shape(2)},
                                    element_strides<uint8_t>(previous, "previous")};
    FloatArray y = input_room(count, plan);
    float* out = y.mutable_data();
    {
        py::gil_scoped_release nogil;
        prepare_previous(view, labels, plan, out, input_channel_floats(plan), {&choose_backend("cpu"), threads}, {},
                         channels);
    }
    return first_planes(y, plan);
}

std::pair<Axes, Axes> run_nonzero_box(const std::vector<py::array>& arrays, int threads) {
    const std::vector<RawChannel> channels = raw_channels(arrays);
    const py::gil_scoped_release nogil;
    const Box box = nonzero_box(channels, threads);
    return {box.begin, box.end};
}

}  // namespace

void register_resample(py::module_& m) {
    const auto x = py::arg("x").noconvert(), order = py::arg("order");
    const auto device = py::arg("device"), threads = py::arg("threads");
    m.def("spline_axis", run_spline_axis, x, py::arg("n_out"), order, py::arg("range"), device, threads);
    m.def("spline_columns", run_spline_columns, x, py::arg("n_in"), py::arg("n_out"), order, device, threads);
    m.def("resample_labels", run_resample_labels, py::arg("logits").noconvert(), py::arg("size"), order,
          py::arg("values"), py::arg("rule"), device, threads);
    m.def("nonzero_box", run_nonzero_box, py::arg("channels"), threads);
    m.def("prepare_input", run_prepare_input, py::arg("channels"), py::arg("norms"), py::arg("plan"), threads);
    m.def("prepare_previous", run_prepare_previous, py::arg("previous"), py::arg("labels"), py::arg("plan"),
          py::arg("channels"), threads);
}

}  // namespace covfast::python
