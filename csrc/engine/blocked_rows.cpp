#include "engine/blocked_rows.h"

#include <algorithm>
#include <string_view>

#include "engine/window_ops.h"
#include "kernels/conv_blocked.h"
#include "kernels/conv_transpose_blocked.h"
#include "kernels/conv_winograd.h"
#include "kernels/copy_channels.h"
#include "kernels/elementwise_blocked.h"
#include "kernels/norm_blocked.h"
#include "kernels/reorder.h"

namespace covfast {
namespace {

Axes size_of_first(const Node&, const std::vector<Shape>& in) { return in[0].size; }

LaneMap map_of(const std::vector<int32_t>& lanes) { return {lanes.data(), static_cast<int64_t>(lanes.size())}; }

// ---- conv, with the instance norm behind it ----
// Of what a norm has yet to read: a u8 value's sums lie apart, as bf16.
Element sum_element(const Operands& o) { return o.out.element == Element::kU8 ? Element::kBf16 : o.out.element; }

ConvBlockedParams conv_params(const Node& node, const Operands& o) {
    ConvBlockedParams p{};
    p.x = o.x[0], p.weight = o.weight, p.scale = o.scale, p.y = o.y;
    p.x_is_planar = o.in[0].lanes == 0;
    p.in_channels = o.in[0].rows(), p.in_blocks = blocks_of(p.in_channels), p.out_blocks = o.out.lanes / kLanes;
    for (int a = 0; a < 3; ++a) {
        p.in_size[a] = o.in[0].size[a], p.out_size[a] = o.out.size[a], p.kernel[a] = node.kernel[a];
        p.stride[a] = node.stride[a], p.dilation[a] = node.dilation[a], p.padding[a] = node.padding[a];
    }
    p.x_element = o.in[0].element, p.y_element = sum_element(o);
    p.epilogue = o.epilogue;
    if (!node.fused.has_norm) return p;
    p.epilogue = {};
    p.epilogue.bias = o.epilogue.bias;
    return p;
}

// What a convolution needs while it runs, one behind the other.
struct ConvScratch {
    size_t stats, product, sums, norm;  // bytes
    int64_t parts;
};

ConvScratch scratch_sizes(const Node& node, const Operands& o, const Context& context) {
    const ConvBlockedParams p = conv_params(node, o);
    const auto aligned = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    ConvScratch s{};
    s.product = o.is_winograd ? aligned(conv_winograd_workspace(p, context.threads)) : 0;
    if (!node.fused.has_norm) return s;
    s.parts = o.is_winograd ? conv_winograd_parts(p) : conv_blocked_parts(p);
    s.stats = aligned(sizeof(float) * 2 * s.parts * o.out.lanes);
    const bool is_apart = o.out.element == Element::kU8;
    s.sums = is_apart ? aligned(element_bytes(Element::kBf16) * o.out.lanes * o.out.plane()) : 0;
    s.norm = norm_blocked_workspace(p.out_blocks, o.out.plane(), true);
    return s;
}

size_t scratch_of_conv(const Node& node, const Operands& o, const Context& context) {
    const ConvScratch s = scratch_sizes(node, o, context);
    return s.stats + s.product + s.sums + s.norm;
}

NormBlockedParams norm_params(const Node& node, const Operands& o, double eps) {
    NormBlockedParams p{};
    p.x = o.y, p.y = o.y, p.epilogue = o.epilogue, p.eps = eps;
    p.blocks = o.out.lanes / kLanes, p.plane = o.out.plane(), p.y_scale = node.u8_scale;
    p.x_element = p.residual_element = sum_element(o), p.y_element = o.out.element;
    return p;
}

void run_conv(const Node& node, const Operands& o, const Context& context) {
    const ConvScratch s = scratch_sizes(node, o, context);
    std::byte* scratch = static_cast<std::byte*>(o.scratch);
    ConvBlockedParams p = conv_params(node, o);
    p.stats = node.fused.has_norm ? reinterpret_cast<float*>(scratch) : nullptr;
    p.workspace = scratch + s.stats;
    if (s.sums > 0) p.y = scratch + s.stats + s.product;
    o.is_winograd ? conv_winograd(p, context) : conv_blocked(p, context);
    if (!node.fused.has_norm) return;
    NormBlockedParams norm = norm_params(node, o, node.fused.eps);
    norm.x = p.y, norm.stats = p.stats, norm.parts = s.parts;
    norm.workspace = scratch + s.stats + s.product + s.sums;
    norm.weight = node.norm_weight.data();
    norm.bias = node.norm_bias.empty() ? nullptr : node.norm_bias.data();
    norm_blocked(norm, context);
}

constexpr OpRow kConv = {"conv",   "conv_blocked", 1, 1, 1, false, "", nullptr, size_of_conv, nullptr,
                         run_conv, scratch_of_conv};

// ---- conv_transpose ----
void run_conv_transpose(const Node& node, const Operands& o, const Context& context) {
    ConvTransposeBlockedParams p{};
    p.x = o.x[0], p.weight = o.weight, p.scale = o.scale, p.y = o.y, p.epilogue = o.epilogue;
    p.in_blocks = o.in[0].lanes / kLanes, p.out_blocks = o.out.lanes / kLanes;
    p.x_element = o.in[0].element, p.y_element = o.out.element;
    for (int a = 0; a < 3; ++a) p.in_size[a] = o.in[0].size[a], p.stride[a] = node.stride[a];
    conv_transpose_blocked(p, context);
}

constexpr OpRow kConvTranspose = {
    "conv_transpose", "conv_transpose_blocked", 1, 1, 1, false, "", nullptr, size_of_conv_transpose,
    nullptr,          run_conv_transpose};

// ---- instance norm of what no convolution made ----
size_t scratch_of_norm(const Node&, const Operands& o, const Context&) {
    return norm_blocked_workspace(o.out.lanes / kLanes, o.out.plane(), false);
}

void run_norm(const Node& node, const Operands& o, const Context& context) {
    NormBlockedParams p = norm_params(node, o, node.eps);
    p.x = o.x[0], p.workspace = o.scratch;
    p.weight = node.scale.empty() ? nullptr : node.scale.data(), p.bias = o.epilogue.bias;
    norm_blocked(p, context);
}

constexpr OpRow kNorm = {"group_norm", "norm_blocked", 1, 1, 1, true, "", nullptr, size_of_first, nullptr,
                         run_norm,     scratch_of_norm};

// ---- concat, slice: copies of what could not lie in place ----
void run_copy(const Node& node, const Operands& o, const Context& context) {
    const auto floats = [&](int64_t lanes) { return lanes * o.out.plane() * element_bytes(o.out.element) / 4; };
    const auto copy = [&](const float* from, float* to, int64_t count) {
        if (from != to) copy_channels({from, to, 1, count, 1, 1, 0, 1, 0}, context);
    };
    if (is(node, "slice")) {
        const auto first = std::find(node.in_lanes.begin(), node.in_lanes.end(), static_cast<int32_t>(node.first));
        return copy(o.in_f32(0) + floats(first - node.in_lanes.begin()), o.out_f32(), floats(o.out.lanes));
    }
    float* to = o.out_f32();
    for (size_t i = 0; i < o.x.size(); to += floats(o.in[i].lanes), ++i) copy(o.in_f32(i), to, floats(o.in[i].lanes));
}

Axes size_of_concat(const Node& node, const std::vector<Shape>& in) { return find_op("concat")->out_size(node, in); }

constexpr size_t kAnyNumber = 4096;
constexpr OpRow kConcat = {"concat", "copy_channels", 1,       kAnyNumber, kAnyNumber, false, "",
                           nullptr,  size_of_concat,  nullptr, run_copy};
constexpr OpRow kSlice = {"slice", "copy_channels", 1, 1, 1, false, "", nullptr, size_of_first, nullptr, run_copy};

// ---- reorder ----
void run_reorder(const Node& node, const Operands& o, const Context& context) {
    const bool to_blocked = o.out.lanes != 0;
    ReorderParams p{};
    p.to_blocked = to_blocked, p.channels = o.out.channels, p.plane = o.out.plane(), p.scale = 1;
    p.map = map_of(to_blocked ? node.out_lanes : node.in_lanes);
    p.element = to_blocked ? o.out.element : o.in[0].element;
    p.planar = static_cast<float*>(to_blocked ? const_cast<void*>(o.x[0]) : o.y);
    p.blocked = to_blocked ? o.y : const_cast<void*>(o.x[0]);
    reorder(p, context);
}

constexpr OpRow kReorder = {"reorder", "reorder", 1, 1, 1, false, "", nullptr, size_of_first, nullptr, run_reorder};

// ---- quantise ----
void run_quantise(const Node& node, const Operands& o, const Context& context) {
    ActivationBlockedParams p{};
    p.x = o.x[0], p.y = o.y, p.blocks = o.out.lanes / kLanes, p.plane = o.out.plane();
    p.kind = ActivationKind::kAffine, p.a_value = 1, p.x_scale = 1, p.y_scale = node.u8_scale;
    p.x_element = o.in[0].element, p.y_element = o.out.element;
    activation_blocked(p, context);
}

constexpr OpRow kQuantise = {"quantise", "activation_blocked", 1,       1,           1, false, "",
                             nullptr,    size_of_first,        nullptr, run_quantise};

}  // namespace

const OpRow* blocked_conv(const Node& node) { return node.groups == 1 ? &kConv : nullptr; }
const OpRow* blocked_conv_transpose(const Node& node) {
    const Axes none{0, 0, 0};
    const bool is_apart = node.kernel == node.stride && node.padding == none && node.after == none;
    const bool is_dilated = node.dilation != Axes{1, 1, 1} && node.kernel != Axes{1, 1, 1};
    return node.groups == 1 && is_apart && !is_dilated ? &kConvTranspose : nullptr;
}
const OpRow* blocked_norm(const Node& node) { return node.groups == node.out_channels ? &kNorm : nullptr; }
const OpRow* blocked_copy(const Node& node) { return is(node, "concat") ? &kConcat : &kSlice; }
const OpRow& reorder_row() { return kReorder; }
const OpRow& quantise_row() { return kQuantise; }

// ---- weights ----
bool has_packed_weights(const Node& node) { return node.op == &kConv || node.op == &kConvTranspose; }

bool may_use_winograd(const Node& node, const NetworkOptions& options) {
    const Axes planes{1, 3, 3}, cubes{3, 3, 3}, ones{1, 1, 1};
    return node.op == &kConv && !options.exact && options.element == Element::kF32 &&
           (node.kernel == planes || node.kernel == cubes) && node.stride == ones && node.dilation == ones;
}

bool winograd_pays(const Node& node, const Operands& o) {
    const ConvBlockedParams p = conv_params(node, o);
    return conv_winograd_fits(p) && conv_winograd_pays(p);
}

void pack_weights(const Graph& graph, const Node& node, bool is_winograd, Packed& packed) {
    const Value& in = graph.values[node.inputs[0]];
    const bool is_transposed = node.op == &kConvTranspose;
    ConvPack pack{};
    pack.weight = node.a, pack.in_channels = in.channels;
    pack.taps = node.kernel[0] * node.kernel[1] * node.kernel[2];
    pack.in = map_of(node.in_lanes), pack.out = map_of(node.out_lanes);
    pack.element = in.is_blocked ? in.element : Element::kF32;
    pack.x_is_planar = !in.is_blocked;
    std::vector<float> offset;
    if (pack.element == Element::kU8) {
        packed.scale.assign(node.out_lanes.size(), 0.0f), offset.assign(node.out_lanes.size(), 0.0f);
        pack.in_scale = in.lane_scale.data(), pack.out_scale = packed.scale.data(), pack.offset = offset.data();
    }
    const size_t bytes = is_transposed ? conv_transpose_blocked_pack_bytes(pack)
                         : is_winograd ? conv_winograd_pack_bytes(pack)
                                       : conv_blocked_pack_bytes(pack);
    const Slot<std::byte> all = packed.arena.plan<std::byte>(bytes);
    packed.arena.commit();
    std::byte* to = packed.arena.get(all);
    if (is_transposed) {
        conv_transpose_blocked_pack(pack, to);
    } else if (is_winograd) {
        conv_winograd_pack(pack, to);
    } else {
        conv_blocked_pack(pack, to);
    }
    packed.weight = to;
    for (size_t lane = 0; lane < offset.size(); ++lane)
        packed.bias.push_back((node.bias.empty() ? 0.0f : node.bias[lane]) - offset[lane] * packed.scale[lane]);
}

}  // namespace covfast
