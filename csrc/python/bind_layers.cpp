// The layers of networks as single ops, (N, C, D, H, W) float32 in and out: for covfast/ops.py and the tests.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>

#include "kernels/activation.h"
#include "kernels/binary.h"
#include "kernels/conv_transpose3d.h"
#include "kernels/copy_channels.h"
#include "kernels/group_norm.h"
#include "kernels/pad3d.h"
#include "kernels/pool3d.h"
#include "kernels/resize3d.h"
#include "kernels/resize_axis.h"
#include "kernels/softmax.h"
#include "python/bind.h"
#include "python/layer_call.h"

namespace covfast::python {
namespace {

FloatArray run_conv_transpose3d(const FloatArray& x, const FloatArray& weight, const std::optional<FloatArray>& bias,
                                std::array<Axes, 4> window, int64_t groups, const std::string& device, int threads) {
    const Axes in = size_of(x, "x"), kernel = size_of(weight, "weight");
    const auto& [stride, padding, dilation, output_padding] = window;
    ConvTranspose3dParams p{};
    p.n = x.shape(0), p.in_channels = x.shape(1), p.out_channels = weight.shape(1) * groups, p.groups = groups;
    COVFAST_REQUIRE(weight.shape(0) == p.in_channels, SHAPE, "weight: got ", weight.shape(0),
                    " input channels, expected ", p.in_channels, ", those of x");
    COVFAST_REQUIRE(!bias || (bias->ndim() == 1 && bias->size() == p.out_channels), SHAPE, "bias: got ",
                    bias ? bias->size() : 0, " numbers, expected ", p.out_channels);
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = in[a], p.kernel[a] = kernel[a];
        p.stride[a] = stride[a], p.dilation[a] = dilation[a], p.padding[a] = padding[a];
        p.out_size[a] =
            output_padding[a] + conv_transpose_out_size(in[a], kernel[a], stride[a], dilation[a], padding[a]);
        COVFAST_REQUIRE(p.out_size[a] >= 0, SHAPE, "y: got size ", p.out_size[a], ", expected at least 1");
    }
    FloatArray y({p.n, p.out_channels, p.out_size[0], p.out_size[1], p.out_size[2]});
    const float *x_host = x.data(), *w_host = weight.data(), *b_host = bias ? bias->data() : nullptr;
    const int64_t x_count = x.size(), w_count = weight.size(), y_count = y.size();
    float* y_host = y.mutable_data();
    py::gil_scoped_release nogil;
    Call call(device, threads, "conv_transpose3d");
    p.x = call.put(x_host, x_count), p.weight = call.put(w_host, w_count), p.bias = call.put(b_host, p.out_channels);
    p.y = call.room(y_count);
    conv_transpose3d(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

FloatArray run_group_norm(const FloatArray& x, int64_t groups, const std::optional<FloatArray>& weight,
                          const std::optional<FloatArray>& bias, double eps, const std::string& device, int threads) {
    const Axes size = size_of(x, "x");
    GroupNormParams p{};
    p.n = x.shape(0), p.channels = x.shape(1), p.groups = groups, p.plane = plane_of(x, "x"), p.eps = eps;
    COVFAST_REQUIRE(groups >= 1 && p.channels % groups == 0, SHAPE, "groups: got ", groups, ", expected a divisor of ",
                    p.channels);
    for (const auto& numbers : {weight, bias})
        COVFAST_REQUIRE(!numbers || numbers->size() == p.channels, SHAPE, "weight, bias: got ",
                        numbers ? numbers->size() : 0, " numbers, expected ", p.channels);
    FloatArray y({p.n, p.channels, size[0], size[1], size[2]});
    const float *x_host = x.data(), *a_host = weight ? weight->data() : nullptr,
                *b_host = bias ? bias->data() : nullptr;
    float* y_host = y.mutable_data();
    const int64_t count = x.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "group_norm");
    p.x = call.put(x_host, count), p.a = call.put(a_host, p.channels), p.b = call.put(b_host, p.channels);
    p.y = call.room(count), p.workspace = call.room(group_norm_workspace(p.n, p.channels, groups, p.plane));
    group_norm(p, call.context());
    call.get(p.y, y_host, count);
    return y;
}

FloatArray run_pool3d(const FloatArray& x, int kind, std::array<Axes, 4> window, bool ceil_mode, bool count_include_pad,
                      const std::string& device, int threads) {
    const Axes in = size_of(x, "x");
    const auto& [kernel, stride, padding, dilation] = window;
    COVFAST_REQUIRE(kind >= 0 && kind <= 1, VALUE_RANGE, "kind: got ", kind, ", expected 0 or 1");
    Pool3dParams p{};
    p.planes = x.shape(0) * x.shape(1), p.kind = static_cast<PoolKind>(kind);
    p.ceil_mode = ceil_mode, p.count_include_pad = count_include_pad;
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(stride[a] >= 1, VALUE_RANGE, "stride: got ", stride[a], ", expected at least 1");
        p.in_size[a] = in[a], p.kernel[a] = kernel[a], p.stride[a] = stride[a];
        p.padding[a] = padding[a], p.dilation[a] = dilation[a];
        p.out_size[a] =
            std::max<int64_t>(0, pool_out_size(in[a], kernel[a], stride[a], dilation[a], padding[a], ceil_mode));
    }
    FloatArray y({x.shape(0), x.shape(1), p.out_size[0], p.out_size[1], p.out_size[2]});
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    const int64_t x_count = x.size(), y_count = y.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "pool3d");
    p.x = call.put(x_host, x_count), p.y = call.room(y_count);
    pool3d(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

FloatArray run_pad3d(const FloatArray& x, Axes before, Axes after, float value, const std::string& device,
                     int threads) {
    const Axes in = size_of(x, "x");
    Pad3dParams p{};
    p.planes = x.shape(0) * x.shape(1), p.value = value;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = in[a], p.before[a] = before[a], p.out_size[a] = in[a] + before[a] + after[a];
        COVFAST_REQUIRE(p.out_size[a] >= 1, SHAPE, "before, after: got ", before[a], " and ", after[a],
                        ", expected to leave something of a size of ", in[a]);
    }
    FloatArray y({x.shape(0), x.shape(1), p.out_size[0], p.out_size[1], p.out_size[2]});
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    const int64_t x_count = x.size(), y_count = y.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "pad3d");
    p.x = call.put(x_host, x_count), p.y = call.room(y_count);
    pad3d(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

FloatArray run_resize3d(const FloatArray& x, Axes size, int kind, std::array<double, 3> factor,
                        const std::string& device, int threads) {
    const Axes in = size_of(x, "x");
    COVFAST_REQUIRE(kind >= 0 && kind <= 3, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 3");
    Resize3dParams p{};
    ResizeAxis axes[3];
    for (int a = 0; a < 3; ++a) {
        axes[a] = resize_axis(in[a], size[a], static_cast<ResizeKind>(kind), factor[a]);
        p.in_size[a] = in[a], p.out_size[a] = size[a];
    }
    p.planes = x.shape(0) * x.shape(1);
    FloatArray y({x.shape(0), x.shape(1), size[0], size[1], size[2]});
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    const int64_t x_count = x.size(), y_count = y.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "resize3d");
    p.x = call.put(x_host, x_count), p.y = call.room(y_count);
    for (int a = 0; a < 3; ++a) {
        p.left[a] = call.put(axes[a].left.data(), size[a]);
        if (!axes[a].fraction.empty()) p.fraction[a] = call.put(axes[a].fraction.data(), size[a]);
    }
    resize3d(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

FloatArray run_binary(const FloatArray& a, const FloatArray& b, int kind, const std::string& device, int threads) {
    const Axes size = size_of(a, "a");
    COVFAST_REQUIRE(size_of(b, "b") == size && a.shape(0) == b.shape(0), SHAPE,
                    "b: got another batch or size than a, expected the same");
    COVFAST_REQUIRE(kind >= 0 && kind <= 2, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 2");
    BinaryParams p{};
    p.n = a.shape(0), p.a_channels = a.shape(1), p.b_channels = b.shape(1), p.plane = plane_of(a, "a");
    p.channels = std::max(p.a_channels, p.b_channels), p.kind = static_cast<BinaryKind>(kind);
    FloatArray y({p.n, p.channels, size[0], size[1], size[2]});
    const float *a_host = a.data(), *b_host = b.data();
    float* y_host = y.mutable_data();
    const int64_t a_count = a.size(), b_count = b.size(), y_count = y.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "binary");
    p.a = call.put(a_host, a_count), p.b = call.put(b_host, b_count), p.y = call.room(y_count);
    binary(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

FloatArray run_activation(const FloatArray& x, int kind, const FloatArray& a, const FloatArray& b,
                          const std::string& device, int threads) {
    const Axes size = size_of(x, "x");
    ActivationParams p{};
    p.n = x.shape(0), p.channels = x.shape(1), p.plane = plane_of(x, "x");
    COVFAST_REQUIRE(kind >= 0 && kind <= 3, VALUE_RANGE, "kind: got ", kind, ", expected 0 to 3");
    COVFAST_REQUIRE((a.size() == 1 || a.size() == p.channels) && (b.size() == 1 || b.size() == p.channels), SHAPE,
                    "a, b: got ", a.size(), " and ", b.size(), " numbers, expected 1 or ", p.channels);
    p.kind = static_cast<ActivationKind>(kind);
    p.a_value = a.data()[0], p.b_value = b.data()[0];
    FloatArray y({p.n, p.channels, size[0], size[1], size[2]});
    const float *x_host = x.data(), *a_host = a.data(), *b_host = b.data();
    float* y_host = y.mutable_data();
    const int64_t count = x.size(), a_count = a.size(), b_count = b.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "activation");
    p.x = call.put(x_host, count), p.y = call.room(count);
    if (a_count > 1) p.a = call.put(a_host, a_count);
    if (b_count > 1) p.b = call.put(b_host, b_count);
    activation(p, call.context());
    call.get(p.y, y_host, count);
    return y;
}

FloatArray run_softmax(const FloatArray& x, bool is_log, const std::string& device, int threads) {
    const Axes size = size_of(x, "x");
    SoftmaxParams p{};
    p.n = x.shape(0), p.channels = x.shape(1), p.plane = plane_of(x, "x"), p.is_log = is_log;
    FloatArray y({p.n, p.channels, size[0], size[1], size[2]});
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    const int64_t count = x.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "softmax");
    p.x = call.put(x_host, count), p.y = call.room(count);
    softmax(p, call.context());
    call.get(p.y, y_host, count);
    return y;
}

// Channels [first, first + count) of x.
FloatArray run_slice_channels(const FloatArray& x, int64_t first, int64_t count, const std::string& device,
                              int threads) {
    const Axes size = size_of(x, "x");
    COVFAST_REQUIRE(count >= 0 && first >= 0 && first <= x.shape(1) - count, SHAPE, "channels: got ", count, " from ",
                    first, ", expected channels that x with its ", x.shape(1), " has");
    CopyChannelsParams p{};
    p.n = x.shape(0), p.plane = plane_of(x, "x"), p.count = count;
    p.x_channels = x.shape(1), p.x_first = first, p.y_channels = count;
    FloatArray y({p.n, count, size[0], size[1], size[2]});
    const float* x_host = x.data();
    float* y_host = y.mutable_data();
    const int64_t x_count = x.size(), y_count = y.size();
    py::gil_scoped_release nogil;
    Call call(device, threads, "copy_channels");
    p.x = call.put(x_host, x_count), p.y = call.room(y_count);
    copy_channels(p, call.context());
    call.get(p.y, y_host, y_count);
    return y;
}

}  // namespace

void register_layers(py::module_& m) {
    const auto x = py::arg("x").noconvert();
    const auto device = py::arg("device"), threads = py::arg("threads");
    const auto weight = py::arg("weight").noconvert(), bias = py::arg("bias").noconvert();
    m.def("conv_transpose3d", run_conv_transpose3d, x, weight, bias, py::arg("window"), py::arg("groups"), device,
          threads);
    m.def("group_norm", run_group_norm, x, py::arg("groups"), weight, bias, py::arg("eps"), device, threads);
    m.def("pool3d", run_pool3d, x, py::arg("kind"), py::arg("window"), py::arg("ceil_mode"),
          py::arg("count_include_pad"), device, threads);
    m.def("pad3d", run_pad3d, x, py::arg("before"), py::arg("after"), py::arg("value"), device, threads);
    m.def("resize3d", run_resize3d, x, py::arg("size"), py::arg("kind"), py::arg("factor"), device, threads);
    m.def("binary", run_binary, py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("kind"), device, threads);
    m.def("activation", run_activation, x, py::arg("kind"), py::arg("a").noconvert(), py::arg("b").noconvert(), device,
          threads);
    m.def("softmax", run_softmax, x, py::arg("is_log"), device, threads);
    m.def("slice_channels", run_slice_channels, x, py::arg("first"), py::arg("count"), device, threads);
}

}  // namespace covfast::python
