// The closed list of ops, one row each: how a node is read, what size it gives, how it runs.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "engine/attributes.h"
#include "engine/blocked_rows.h"
#include "engine/graph.h"
#include "engine/window_ops.h"
#include "kernels/activation.h"
#include "kernels/binary.h"
#include "kernels/copy_channels.h"
#include "kernels/group_norm.h"
#include "kernels/pad3d.h"
#include "kernels/resize3d.h"
#include "kernels/softmax.h"

namespace covfast {
namespace {

constexpr size_t kAnyNumber = 4096;
Axes size_of_first(const Node&, const std::vector<Shape>& in) { return in[0].size; }

// ---- group_norm ----
void parse_group_norm(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.groups = source.json.integer("groups", 1, node.out_channels);
    COVFAST_REQUIRE(node.out_channels % node.groups == 0, FORMAT, "groups: got ", node.groups,
                    ", expected a divisor of ", node.out_channels);
    node.eps = source.json.number("eps");
    COVFAST_REQUIRE(node.eps >= 0, FORMAT, "eps: got ", node.eps, ", expected 0 or more");
    if (source.json.find("weight") != nullptr) node.a = read_per_channel(source, "weight", node.out_channels);
    if (source.json.find("bias") != nullptr) node.b = read_per_channel(source, "bias", node.out_channels);
}

size_t scratch_of_group_norm(const Node& node, const Operands& o, const Context&) {
    return sizeof(float) * group_norm_workspace(1, o.out.channels, node.groups, o.out.plane());
}

void run_group_norm(const Node& node, const Operands& o, const Context& context) {
    group_norm({o.in_f32(0), node.a, node.b, o.out_f32(), static_cast<float*>(o.scratch), 1, o.out.channels,
                node.groups, o.out.plane(), node.eps},
               context);
}

// ---- resize, resize_nearest ----
void parse_resize(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    if (source.channels.size() == 2) return;
    const std::vector<double> factor = source.json.numbers("factor", source.rank);
    node.factor = {1, 1, 1};
    std::copy(factor.begin(), factor.end(), node.factor.end() - source.rank);
    for (const double f : node.factor)
        COVFAST_REQUIRE(f >= 1e-3 && f <= 1e3, FORMAT, "factor: got ", f, ", expected 0.001 to 1000");
}

void parse_resize_linear(Node& node, const NodeSource& source) {
    node.resize = source.json.boolean("align_corners") ? ResizeKind::kLinearCorners : ResizeKind::kLinear;
    parse_resize(node, source);
}

void parse_resize_nearest(Node& node, const NodeSource& source) {
    node.resize = source.json.boolean("exact") ? ResizeKind::kNearestExact : ResizeKind::kNearest;
    parse_resize(node, source);
}

Axes size_of_resize(const Node& node, const std::vector<Shape>& in) {
    if (in.size() == 2) return in[1].size;
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = static_cast<int64_t>(std::floor(static_cast<double>(in[0].size[a]) * node.factor[a]));
    return size;
}

void prepare_resize(const Node& node, Operands& o) {
    for (int a = 0; a < 3; ++a) o.axes[a] = resize_axis(o.in[0].size[a], o.out.size[a], node.resize, node.factor[a]);
}

void run_resize(const Node&, const Operands& o, const Context& context) {
    Resize3dParams p{};
    p.x = o.in_f32(0), p.y = o.out_f32(), p.planes = o.out.channels;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a];
        p.left[a] = o.axes[a].left.data();
        p.fraction[a] = o.axes[a].fraction.empty() ? nullptr : o.axes[a].fraction.data();
    }
    resize3d(p, context);
}

// ---- pad ----
void parse_pad(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.padding = read_axes(source, "before", -kWindowLimit, 0);
    node.after = read_axes(source, "after", -kWindowLimit, 0);
    node.a_value = read_float(source.json, "value");
}

Axes size_of_pad(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a) size[a] = in[0].size[a] + node.padding[a] + node.after[a];
    return size;
}

void run_pad(const Node& node, const Operands& o, const Context& context) {
    Pad3dParams p{};
    p.x = o.in_f32(0), p.y = o.out_f32(), p.planes = o.out.channels, p.value = node.a_value;
    for (int a = 0; a < 3; ++a)
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.before[a] = node.padding[a];
    pad3d(p, context);
}

// ---- one value in, one value out ----
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
    activation(
        {o.in_f32(0), node.a, node.b, o.out_f32(), 1, o.out.channels, o.out.plane(), node.a_value, node.b_value, kKind},
        context);
}

template <bool kIsLog>
void run_softmax(const Node&, const Operands& o, const Context& context) {
    softmax({o.in_f32(0), o.out_f32(), 1, o.out.channels, o.out.plane(), kIsLog}, context);
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
    binary({o.in_f32(0), o.in_f32(1), o.out_f32(), 1, o.out.channels, o.out.plane(), o.in[0].channels, o.in[1].channels,
            kKind},
           context);
}

// ---- concat, slice ----
void parse_concat(Node& node, const NodeSource& source) {
    for (const int64_t channels : source.channels) node.out_channels += channels;
}

void run_concat(const Node&, const Operands& o, const Context& context) {
    int64_t at = 0;
    for (size_t i = 0; i < o.x.size(); at += o.in[i].channels, ++i)
        if (o.in_f32(i) != o.out_f32() + at * o.out.plane())  // else it lies there
            copy_channels(
                {o.in_f32(i), o.out_f32(), 1, o.out.plane(), o.in[i].channels, o.in[i].channels, 0, o.out.channels, at},
                context);
}

void parse_slice(Node& node, const NodeSource& source) {
    node.first = source.json.integer("first", 0, source.channels[0] - 1);
    node.out_channels = source.json.integer("count", 1, source.channels[0] - node.first);
}

void run_slice(const Node& node, const Operands& o, const Context& context) {
    if (o.out_f32() == o.in_f32(0) + node.first * o.out.plane()) return;  // it lies there
    copy_channels(
        {o.in_f32(0), o.out_f32(), 1, o.out.plane(), o.out.channels, o.in[0].channels, node.first, o.out.channels, 0},
        context);
}

using Act = ActivationKind;
using Bin = BinaryKind;
using Pool = PoolKind;

// name, kernel, inputs from, to, read, in place, attributes, parse, out_size, prepare, run, scratch
constexpr OpRow kRows[] = {
    {"conv", "conv3d", 1, 1, 1, false, " weight bias stride padding dilation groups ", parse_conv, size_of_conv,
     nullptr, run_conv, nullptr, blocked_conv},
    {"conv_transpose", "conv_transpose3d", 1, 1, 1, false,
     " weight bias stride padding dilation groups output_padding ", parse_conv_transpose, size_of_conv_transpose,
     nullptr, run_conv_transpose, nullptr, blocked_conv_transpose},
    {"group_norm", "group_norm", 1, 1, 1, true, " groups eps weight bias ", parse_group_norm, size_of_first, nullptr,
     run_group_norm, scratch_of_group_norm, blocked_norm},
    {"avg_pool", "pool3d", 1, 1, 1, false, " kernel stride padding ceil_mode count_include_pad ",
     parse_pool<Pool::kMean>, size_of_pool, nullptr, run_pool<Pool::kMean>, nullptr, blocked_map},
    {"max_pool", "pool3d", 1, 1, 1, false, " kernel stride padding dilation ceil_mode ", parse_pool<Pool::kMax>,
     size_of_pool, nullptr, run_pool<Pool::kMax>, nullptr, blocked_map},
    {"adaptive_avg_pool", "pool3d", 1, 1, 1, false, " size ", parse_adaptive_pool, size_of_adaptive_pool, nullptr,
     run_adaptive_pool<Pool::kMean>, nullptr, blocked_map},
    {"adaptive_max_pool", "pool3d", 1, 1, 1, false, " size ", parse_adaptive_pool, size_of_adaptive_pool, nullptr,
     run_adaptive_pool<Pool::kMax>, nullptr, blocked_map},
    {"resize", "resize3d", 1, 2, 1, false, " align_corners factor ", parse_resize_linear, size_of_resize,
     prepare_resize, run_resize, nullptr, blocked_map},
    {"resize_nearest", "resize3d", 1, 2, 1, false, " exact factor ", parse_resize_nearest, size_of_resize,
     prepare_resize, run_resize, nullptr, blocked_map},
    {"pad", "pad3d", 1, 1, 1, false, " before after value ", parse_pad, size_of_pad, nullptr, run_pad},
    {"prelu", "activation", 1, 1, 1, true, " slope ", parse_prelu, size_of_first, nullptr, run_activation<Act::kLeaky>,
     nullptr, blocked_map},
    {"leaky_relu", "activation", 1, 1, 1, true, " slope ", parse_leaky_relu, size_of_first, nullptr,
     run_activation<Act::kLeaky>, nullptr, blocked_map},
    {"relu", "activation", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_activation<Act::kRelu>, nullptr,
     blocked_map},
    {"sigmoid", "activation", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_activation<Act::kSigmoid>,
     nullptr, blocked_map},
    {"affine", "activation", 1, 1, 1, true, " scale shift ", parse_affine, size_of_first, nullptr,
     run_activation<Act::kAffine>, nullptr, blocked_map},
    {"softmax", "softmax", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_softmax<false>},
    {"log_softmax", "softmax", 1, 1, 1, true, "", parse_plain, size_of_first, nullptr, run_softmax<true>},
    {"add", "binary", 1, 2, 2, true, " scalar ", parse_binary<Bin::kAdd>, size_of_binary, nullptr,
     run_binary<Bin::kAdd>, nullptr, blocked_map},
    {"sub", "binary", 1, 2, 2, true, " scalar reversed ", parse_binary<Bin::kSub>, size_of_binary, nullptr,
     run_binary<Bin::kSub>, nullptr, blocked_map},
    {"mul", "binary", 1, 2, 2, true, " scalar ", parse_binary<Bin::kMul>, size_of_binary, nullptr,
     run_binary<Bin::kMul>, nullptr, blocked_map},
    {"concat", "copy_channels", 1, kAnyNumber, kAnyNumber, false, "", parse_concat, size_of_binary, nullptr, run_concat,
     nullptr, blocked_copy},
    {"slice", "copy_channels", 1, 1, 1, false, " first count ", parse_slice, size_of_first, nullptr, run_slice, nullptr,
     blocked_copy},
};

}  // namespace

const OpRow* find_op(const std::string& name) {
    const auto row = std::find_if(std::begin(kRows), std::end(kRows), [&](const OpRow& r) { return r.name == name; });
    return row == std::end(kRows) ? nullptr : row;
}

}  // namespace covfast
