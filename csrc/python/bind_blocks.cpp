// The ops of the blocked layout besides the convolution, for covfast/blocked_ops.py and the tests: planar arrays of one
// image in and out, reordered here.
#include <optional>

#include "kernels/norm_blocked.h"
#include "kernels/reorder.h"
#include "python/block_values.h"

namespace covfast::python {
namespace {

const float* data_of(const OptionalArray& array) { return array ? array->data() : nullptr; }

void require_count(const OptionalArray& numbers, int64_t count, const char* name) {
    COVFAST_REQUIRE(!numbers || numbers->size() == count, SHAPE, name, ": got ", numbers ? numbers->size() : 0,
                    " numbers, expected ", count);
}

py::array raw_array(int64_t blocks, int64_t plane, Element element) {
    const py::dtype type = element == Element::kF32    ? py::dtype::of<float>()
                           : element == Element::kBf16 ? py::dtype::of<uint16_t>()
                                                       : py::dtype::of<uint8_t>();
    return py::array(type, {blocks, plane, kLanes});
}

// (C, plane) to the raw (blocks, plane, 16) of the element: bf16 as uint16.
py::array run_to_blocked(const FloatArray& x, const std::vector<int32_t>& lanes, int element, float scale,
                         const std::string& device, int threads) {
    COVFAST_REQUIRE(x.ndim() == 2, SHAPE, "x: got ", x.ndim(), " axes, expected 2: (C, plane)");
    const int64_t count = static_cast<int64_t>(lanes.size());
    ReorderParams p{};
    p.planar = const_cast<float*>(x.data()), p.map = {lanes.data(), count}, p.channels = x.shape(0);
    p.plane = x.shape(1), p.scale = scale, p.element = element_of(element), p.to_blocked = true;
    py::array y = raw_array(count / kLanes, p.plane, p.element);
    p.blocked = y.mutable_data();
    py::gil_scoped_release nogil;
    reorder(p, {&choose_backend(device, {"reorder"}), threads});
    return y;
}

// The inverse; channels that no lane holds are NaN.
FloatArray run_to_planar(const py::array& x, const std::vector<int32_t>& lanes, int64_t channels, int element,
                         float scale, const std::string& device, int threads) {
    const int64_t count = static_cast<int64_t>(lanes.size());
    COVFAST_REQUIRE(x.ndim() == 3 && x.shape(0) == count / kLanes && x.shape(2) == kLanes &&
                        x.itemsize() == element_bytes(element_of(element)) && (x.flags() & py::array::c_style) != 0,
                    SHAPE, "x: got ", x.ndim(), " axes, expected contiguous (", count / kLanes, ", plane, 16)");
    FloatArray y({channels, static_cast<int64_t>(x.shape(1))});
    std::fill_n(y.mutable_data(), y.size(), std::numeric_limits<float>::quiet_NaN());
    ReorderParams p{};
    p.planar = y.mutable_data(), p.blocked = const_cast<void*>(x.data()), p.map = {lanes.data(), count};
    p.channels = channels, p.plane = x.shape(1), p.scale = scale, p.element = element_of(element);
    py::gil_scoped_release nogil;
    reorder(p, {&choose_backend(device, {"reorder"}), threads});
    return y;
}

// kind, slope (C), before, after (1, C, D, H, W) of kernels/epilogue.h.
using EpilogueArrays = std::tuple<int, OptionalArray, OptionalArray, OptionalArray>;

// The arrays' memory, taken while the GIL is held.
struct EpilogueHost {
    int kind;
    const float *slope, *before, *after;
};

EpilogueHost host_of(const EpilogueArrays& arrays, int64_t channels, int64_t plane) {
    const auto& [kind, slope, before, after] = arrays;
    COVFAST_REQUIRE(kind >= 0 && kind <= 2, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 2");
    require_count(slope, channels, "slope");
    require_count(before, channels * plane, "before");
    require_count(after, channels * plane, "after");
    return {kind, data_of(slope), data_of(before), data_of(after)};
}

Epilogue epilogue_of(BlockCall& call, const EpilogueHost& host, int64_t channels, int64_t plane, Element element) {
    Epilogue e{};
    e.kind = static_cast<EpilogueKind>(host.kind), e.slope = call.lanes(host.slope, channels);
    e.before = call.put(host.before, channels, plane, element);
    e.after = call.put(host.after, channels, plane, element);
    return e;
}

// elements: of x, y and the residual operands. y is x itself where in_place.
FloatArray run_norm_blocked(const FloatArray& x, const OptionalArray& weight, const OptionalArray& bias,
                            const OptionalArray& stats, double eps, const EpilogueArrays& epilogue,
                            std::array<int, 3> elements, float y_scale, bool in_place, const std::string& device,
                            int threads) {
    const Axes size = image_size(x, "x");
    const int64_t channels = x.shape(1), plane = volume(size);
    NormBlockedParams p{};
    p.blocks = blocks_of(channels), p.plane = plane, p.eps = eps, p.y_scale = y_scale;
    p.x_element = element_of(elements[0]), p.y_element = element_of(elements[1]);
    p.residual_element = element_of(elements[2]);
    require_count(weight, channels, "weight");
    require_count(bias, channels, "bias");
    const int64_t lanes = p.blocks * kLanes;
    COVFAST_REQUIRE(!stats || (stats->ndim() == 3 && stats->shape(1) == lanes && stats->shape(2) == 2), SHAPE,
                    "stats: got other sizes, expected (parts, ", lanes, ", 2)");
    COVFAST_REQUIRE(!in_place || p.x_element == p.y_element, VALUE_RANGE,
                    "in_place: got elements of two kinds, expected one");
    p.stats = data_of(stats), p.parts = stats ? stats->shape(0) : 0;
    const EpilogueHost host = host_of(epilogue, channels, plane);
    FloatArray y = image(channels, size);
    const float *x_host = x.data(), *w_host = data_of(weight), *b_host = data_of(bias);
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "norm_blocked");
    void* blocked = call.put(x_host, channels, plane, p.x_element);
    p.x = blocked, p.y = in_place ? blocked : call.value(channels, plane, p.y_element);
    p.weight = call.lanes(w_host, channels), p.bias = call.lanes(b_host, channels);
    p.epilogue = epilogue_of(call, host, channels, plane, p.residual_element);
    p.workspace = call.room(norm_blocked_workspace(p.blocks, plane, p.stats != nullptr));
    norm_blocked(p, call.context());
    call.get(p.y, y_host, channels, plane, p.y_element, y_scale);
    return y;
}

}  // namespace

void register_blocks(py::module_& m) {
    const auto x = py::arg("x").noconvert();
    const auto device = py::arg("device"), threads = py::arg("threads");
    m.def("to_blocked", run_to_blocked, x, py::arg("lanes"), py::arg("element"), py::arg("scale"), device, threads);
    m.def("to_planar", run_to_planar, x, py::arg("lanes"), py::arg("channels"), py::arg("element"), py::arg("scale"),
          device, threads);
    m.def("norm_blocked", run_norm_blocked, x, py::arg("weight").noconvert(), py::arg("bias").noconvert(),
          py::arg("stats").noconvert(), py::arg("eps"), py::arg("epilogue"), py::arg("elements"), py::arg("y_scale"),
          py::arg("in_place"), device, threads);
}

}  // namespace covfast::python
