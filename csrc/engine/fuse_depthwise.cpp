#include "engine/fuse_depthwise.h"

#include <algorithm>
#include <cmath>

#include "engine/fuse.h"
#include "engine/window_ops.h"
#include "kernels/pointwise_depthwise.h"

namespace covfast {
namespace {

void run_pair(const Node& node, const Operands& o, const Context& context) {
    PointwiseDepthwiseParams p{};
    p.x = o.in_f32(0), p.mix_weight = node.mix_weight, p.weight = node.a, p.y = o.out_f32(), p.epilogue = o.epilogue;
    p.in_channels = o.in[0].channels, p.channels = o.out.channels;
    for (int a = 0; a < 2; ++a) p.in_size[a] = o.in[0].size[a + 1], p.out_size[a] = o.out.size[a + 1];
    p.kernel = node.kernel[1], p.stride = node.stride[1], p.padding = node.padding[1];
    pointwise_depthwise(p, context);
}

constexpr OpRow kPair = {
    "pointwise_depthwise", "pointwise_depthwise", 1, 1, 1, false, "", nullptr, size_of_conv, nullptr, run_pair};

bool is_pointwise(const Graph& graph, const Node& node) {
    const Axes one{1, 1, 1}, none{0, 0, 0};
    const int64_t channels = graph.values[node.inputs[0]].channels;
    // A bias would have to be left out where the depthwise convolution is padded, and so would infinite products.
    return is(node, "conv") && node.groups == 1 && channels <= kMixedChannels && node.kernel == one &&
           node.stride == one && node.padding == none && node.b == nullptr && node.fused.is_plain() &&
           !node.fused.has_norm &&
           std::all_of(node.a, node.a + channels * node.out_channels, [](float w) { return std::isfinite(w); });
}

// With a stride of 1 the rows that neighbouring tiles mix again cost as much as memory would.
bool is_depthwise(const Graph& graph, const Node& node) {
    const auto is_square = [](const Axes& axes) { return axes[1] == axes[2]; };
    return graph.rank == 2 && is(node, "conv") && node.groups == node.out_channels &&
           node.groups == graph.values[node.inputs[0]].channels && node.kernel[1] <= kDepthwiseKernel &&
           node.stride[1] == 2 && node.padding[1] < node.kernel[1] && is_square(node.kernel) &&
           is_square(node.stride) && is_square(node.padding) && node.dilation == Axes{1, 1, 1} && !node.fused.has_norm;
}

bool is_fused_operand(const Fused& f, int value) { return f.before == value || f.after == value || f.other == value; }

// Whether the node uses the value's numbers, not its size alone.
bool reads(const Node* reader, int value) {
    if (reader == nullptr) return true;
    const auto end =
        reader->inputs.begin() + static_cast<int64_t>(std::min(reader->inputs.size(), reader->op->read_inputs));
    return std::find(reader->inputs.begin(), end, value) != end || is_fused_operand(reader->fused, value);
}

}  // namespace

void fuse_depthwise(Graph& graph) {
    for (size_t i = 0; i < graph.nodes.size();) {
        const Node source = graph.nodes[i++];
        if (!is_pointwise(graph, source)) continue;
        const auto is_second = [&](const Node& node) {
            return is_depthwise(graph, node) && node.inputs[0] == source.made &&
                   !is_fused_operand(node.fused, source.made);
        };
        const auto second = std::find_if(graph.nodes.begin(), graph.nodes.end(), is_second);
        const std::vector<const Node*> readers = readers_of(graph, source.made);
        const auto of_numbers = std::count_if(readers.begin(), readers.end(),
                                              [&](const Node* reader) { return reads(reader, source.made); });
        if (second == graph.nodes.end() || of_numbers != 1) continue;
        second->op = &kPair, second->mix_weight = source.a;
        for (Node& node : graph.nodes)  // whoever asks for its size finds the same one before it
            std::replace(node.inputs.begin(), node.inputs.end(), source.made, source.inputs[0]);
        graph.nodes.erase(graph.nodes.begin() + static_cast<int64_t>(--i));
    }
}

}  // namespace covfast
