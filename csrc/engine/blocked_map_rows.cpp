// Blocked rows of the ops that keep channels apart: pooling, resizes, activations, and operations on two values.
#include <algorithm>
#include <string_view>

#include "engine/blocked_rows.h"
#include "engine/window_ops.h"
#include "kernels/elementwise_blocked.h"
#include "kernels/pool_blocked.h"
#include "kernels/resize_blocked.h"

namespace covfast {
namespace {

// The planar row's sizes and tables serve both layouts.
Axes planar_size(const Node& node, const std::vector<Shape>& in) { return find_op(node.op->name)->out_size(node, in); }
void planar_tables(const Node& node, Operands& o) { find_op(node.op->name)->prepare(node, o); }

// ---- pooling ----
PoolBlockedParams pool_params(const Operands& o, PoolKind kind) {
    PoolBlockedParams p{};
    p.x = o.x[0], p.y = o.y, p.blocks = o.out.lanes / kLanes, p.kind = kind, p.element = o.out.element;
    for (int a = 0; a < 3; ++a) p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.dilation[a] = 1;
    return p;
}

template <PoolKind kKind>
void run_pool(const Node& node, const Operands& o, const Context& context) {
    PoolBlockedParams p = pool_params(o, kKind);
    p.ceil_mode = node.ceil_mode, p.count_include_pad = node.count_include_pad;
    for (int a = 0; a < 3; ++a) {
        p.kernel[a] = node.kernel[a], p.stride[a] = node.stride[a];
        p.padding[a] = node.padding[a], p.dilation[a] = node.dilation[a];
    }
    pool_blocked(p, context);
}

template <PoolKind kKind>
void run_adaptive_pool(const Node&, const Operands& o, const Context& context) {
    PoolBlockedParams p = pool_params(o, kKind);
    for (int a = 0; a < 3; ++a) p.kernel[a] = p.stride[a] = p.in_size[a] / p.out_size[a];
    pool_blocked(p, context);
}

// ---- resizes ----
void run_resize(const Node&, const Operands& o, const Context& context) {
    ResizeBlockedParams p{};
    p.x = o.x[0], p.y = o.y, p.blocks = o.out.lanes / kLanes, p.element = o.out.element;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a];
        p.left[a] = o.axes[a].left.data();
        p.fraction[a] = o.axes[a].fraction.empty() ? nullptr : o.axes[a].fraction.data();
    }
    resize_blocked(p, context);
}

// ---- activations ----
template <ActivationKind kKind>
void run_activation(const Node& node, const Operands& o, const Context& context) {
    ActivationBlockedParams p{};
    p.x = o.x[0], p.y = o.y, p.blocks = o.out.lanes / kLanes, p.plane = o.out.plane(), p.kind = kKind;
    p.a = node.scale.empty() ? nullptr : node.scale.data();
    p.b = node.bias.empty() ? nullptr : node.bias.data();
    p.a_value = node.a_value, p.b_value = node.b_value, p.x_scale = p.y_scale = 1;
    p.x_element = p.y_element = o.out.element;
    activation_blocked(p, context);
}

// ---- add, sub, mul ----
template <BinaryKind kKind>
void run_binary(const Node& node, const Operands& o, const Context& context) {
    if (o.x.size() == 1) return run_activation<ActivationKind::kAffine>(node, o, context);
    BinaryBlockedParams p{};
    p.a = o.x[0], p.b = o.x[1], p.y = o.y, p.blocks = o.out.lanes / kLanes, p.plane = o.out.plane();
    p.a_is_single = o.in[0].channels < o.out.channels, p.b_is_single = o.in[1].channels < o.out.channels;
    p.kind = kKind, p.element = o.out.element;
    binary_blocked(p, context);
}

using Act = ActivationKind;
using Bin = BinaryKind;
using Pool = PoolKind;

constexpr OpRow row(const char* name, const char* kernel, size_t reads, bool in_place,
                    void (*run)(const Node&, const Operands&, const Context&),
                    void (*prepare)(const Node&, Operands&) = nullptr) {
    return {name, kernel, 1, 2, reads, in_place, "", nullptr, planar_size, prepare, run};
}

constexpr OpRow kRows[] = {
    row("avg_pool", "pool_blocked", 1, false, run_pool<Pool::kMean>),
    row("max_pool", "pool_blocked", 1, false, run_pool<Pool::kMax>),
    row("adaptive_avg_pool", "pool_blocked", 1, false, run_adaptive_pool<Pool::kMean>),
    row("adaptive_max_pool", "pool_blocked", 1, false, run_adaptive_pool<Pool::kMax>),
    row("resize", "resize_blocked", 1, false, run_resize, planar_tables),
    row("resize_nearest", "resize_blocked", 1, false, run_resize, planar_tables),
    row("prelu", "activation_blocked", 1, true, run_activation<Act::kLeaky>),
    row("leaky_relu", "activation_blocked", 1, true, run_activation<Act::kLeaky>),
    row("relu", "activation_blocked", 1, true, run_activation<Act::kRelu>),
    row("sigmoid", "activation_blocked", 1, true, run_activation<Act::kSigmoid>),
    row("affine", "activation_blocked", 1, true, run_activation<Act::kAffine>),
    row("add", "binary_blocked", 2, true, run_binary<Bin::kAdd>),
    row("sub", "binary_blocked", 2, true, run_binary<Bin::kSub>),
    row("mul", "binary_blocked", 2, true, run_binary<Bin::kMul>),
};

}  // namespace

const OpRow* blocked_map(const Node& node) {
    // Windows of a maximum that may lie beside the input as a whole give -infinity, which no lane without a channel
    // may.
    if (node.dilation != Axes{1, 1, 1} && node.padding != Axes{0, 0, 0}) return nullptr;
    const auto found = std::find_if(std::begin(kRows), std::end(kRows),
                                    [&](const OpRow& r) { return std::string_view(r.name) == node.op->name; });
    return found == std::end(kRows) ? nullptr : found;
}

}  // namespace covfast
