// The ops of the blocked layout besides the convolution, for covfast/blocked_ops.py and the tests: planar arrays of one
// image in and out, reordered here.
#include <optional>

#include "kernels/conv_transpose_blocked.h"
#include "kernels/elementwise_blocked.h"
#include "kernels/norm_blocked.h"
#include "kernels/pool_blocked.h"
#include "kernels/reorder.h"
#include "kernels/resize_axis.h"
#include "kernels/resize_blocked.h"
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

Epilogue epilogue_of(BlockCall& call, const EpilogueHost& host, int64_t channels, int64_t plane, Element element,
                     const LaneList& lanes = {}) {
    Epilogue e{};
    e.kind = static_cast<EpilogueKind>(host.kind), e.slope = call.lanes(host.slope, channels, lanes);
    e.before = call.put(host.before, channels, plane, element, 1, lanes);
    e.after = call.put(host.after, channels, plane, element, 1, lanes);
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

// window: kernel, stride, padding, dilation.
FloatArray run_pool_blocked(const FloatArray& x, int kind, const std::array<Axes, 4>& window, bool ceil_mode,
                            bool count_include_pad, int element, float scale, const std::string& device, int threads) {
    const Axes in = image_size(x, "x");
    const auto& [kernel, stride, padding, dilation] = window;
    COVFAST_REQUIRE(kind >= 0 && kind <= 1, VALUE_RANGE, "kind: got ", kind, ", expected 0 or 1");
    PoolBlockedParams p{};
    const int64_t channels = x.shape(1);
    p.blocks = blocks_of(channels), p.kind = static_cast<PoolKind>(kind), p.element = element_of(element);
    p.ceil_mode = ceil_mode, p.count_include_pad = count_include_pad;
    Axes out;
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(stride[a] >= 1, VALUE_RANGE, "stride: got ", stride[a], ", expected at least 1");
        p.in_size[a] = in[a], p.kernel[a] = kernel[a], p.stride[a] = stride[a];
        p.padding[a] = padding[a], p.dilation[a] = dilation[a];
        out[a] = std::max<int64_t>(0, pool_out_size(in[a], kernel[a], stride[a], dilation[a], padding[a], ceil_mode));
        p.out_size[a] = out[a];
    }
    FloatArray y = image(channels, out);
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "pool_blocked");
    p.x = call.put(x_host, channels, volume(in), p.element, scale);
    p.y = call.value(channels, volume(out), p.element);
    pool_blocked(p, call.context());
    call.get(p.y, y_host, channels, volume(out), p.element, scale);
    return y;
}

FloatArray run_resize_blocked(const FloatArray& x, const Axes& size, int kind, const std::array<double, 3>& factor,
                              int element, float scale, const std::string& device, int threads) {
    const Axes in = image_size(x, "x");
    COVFAST_REQUIRE(kind >= 0 && kind <= 3, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 3");
    ResizeBlockedParams p{};
    ResizeAxis axes[3];
    const int64_t channels = x.shape(1);
    p.blocks = blocks_of(channels), p.element = element_of(element);
    for (int a = 0; a < 3; ++a) {
        axes[a] = resize_axis(in[a], size[a], static_cast<ResizeKind>(kind), factor[a]);
        p.in_size[a] = in[a], p.out_size[a] = size[a], p.left[a] = axes[a].left.data();
        p.fraction[a] = axes[a].fraction.empty() ? nullptr : axes[a].fraction.data();
    }
    FloatArray y = image(channels, size);
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "resize_blocked");
    p.x = call.put(x_host, channels, volume(in), p.element, scale);
    p.y = call.value(channels, volume(size), p.element);
    resize_blocked(p, call.context());
    call.get(p.y, y_host, channels, volume(size), p.element, scale);
    return y;
}

// elements, scales: of x and y. a, b: one number or (C).
FloatArray run_activation_blocked(const FloatArray& x, int kind, const FloatArray& a, const FloatArray& b,
                                  std::array<int, 2> elements, std::array<float, 2> scales, const std::string& device,
                                  int threads) {
    const Axes size = image_size(x, "x");
    const int64_t channels = x.shape(1), plane = volume(size);
    COVFAST_REQUIRE(kind >= 0 && kind <= 3, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 3");
    COVFAST_REQUIRE((a.size() == 1 || a.size() == channels) && (b.size() == 1 || b.size() == channels), SHAPE,
                    "a, b: got ", a.size(), " and ", b.size(), " numbers, expected 1 or ", channels);
    ActivationBlockedParams p{};
    p.blocks = blocks_of(channels), p.plane = plane, p.kind = static_cast<ActivationKind>(kind);
    p.a_value = a.data()[0], p.b_value = b.data()[0], p.x_scale = scales[0], p.y_scale = scales[1];
    p.x_element = element_of(elements[0]), p.y_element = element_of(elements[1]);
    FloatArray y = image(channels, size);
    const float *x_host = x.data(), *a_host = a.size() > 1 ? a.data() : nullptr,
                *b_host = b.size() > 1 ? b.data() : nullptr;
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "activation_blocked");
    p.a = call.lanes(a_host, channels), p.b = call.lanes(b_host, channels);
    p.x = call.put(x_host, channels, plane, p.x_element, p.x_scale);
    p.y = call.value(channels, plane, p.y_element);
    activation_blocked(p, call.context());
    call.get(p.y, y_host, channels, plane, p.y_element, p.y_scale);
    return y;
}

FloatArray run_binary_blocked(const FloatArray& a, const FloatArray& b, int kind, int element,
                              const std::string& device, int threads) {
    const Axes size = image_size(a, "a");
    const int64_t plane = volume(size), a_channels = a.shape(1), channels = std::max(a_channels, int64_t{b.shape(1)});
    COVFAST_REQUIRE(image_size(b, "b") == size, SHAPE, "b: got another size than a, expected the same");
    COVFAST_REQUIRE((a_channels == 1 || a_channels == channels) && (b.shape(1) == 1 || b.shape(1) == channels), SHAPE,
                    "a, b: got ", a_channels, " and ", b.shape(1), " channels, expected the same or 1");
    COVFAST_REQUIRE(kind >= 0 && kind <= 2, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 2");
    BinaryBlockedParams p{};
    p.blocks = blocks_of(channels), p.plane = plane, p.kind = static_cast<BinaryKind>(kind);
    p.element = element_of(element);
    const int64_t b_channels = b.shape(1);
    p.a_is_single = a_channels < channels, p.b_is_single = b_channels < channels;
    FloatArray y = image(channels, size);
    const float *a_host = a.data(), *b_host = b.data();
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "binary_blocked");
    p.a = call.put(a_host, a_channels, plane, p.element), p.b = call.put(b_host, b_channels, plane, p.element);
    p.y = call.value(channels, plane, p.element);
    binary_blocked(p, call.context());
    call.get(p.y, y_host, channels, plane, p.element);
    return y;
}

// lanes: of x and y, which channel each holds; none: one after the other. scale: of x, kU8 alone.
FloatArray run_conv_transpose_blocked(const FloatArray& x, const FloatArray& weight, const OptionalArray& bias,
                                      const EpilogueArrays& epilogue, std::array<LaneList, 2> lanes,
                                      std::array<int, 2> elements, float scale, const std::string& device,
                                      int threads) {
    const Axes in = image_size(x, "x");
    COVFAST_REQUIRE(weight.ndim() == 5 && weight.shape(0) == x.shape(1), SHAPE, "weight: got ", weight.ndim(),
                    " axes, expected (C, O, kD, kH, kW) with the channels of x");
    const int64_t channels = x.shape(1), outs = weight.shape(1);
    const Axes kernel = {weight.shape(2), weight.shape(3), weight.shape(4)};
    const Axes out = {in[0] * kernel[0], in[1] * kernel[1], in[2] * kernel[2]};
    if (lanes[0].empty()) lanes[0] = lanes_of(channels);
    if (lanes[1].empty()) lanes[1] = lanes_of(outs);
    require_count(bias, outs, "bias");
    const EpilogueHost host = host_of(epilogue, outs, volume(out));
    FloatArray y = image(outs, out);
    const float *x_host = x.data(), *w_host = weight.data(), *b_host = data_of(bias);
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    BlockCall call(device, threads, "conv_transpose_blocked");
    ConvTransposeBlockedParams p{};
    p.x_element = element_of(elements[0]), p.y_element = element_of(elements[1]);
    p.in_blocks = static_cast<int64_t>(lanes[0].size()) / kLanes;
    p.out_blocks = static_cast<int64_t>(lanes[1].size()) / kLanes;
    std::copy_n(in.data(), 3, p.in_size), std::copy_n(kernel.data(), 3, p.stride);
    const std::vector<float> in_scale(lanes[0].size(), scale);
    std::vector<float> out_scale(lanes[1].size());
    ConvPack pack{w_host,
                  channels,
                  volume(kernel),
                  {lanes[0].data(), p.in_blocks * kLanes},
                  {lanes[1].data(), p.out_blocks * kLanes},
                  p.x_element,
                  false,
                  in_scale.data(),
                  out_scale.data(),
                  nullptr};
    void* packed = call.room(conv_transpose_blocked_pack_bytes(pack));
    conv_transpose_blocked_pack(pack, packed);
    p.weight = packed, p.scale = out_scale.data();
    p.x = call.put(x_host, channels, volume(in), p.x_element, scale, lanes[0]);
    p.y = call.value(static_cast<int64_t>(lanes[1].size()), volume(out), p.y_element);
    p.epilogue = epilogue_of(call, host, outs, volume(out), p.y_element, lanes[1]);
    p.epilogue.bias = call.lanes(b_host, outs, lanes[1]);
    conv_transpose_blocked(p, call.context());
    call.get(p.y, y_host, outs, volume(out), p.y_element, 1, lanes[1]);
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
    m.def("pool_blocked", run_pool_blocked, x, py::arg("kind"), py::arg("window"), py::arg("ceil_mode"),
          py::arg("count_include_pad"), py::arg("element"), py::arg("scale"), device, threads);
    m.def("resize_blocked", run_resize_blocked, x, py::arg("size"), py::arg("kind"), py::arg("factor"),
          py::arg("element"), py::arg("scale"), device, threads);
    m.def("activation_blocked", run_activation_blocked, x, py::arg("kind"), py::arg("a").noconvert(),
          py::arg("b").noconvert(), py::arg("elements"), py::arg("scales"), device, threads);
    m.def("binary_blocked", run_binary_blocked, py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("kind"),
          py::arg("element"), device, threads);
    m.def("conv_transpose_blocked", run_conv_transpose_blocked, x, py::arg("weight").noconvert(),
          py::arg("bias").noconvert(), py::arg("epilogue"), py::arg("lanes"), py::arg("elements"), py::arg("scale"),
          device, threads);
}

}  // namespace covfast::python
