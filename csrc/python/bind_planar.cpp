// The planar ops with an epilogue, (N, C, D, H, W) float32 in and out: for covfast/planar_ops.py and the tests.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/conv3d.h"
#include "kernels/pointwise_depthwise.h"
#include "kernels/spatial_pyramid.h"
#include "python/bind.h"
#include "python/layer_call.h"

namespace covfast::python {
namespace {

using OptionalArray = std::optional<FloatArray>;
// kind; bias, slope (channels); before, after, other (like y)
using EpilogueArrays = std::tuple<int, OptionalArray, OptionalArray, OptionalArray, OptionalArray, OptionalArray>;
using YAndTotal = std::pair<FloatArray, OptionalArray>;

// An epilogue on the backend, and where its total goes.
class EpilogueCall {
public:
    EpilogueCall(const EpilogueArrays& arrays, int64_t channels, const FloatArray& y)
        : arrays_(arrays), channels_(channels), count_(y.size()) {
        const auto& [kind, bias, slope, before, after, other] = arrays_;
        for (const OptionalArray& numbers : {bias, slope})
            COVFAST_REQUIRE(!numbers || (numbers->ndim() == 1 && numbers->size() == channels), SHAPE, "bias: got ",
                            numbers ? numbers->size() : 0, " numbers, expected ", channels);
        for (const OptionalArray& operand : {before, after, other})
            COVFAST_REQUIRE(!operand || same_shape(*operand, y), SHAPE,
                            "before, after, other: got another shape, expected that of y");
        if (other) total_ = FloatArray(std::vector<py::ssize_t>(y.shape(), y.shape() + y.ndim()));
    }

    Epilogue put(Call& call) {
        const auto& [kind, bias, slope, before, after, other] = arrays_;
        const auto up = [&call](const OptionalArray& array, int64_t count) {
            return call.put(array ? array->data() : nullptr, count);
        };
        Epilogue e{up(bias, channels_),
                   up(slope, channels_),
                   up(before, count_),
                   up(after, count_),
                   up(other, count_),
                   nullptr,
                   static_cast<EpilogueKind>(kind)};
        if (total_) e.total = room_ = call.room(count_);
        return e;
    }

    void get(Call& call) {
        if (total_) call.get(room_, total_->mutable_data(), count_);
    }

    const OptionalArray& total() const { return total_; }

private:
    static bool same_shape(const FloatArray& a, const FloatArray& b) {
        return a.ndim() == b.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), b.shape());
    }

    const EpilogueArrays& arrays_;
    int64_t channels_, count_;
    OptionalArray total_;
    float* room_ = nullptr;
};

// window: stride, padding, dilation.
Conv3dParams conv_params(const FloatArray& x, const FloatArray& weight, const std::array<Axes, 3>& window,
                         int64_t groups) {
    const Axes in = size_of(x, "x"), kernel = size_of(weight, "weight");
    const auto& [stride, padding, dilation] = window;
    Conv3dParams p{};
    p.n = x.shape(0), p.in_channels = x.shape(1), p.out_channels = weight.shape(0), p.groups = groups;
    COVFAST_REQUIRE(groups >= 1 && weight.shape(1) * groups == p.in_channels, SHAPE, "weight: got ", weight.shape(1),
                    " input channels in ", groups, " groups, expected ", p.in_channels, " in all, those of x");
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(stride[a] >= 1 && dilation[a] >= 1 && padding[a] >= 0, VALUE_RANGE,
                        "stride, dilation, padding: got ", stride[a], ", ", dilation[a], ", ", padding[a],
                        ", expected at least 1, 1, 0");
        p.in_size[a] = in[a], p.kernel[a] = kernel[a];
        p.stride[a] = stride[a], p.dilation[a] = dilation[a], p.padding[a] = padding[a];
        p.out_size[a] = conv_out_size(in[a], kernel[a], stride[a], dilation[a], padding[a]);
    }
    return p;
}

YAndTotal run_conv3d_fused(const FloatArray& x, const FloatArray& weight, const std::array<Axes, 3>& window,
                           int64_t groups, const EpilogueArrays& arrays, const std::string& device, int threads) {
    Conv3dParams p = conv_params(x, weight, window, groups);
    FloatArray y({p.n, p.out_channels, p.out_size[0], p.out_size[1], p.out_size[2]});
    EpilogueCall epilogue(arrays, p.out_channels, y);
    const float *x_host = x.data(), *w_host = weight.data();
    const int64_t x_count = x.size(), w_count = weight.size(), y_count = y.size();
    float* y_host = y.mutable_data();
    {
        py::gil_scoped_release nogil;
        Call call(device, threads, "conv3d");
        p.x = call.put(x_host, x_count), p.weight = call.put(w_host, w_count);
        p.y = call.room(y_count), p.epilogue = epilogue.put(call);
        conv3d(p, call.context());
        call.get(p.y, y_host, y_count), epilogue.get(call);
    }
    return {y, epilogue.total()};
}

FloatArray run_conv3d(const FloatArray& x, const FloatArray& weight, const OptionalArray& bias, Axes stride,
                      Axes padding, Axes dilation, int64_t groups, const std::string& device, int threads) {
    const EpilogueArrays plain{0, bias, {}, {}, {}, {}};
    return run_conv3d_fused(x, weight, {stride, padding, dilation}, groups, plain, device, threads).first;
}

// weights: branch (branches, m, 3, 3), gate (branches, m), gate bias (branches) or None, fuse (outputs, m).
using PyramidWeights = std::tuple<FloatArray, FloatArray, OptionalArray, FloatArray>;

SpatialPyramidParams pyramid_params(const FloatArray& x, const PyramidWeights& weights,
                                    const std::vector<int64_t>& dilation, int64_t stride) {
    const auto& [branch, gate, gate_bias, fuse] = weights;
    const Axes in = size_of(x, "x");
    const int64_t m = x.shape(1), branches = static_cast<int64_t>(dilation.size());
    COVFAST_REQUIRE(x.shape(0) == 1 && in[0] == 1, SHAPE, "x: got a batch of ", x.shape(0), " and depth ", in[0],
                    ", expected 1 and 1");
    COVFAST_REQUIRE(branches >= 1 && branches <= kPyramidBranches, SHAPE, "dilation: got ", branches,
                    " numbers, expected 1 to ", kPyramidBranches);
    COVFAST_REQUIRE(stride >= 1, VALUE_RANGE, "stride: got ", stride, ", expected at least 1");
    COVFAST_REQUIRE(branch.size() == branches * m * 9 && gate.size() == branches * m, SHAPE,
                    "branch_weight, gate_weight: got ", branch.size(), " and ", gate.size(), " numbers, expected ",
                    branches * m * 9, " and ", branches * m);
    COVFAST_REQUIRE(!gate_bias || gate_bias->size() == branches, SHAPE, "gate_bias: got ",
                    gate_bias ? gate_bias->size() : 0, " numbers, expected ", branches);
    COVFAST_REQUIRE(fuse.ndim() == 2 && fuse.shape(0) % branches == 0 && fuse.shape(1) == m, SHAPE, "fuse_weight: got ",
                    fuse.size(), " numbers, expected a multiple of ", branches, " rows of ", m);
    SpatialPyramidParams p{};
    p.branches = branches, p.m = m, p.out_per_branch = fuse.shape(0) / branches, p.stride = stride;
    std::copy(dilation.begin(), dilation.end(), p.dilation);
    for (int a = 0; a < 2; ++a) p.in_size[a] = in[a + 1], p.out_size[a] = (in[a + 1] - 1) / stride + 1;
    return p;
}

YAndTotal run_spatial_pyramid(const FloatArray& x, const PyramidWeights& weights, const std::vector<int64_t>& dilation,
                              int64_t stride, const EpilogueArrays& arrays, const std::string& device, int threads) {
    SpatialPyramidParams p = pyramid_params(x, weights, dilation, stride);
    const auto& [branch, gate, gate_bias, fuse] = weights;
    const int64_t channels = p.branches * p.out_per_branch;
    FloatArray y({int64_t{1}, channels, int64_t{1}, p.out_size[0], p.out_size[1]});
    EpilogueCall epilogue(arrays, channels, y);
    float* y_host = y.mutable_data();
    {
        py::gil_scoped_release nogil;
        Call call(device, threads, "spatial_pyramid");
        p.x = call.put(x.data(), x.size()), p.branch_weight = call.put(branch.data(), branch.size());
        p.gate_weight = call.put(gate.data(), gate.size()), p.fuse_weight = call.put(fuse.data(), fuse.size());
        p.gate_bias = call.put(gate_bias ? gate_bias->data() : nullptr, p.branches);
        p.y = call.room(y.size()), p.epilogue = epilogue.put(call);
        spatial_pyramid(p, call.context());
        call.get(p.y, y_host, y.size()), epilogue.get(call);
    }
    return {y, epilogue.total()};
}

// window: stride, padding.
YAndTotal run_pointwise_depthwise(const FloatArray& x, const FloatArray& mix, const FloatArray& weight,
                                  const std::array<int64_t, 2>& window, const EpilogueArrays& arrays,
                                  const std::string& device, int threads) {
    const Axes in = size_of(x, "x");
    COVFAST_REQUIRE(x.shape(0) == 1 && in[0] == 1, SHAPE, "x: got a batch of ", x.shape(0), " and depth ", in[0],
                    ", expected 1 and 1");
    COVFAST_REQUIRE(mix.ndim() == 2 && mix.shape(1) == x.shape(1), SHAPE, "mix_weight: got ", mix.size(),
                    " numbers, expected rows of ", x.shape(1));
    COVFAST_REQUIRE(weight.ndim() == 3 && weight.shape(0) == mix.shape(0) && weight.shape(1) == weight.shape(2), SHAPE,
                    "weight: got ", weight.size(), " numbers, expected a square kernel for each of ", mix.shape(0),
                    " channels");
    PointwiseDepthwiseParams p{};
    p.in_channels = x.shape(1), p.channels = mix.shape(0), p.kernel = weight.shape(1);
    p.stride = window[0], p.padding = window[1];
    COVFAST_REQUIRE(p.stride >= 1 && p.padding >= 0, VALUE_RANGE, "stride, padding: got ", p.stride, ", ", p.padding,
                    ", expected at least 1 and 0");
    for (int a = 0; a < 2; ++a) {
        p.in_size[a] = in[a + 1];
        p.out_size[a] = conv_out_size(p.in_size[a], p.kernel, p.stride, 1, p.padding);
    }
    FloatArray y({int64_t{1}, p.channels, int64_t{1}, p.out_size[0], p.out_size[1]});
    EpilogueCall epilogue(arrays, p.channels, y);
    float* y_host = y.mutable_data();
    {
        py::gil_scoped_release nogil;
        Call call(device, threads, "pointwise_depthwise");
        p.x = call.put(x.data(), x.size()), p.mix_weight = call.put(mix.data(), mix.size());
        p.weight = call.put(weight.data(), weight.size());
        p.y = call.room(y.size()), p.epilogue = epilogue.put(call);
        pointwise_depthwise(p, call.context());
        call.get(p.y, y_host, y.size()), epilogue.get(call);
    }
    return {y, epilogue.total()};
}

}  // namespace

void register_planar(py::module_& m) {
    const auto x = py::arg("x").noconvert();
    const auto epilogue = py::arg("epilogue"), device = py::arg("device"), threads = py::arg("threads");
    const auto weight = py::arg("weight").noconvert(), bias = py::arg("bias").noconvert();
    m.def("conv3d", run_conv3d, x, weight, bias, py::arg("stride"), py::arg("padding"), py::arg("dilation"),
          py::arg("groups"), device, threads);
    m.def("conv3d_fused", run_conv3d_fused, x, weight, py::arg("window"), py::arg("groups"), epilogue, device, threads);
    m.def("spatial_pyramid", run_spatial_pyramid, x, py::arg("weights"), py::arg("dilation"), py::arg("stride"),
          epilogue, device, threads);
    m.def("pointwise_depthwise", run_pointwise_depthwise, x, py::arg("mix_weight").noconvert(), weight,
          py::arg("window"), epilogue, device, threads);
}

}  // namespace covfast::python
