#include "engine/window_ops.h"

#include <algorithm>

#include "core/error.h"
#include "engine/attributes.h"
#include "kernels/conv3d.h"
#include "kernels/conv_transpose3d.h"

namespace covfast {
namespace {

// Kernel, bias and window of a convolution, transposed or not, whose out_channels are known.
void read_window(Node& node, const NodeSource& source, const TensorView& weight) {
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

// The tensor "weight" with the network's number of axes.
TensorView read_weight(const NodeSource& source) {
    TensorView weight = source.package.tensor(source.json.text("weight"));
    const size_t axes = static_cast<size_t>(source.rank) + 2;
    COVFAST_REQUIRE(weight.shape.size() == axes, FORMAT, "weight: got ", weight.shape.size(), " axes, expected ", axes);
    return weight;
}

}  // namespace

// ---- conv, conv_transpose ----
void parse_conv(Node& node, const NodeSource& source) {
    const TensorView weight = read_weight(source);
    node.groups = source.json.integer("groups", 1, source.channels[0]);
    node.out_channels = weight.shape[0];
    COVFAST_REQUIRE(source.channels[0] % node.groups == 0 && node.out_channels % node.groups == 0 &&
                        weight.shape[1] == source.channels[0] / node.groups,
                    FORMAT, "weight: got ", node.out_channels, " x ", weight.shape[1], " channels in ", node.groups,
                    " groups, expected those of an input with ", source.channels[0]);
    read_window(node, source, weight);
}

void parse_conv_transpose(Node& node, const NodeSource& source) {
    const TensorView weight = read_weight(source);
    node.groups = source.json.integer("groups", 1, source.channels[0]);
    COVFAST_REQUIRE(source.channels[0] % node.groups == 0 && weight.shape[0] == source.channels[0], FORMAT,
                    "weight: got ", weight.shape[0], " x ", weight.shape[1], " channels in ", node.groups,
                    " groups, expected those of an input with ", source.channels[0]);
    node.out_channels = weight.shape[1] * node.groups;
    read_window(node, source, weight);
    node.after = read_axes(source, "output_padding", 0, 0);
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(node.after[a] < std::max(node.stride[a], node.dilation[a]), FORMAT, "output_padding: got ",
                        node.after[a], ", expected less than stride or dilation");
}

Axes size_of_conv(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = conv_out_size(in[0].size[a], node.kernel[a], node.stride[a], node.dilation[a], node.padding[a]);
    return size;
}

Axes size_of_conv_transpose(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = node.after[a] + conv_transpose_out_size(in[0].size[a], node.kernel[a], node.stride[a],
                                                          node.dilation[a], node.padding[a]);
    return size;
}

namespace {

void set_epilogue(Conv3dParams& p, const Epilogue& epilogue) { p.epilogue = epilogue; }
void set_epilogue(ConvTranspose3dParams& p, const Epilogue& epilogue) { p.bias = epilogue.bias; }

// Params: Conv3dParams or ConvTranspose3dParams, which have the same fields but for what follows the sums.
template <class Params, void (*kOp)(const Params&, const Context&)>
void run_either(const Node& node, const Operands& o, const Context& context) {
    Params p{};
    p.x = o.in_f32(0), p.weight = node.a, p.y = o.out_f32();
    set_epilogue(p, o.epilogue);
    p.n = 1, p.in_channels = o.in[0].channels, p.out_channels = o.out.channels, p.groups = node.groups;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.kernel[a] = node.kernel[a];
        p.stride[a] = node.stride[a], p.dilation[a] = node.dilation[a], p.padding[a] = node.padding[a];
    }
    kOp(p, context);
}

}  // namespace

void run_conv(const Node& node, const Operands& o, const Context& context) {
    run_either<Conv3dParams, conv3d>(node, o, context);
}

void run_conv_transpose(const Node& node, const Operands& o, const Context& context) {
    run_either<ConvTranspose3dParams, conv_transpose3d>(node, o, context);
}

// ---- pooling ----
template <PoolKind kKind>
void parse_pool(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.kernel = read_axes(source, "kernel", 1, 1);
    node.stride = read_axes(source, "stride", 1, 1);
    node.padding = read_axes(source, "padding", 0, 0);
    node.ceil_mode = source.json.boolean("ceil_mode");
    if (kKind == PoolKind::kMean) node.count_include_pad = source.json.boolean("count_include_pad");
    if (kKind == PoolKind::kMax) node.dilation = read_axes(source, "dilation", 1, 1);
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(node.padding[a] <= (node.dilation[a] * (node.kernel[a] - 1) + 1) / 2, FORMAT, "padding: got ",
                        node.padding[a], ", expected at most half the kernel");
}

Axes size_of_pool(const Node& node, const std::vector<Shape>& in) {
    Axes size;
    for (int a = 0; a < 3; ++a)
        size[a] = pool_out_size(in[0].size[a], node.kernel[a], node.stride[a], node.dilation[a], node.padding[a],
                                node.ceil_mode);
    return size;
}

template <PoolKind kKind>
void run_pool(const Node& node, const Operands& o, const Context& context) {
    Pool3dParams p{};
    p.x = o.in_f32(0), p.y = o.out_f32(), p.planes = o.out.channels, p.kind = kKind;
    p.ceil_mode = node.ceil_mode, p.count_include_pad = node.count_include_pad;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.dilation[a] = node.dilation[a];
        p.kernel[a] = node.kernel[a], p.stride[a] = node.stride[a], p.padding[a] = node.padding[a];
    }
    pool3d(p, context);
}

void parse_adaptive_pool(Node& node, const NodeSource& source) {
    node.out_channels = source.channels[0];
    node.pooled = read_axes(source, "size", 1, 1);
}

Axes size_of_adaptive_pool(const Node& node, const std::vector<Shape>& in) {
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(in[0].size[a] % node.pooled[a] == 0, SHAPE, "size: got ", in[0].size[a],
                        " before an adaptive pooling, expected a multiple of its output, ", node.pooled[a]);
    return node.pooled;
}

template <PoolKind kKind>
void run_adaptive_pool(const Node&, const Operands& o, const Context& context) {
    Pool3dParams p{};
    p.x = o.in_f32(0), p.y = o.out_f32(), p.planes = o.out.channels, p.kind = kKind;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.dilation[a] = 1;
        p.kernel[a] = p.stride[a] = p.in_size[a] / p.out_size[a];
    }
    pool3d(p, context);
}

template void parse_pool<PoolKind::kMean>(Node&, const NodeSource&);
template void parse_pool<PoolKind::kMax>(Node&, const NodeSource&);
template void run_pool<PoolKind::kMean>(const Node&, const Operands&, const Context&);
template void run_pool<PoolKind::kMax>(const Node&, const Operands&, const Context&);
template void run_adaptive_pool<PoolKind::kMean>(const Node&, const Operands&, const Context&);
template void run_adaptive_pool<PoolKind::kMax>(const Node&, const Operands&, const Context&);

}  // namespace covfast
