// The closed list of ops, one row each: how a node is read, what size it gives, how it runs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "engine/graph.h"
#include "kernels/activation.h"
#include "kernels/avg_pool3d.h"
#include "kernels/binary.h"
#include "kernels/conv3d.h"
#include "kernels/copy_channels.h"
#include "kernels/resize3d.h"
#include "kernels/softmax.h"

namespace covfast {
namespace {

constexpr size_t kAnyNumber = 4096;
constexpr int64_t kWindowLimit = 1 << 12;  // kernel, stride, dilation, padding: keeps every product inside 64 bits

// An attribute with one integer per axis, as (D, H, W); a 2-D network has none along D.
Axes read_axes(const NodeSource& source, const char* key, int64_t low, int64_t along_depth) {
    const std::vector<int64_t> values = source.json.integers(key, source.rank, low, kWindowLimit);
    Axes axes{along_depth, along_depth, along_depth};
    std::copy(values.begin(), values.end(), axes.end() - source.rank);
    return axes;
}

// A tensor with one number per channel.
const float* read_per_channel(const NodeSource& source, const char* key, int64_t channels) {
    const TensorView tensor = source.package.tensor(source.json.text(key));
    COVFAST_REQUIRE(tensor.shape == std::vector<int64_t>{channels}, FORMAT, key, ": got a tensor of ", tensor.count(),
                    " numbers, expected (", channels, ")");
    return tensor.data;
}

float read_float(const Json& json, const char* key) {
    const double value = json.number(key);
    COVFAST_REQUIRE(std::abs(value) <= std::numeric_limits<float>::max(), FORMAT, key, ": got ", value,
                    ", expected a number that float32 holds");
    return static_cast<float>(value);
}

// ---- conv ----
void parse_conv(Node& node, const NodeSource& source) {
    const TensorView weight = source.package.tensor(source.json.text("weight"));
    const size_t axes = static_cast<size_t>(source.rank) + 2;
    COVFAST_REQUIRE(weight.shape.size() == axes, FORMAT, "weight: got ", weight.shape.size(), " axes, expected ", axes);
    node.groups = source.json.integer("groups", 1, source.channels[0]);
    node.out_channels = weight.shape[0];
    COVFAST_REQUIRE(source.channels[0] % node.groups == 0 && node.out_channels % node.groups == 0 &&
                        weight.shape[1] == source.channels[0] / node.groups,
                    FORMAT, "weight: got ", node.out_channels, " x ", weight.shape[1], " channels in ", node.groups,
                    " groups, expected those of an input with ", source.channels[0]);
    std::copy(weight.shape.begin() + 2, weight.shape.end(), node.kernel.end() - source.rank);
    for (const int64_t k : node.kernel)
        COVFAST_REQUIRE(k >= 1 && k <= kWindowLimit, FORMAT, "weight: got a kernel of ", k, ", expected 1 to ",
                        kWindowLimit);
    node.a = weight.data;
    if (source.json.find("bias") != nullptr) node.b = read_per_channel(source, "bias", node.out_channels);
    node.stride = read_axes(source, "stride", 1, 1);
    node.padding = read_axes(source, "padding", 0, 0);
    node.dilation = read_axes(source, "dilation", 1, 1);
}

Axes size_of_conv(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = conv_out_size(in[0].size[a], node.kernel[a], node.stride[a], node.dilation[a], node.padding[a]);
    return size;
}

void run_conv(const Node& node, const Operands& o, const Context& context) {
    Conv3dParams p{};
    p.x = o.x[0], p.weight = node.a, p.bias = node.b, p.y = o.y;
    p.n = o.n, p.in_channels = o.in[0].channels, p.out_channels = o.out.channels, p.groups = node.groups;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.kernel[a] = node.kernel[a];
        p.stride[a] = node.stride[a], p.dilation[a] = node.dilation[a], p.padding[a] = node.padding[a];
    }
    conv3d(p, context);
}

// ---- avg_pool ----
void parse_avg_pool(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.kernel = read_axes(source, "kernel", 1, 1);
    node.stride = read_axes(source, "stride", 1, 1);
    node.padding = read_axes(source, "padding", 0, 0);
    node.ceil_mode = source.json.boolean("ceil_mode");
    node.count_include_pad = source.json.boolean("count_include_pad");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(node.padding[a] <= node.kernel[a] / 2, FORMAT, "padding: got ", node.padding[a],
                        ", expected at most half the kernel");
}

Axes size_of_avg_pool(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = pool_out_size(in[0].size[a], node.kernel[a], node.stride[a], node.padding[a], node.ceil_mode);
    return size;
}

void run_avg_pool(const Node& node, const Operands& o, const Context& context) {
    AvgPool3dParams p{};
    p.x = o.x[0], p.y = o.y, p.planes = o.n * o.out.channels;
    p.ceil_mode = node.ceil_mode, p.count_include_pad = node.count_include_pad;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a];
        p.kernel[a] = node.kernel[a], p.stride[a] = node.stride[a], p.padding[a] = node.padding[a];
    }
    avg_pool3d(p, context);
}

// ---- resize ----
void parse_resize(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.align_corners = source.json.boolean("align_corners");
    if (source.channels.size() == 2) return;
    const std::vector<double> factor = source.json.numbers("factor", source.rank);
    node.factor = {1, 1, 1};
    std::copy(factor.begin(), factor.end(), node.factor.end() - source.rank);
    for (const double f : node.factor)
        COVFAST_REQUIRE(f >= 1e-3 && f <= 1e3, FORMAT, "factor: got ", f, ", expected 0.001 to 1000");
}

Axes size_of_resize(const Node& node, const std::vector<Shape>& in) {
    if (in.size() == 2) return in[1].size;
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = static_cast<int64_t>(std::floor(static_cast<double>(in[0].size[a]) * node.factor[a]));
    return size;
}

void prepare_resize(const Node& node, Operands& o) {
    for (int a = 0; a < 3; ++a)
        o.axes[a] = linear_axis(o.in[0].size[a], o.out.size[a], node.align_corners, node.factor[a]);
}

void run_resize(const Node&, const Operands& o, const Context& context) {
    Resize3dParams p{};
    p.x = o.x[0], p.y = o.y, p.planes = o.n * o.out.channels;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a];
        p.left[a] = o.axes[a].left.data(), p.fraction[a] = o.axes[a].fraction.data();
    }
    resize3d(p, context);
}

// ---- one value in, one value out ----
Axes size_of_first(const Node&, const std::vector<Shape>& in) { return in[0].size; }

void parse_plain(Node& node, const NodeSource& source) { node.out_channels = source.channels[0]; }

void parse_prelu(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.a = read_per_channel(source, "slope", node.out_channels);
}

void parse_leaky_relu(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.a_value = read_float(source.json, "slope");
}

void parse_affine(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.a = read_per_channel(source, "scale", node.out_channels);
    node.b = read_per_channel(source, "shift", node.out_channels);
}

template <ActivationKind kKind>
void run_activation(const Node& node, const Operands& o, const Context& context) {
    activation({o.x[0], node.a, node.b, o.y, o.n, o.out.channels, o.out.plane(), node.a_value, node.b_value, kKind},
               context);
}

void run_softmax(const Node&, const Operands& o, const Context& context) {
    softmax({o.x[0], o.y, o.n, o.out.channels, o.out.plane()}, context);
}

// ---- add, sub, mul: of two values, or of one and the number "scalar" ----
template <BinaryKind kKind>
void parse_binary(Node& node, const NodeSource& source) {
    node.out_channels = *std::max_element(source.channels.begin(), source.channels.end());
    if (source.channels.size() == 1) {
        const float scalar = read_float(source.json, "scalar");
        const bool is_reversed = source.json.find("reversed") != nullptr && source.json.boolean("reversed");
        node.a_value = kKind == BinaryKind::kMul ? scalar : is_reversed && kKind == BinaryKind::kSub ? -1.0f : 1.0f;
        node.b_value = kKind == BinaryKind::kMul ? 0.0f : kKind == BinaryKind::kSub && !is_reversed ? -scalar : scalar;
        return;
    }
    for (const int64_t channels : source.channels)
        COVFAST_REQUIRE(channels == 1 || channels == node.out_channels, FORMAT, "inputs: got ", source.channels[0],
                        " and ", source.channels[1], " channels, expected the same or 1");
}

Axes size_of_binary(const Node&, const std::vector<Shape>& in) {
    for (const Shape& shape : in)
        COVFAST_REQUIRE(shape.size == in[0].size, SHAPE, "inputs: got sizes (", in[0].size[0], ", ", in[0].size[1],
                        ", ", in[0].size[2], ") and (", shape.size[0], ", ", shape.size[1], ", ", shape.size[2],
                        "), expected the same; the network's input may have to be a multiple of its stride");
    return in[0].size;
}

template <BinaryKind kKind>
void run_binary(const Node& node, const Operands& o, const Context& context) {
    if (o.x.size() == 1) return run_activation<ActivationKind::kAffine>(node, o, context);
    binary({o.x[0], o.x[1], o.y, o.n, o.out.channels, o.out.plane(), o.in[0].channels, o.in[1].channels, kKind},
           context);
}

// ---- concat, slice ----
void parse_concat(Node& node, const NodeSource& source) {
    for (const int64_t channels : source.channels) node.out_channels += channels;
}

void run_concat(const Node&, const Operands& o, const Context& context) {
    int64_t at = 0;
    for (size_t i = 0; i < o.x.size(); at += o.in[i].channels, ++i)
        copy_channels({o.x[i], o.y, o.n, o.out.plane(), o.in[i].channels, o.in[i].channels, 0, o.out.channels, at},
                      context);
}

void parse_slice(Node& node, const NodeSource& source) {
    node.first = source.json.integer("first", 0, source.channels[0] - 1);
    node.out_channels = source.json.integer("count", 1, source.channels[0] - node.first);
}

void run_slice(const Node& node, const Operands& o, const Context& context) {
    copy_channels({o.x[0], o.y, o.n, o.out.plane(), o.out.channels, o.in[0].channels, node.first, o.out.channels, 0},
                  context);
}

using Act = ActivationKind;
using Bin = BinaryKind;

// name, kernel, inputs from, to, read, in place, attributes, parse, out_size, prepare, run
constexpr OpRow kRows[] = {
    {"conv", "conv3d", 1, 1, 1, false, " weight bias stride padding dilation groups ", parse_conv, size_of_conv,
     nullptr, run_conv},
    {"avg_pool", "avg_pool3d", 1, 1, 1, false, " kernel stride padding ceil_mode count_include_pad ", parse_avg_pool,
     size_of_avg_pool, nullptr, run_avg_pool},
    {"resize", "resize3d", 1, 2, 1, false, " align_corners factor ", parse_resize, size_of_resize, prepare_resize,
     run_resize},
    {"prelu", "activation", 1, 1, 1, true, " slope ", parse_prelu, size_of_first, nullptr, run_activation<Act::kLeaky>},
    {"leaky_relu", "activation", 1, 1, 1, true, " slope ", parse_leaky_relu, size_of_first, nullptr,
     run_activation<Act::kLeaky>},
    {"relu", "activation", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_activation<Act::kRelu>},
    {"sigmoid", "activation", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_activation<Act::kSigmoid>},
    {"affine", "activation", 1, 1, 1, true, " scale shift ", parse_affine, size_of_first, nullptr,
     run_activation<Act::kAffine>},
    {"softmax", "softmax", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_softmax},
    {"add", "binary", 1, 2, 2, true, " scalar ", parse_binary<Bin::kAdd>, size_of_binary, nullptr,
     run_binary<Bin::kAdd>},
    {"sub", "binary", 1, 2, 2, true, " scalar reversed ", parse_binary<Bin::kSub>, size_of_binary, nullptr,
     run_binary<Bin::kSub>},
    {"mul", "binary", 1, 2, 2, true, " scalar ", parse_binary<Bin::kMul>, size_of_binary, nullptr,
     run_binary<Bin::kMul>},
    {"concat", "copy_channels", 1, kAnyNumber, kAnyNumber, false, "", parse_concat, size_of_binary, nullptr,
     run_concat},
    {"slice", "copy_channels", 1, 1, 1, false, " first count ", parse_slice, size_of_first, nullptr, run_slice},
};

}  // namespace

const OpRow* find_op(const std::string& name) {
    const auto row = std::find_if(std::begin(kRows), std::end(kRows), [&](const OpRow& r) { return r.name == name; });
    return row == std::end(kRows) ? nullptr : row;
}

}  // namespace covfast
