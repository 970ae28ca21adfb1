#include "engine/fuse.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/blocked_rows.h"
#include "engine/fuse_depthwise.h"
#include "engine/fuse_pyramid.h"

namespace covfast {
namespace {

int index_of_producer(const Graph& graph, int value) {
    for (size_t i = 0; i < graph.nodes.size(); ++i)
        if (graph.nodes[i].made == value || graph.nodes[i].total == value) return static_cast<int>(i);
    return -1;
}

bool has_epilogue(const Node& node, bool is_blocked) {
    const bool is_blocked_norm = is_blocked && is(node, "group_norm") && node.groups == node.out_channels;
    return is(node, "conv") || is(node, "spatial_pyramid") || is_blocked_norm;
}

// The node's result becomes that of `last`, a node that alone reads it and is now part of it.
void take_over(Graph& graph, size_t at, size_t last) {
    graph.nodes[at].made = graph.nodes[last].made;
    graph.nodes[at].output = graph.nodes[last].output;
}

class Fuser {
public:
    Fuser(Graph& graph, bool is_blocked) : graph_(graph), is_blocked_(is_blocked) {}

    void run() {
        for (size_t i = 0; i < graph_.nodes.size();) {
            const bool is_gone = (is_blocked_ && join_norm(i)) || join_activation(i) || join_sum(i);
            if (!is_gone) ++i;
        }
    }

private:
    // The index of the node that makes `value`, if node `i` alone reads it; else -1.
    int sole_source(size_t i, int value) const {
        const int source = index_of_producer(graph_, value);
        if (source < 0 || source >= static_cast<int>(i) || graph_.nodes[source].made != value) return -1;
        return readers_of(graph_, value).size() == 1 ? source : -1;
    }

    void erase(size_t i) { graph_.nodes.erase(graph_.nodes.begin() + static_cast<int64_t>(i)); }

    // conv -> instance norm
    bool join_norm(size_t i) {
        const Node& norm = graph_.nodes[i];
        if (!is(norm, "group_norm") || norm.groups != norm.out_channels) return false;
        const int at = sole_source(i, norm.inputs[0]);
        if (at < 0) return false;
        Node& conv = graph_.nodes[at];
        if (!is(conv, "conv") || conv.groups != 1 || !conv.fused.is_plain() || conv.fused.has_norm) return false;
        conv.fused.has_norm = true, conv.fused.eps = norm.eps;
        conv.fused.norm_weight = norm.a, conv.fused.norm_bias = norm.b;
        take_over(graph_, at, i);
        erase(i);
        return true;
    }

    bool join_activation(size_t i) {
        const Node& node = graph_.nodes[i];
        const bool is_leaky = is(node, "relu") || is(node, "leaky_relu") || is(node, "prelu");
        if (!is_leaky && !is(node, "sigmoid")) return false;
        const int at = sole_source(i, node.inputs[0]);
        if (at < 0) return false;
        Node& source = graph_.nodes[at];
        Fused& fused = source.fused;
        const bool is_transpose =
            is_leaky && is_blocked_ && is(source, "conv_transpose") && blocked_conv_transpose(source) != nullptr;
        if (!has_epilogue(source, is_blocked_) && !is_transpose) return false;
        if (fused.kind != EpilogueKind::kNone || fused.after >= 0 || fused.other >= 0) return false;
        fused.kind = is_leaky ? EpilogueKind::kLeaky : EpilogueKind::kSigmoid;
        if (is_leaky) fused.slope = node.a, fused.slope_value = is(node, "leaky_relu") ? node.a_value : 0.0f;
        take_over(graph_, at, i);
        erase(i);
        return true;
    }

    // A sum of two values, one of which is made by a node with an epilogue: best one that nothing else reads, whose
    // own result need not be kept; else the sum is made beside it.
    bool join_sum(size_t i) {
        const Node& sum = graph_.nodes[i];
        if (!is(sum, "add") || sum.inputs.size() != 2 || sum.inputs[0] == sum.inputs[1]) return false;
        for (const int value : sum.inputs)
            if (graph_.values[value].channels != sum.out_channels) return false;
        std::array<std::pair<int, int>, 2> sides = {std::pair{sum.inputs[0], sum.inputs[1]},
                                                    std::pair{sum.inputs[1], sum.inputs[0]}};
        if (index_of_producer(graph_, sides[0].first) < index_of_producer(graph_, sides[1].first))
            std::swap(sides[0], sides[1]);
        for (const auto& [made, other] : sides)
            if (replace_by_sum(i, made, other)) return true;
        for (const auto& [made, other] : sides)
            if (add_beside(i, made, other)) return true;
        return false;
    }

    bool replace_by_sum(size_t i, int made, int other) {
        const int at = sole_source(i, made);
        if (at < 0 || !has_epilogue(graph_.nodes[at], is_blocked_)) return false;
        Node& source = graph_.nodes[at];
        Fused& fused = source.fused;
        if (fused.after >= 0 || fused.other >= 0) return false;
        const bool is_before = fused.kind == EpilogueKind::kNone && fused.before < 0;
        (is_before ? fused.before : fused.after) = other;
        take_over(graph_, at, i);
        erase(i);
        // It must run behind the node that makes the other value, and may: nothing reads it before.
        const auto first = graph_.nodes.begin() + at;
        std::rotate(first, first + 1, graph_.nodes.begin() + static_cast<int64_t>(i));
        return true;
    }

    bool add_beside(size_t i, int made, int other) {
        const int at = index_of_producer(graph_, made);
        if (at < 0 || graph_.nodes[at].made != made || !has_epilogue(graph_.nodes[at], is_blocked_)) return false;
        Node& source = graph_.nodes[at];
        if (source.fused.other >= 0 || source.fused.has_norm || is(source, "group_norm")) return false;
        if (index_of_producer(graph_, other) >= at) return false;
        source.fused.other = other, source.total = graph_.nodes[i].made;
        erase(i);
        return true;
    }

    Graph& graph_;
    bool is_blocked_;
};

}  // namespace

std::vector<const Node*> readers_of(const Graph& graph, int value) {
    std::vector<const Node*> readers;
    if (graph.output == value) readers.push_back(nullptr);
    for (const Node& node : graph.nodes) {
        const Fused& f = node.fused;
        const bool reads = std::count(node.inputs.begin(), node.inputs.end(), value) != 0 || f.before == value ||
                           f.after == value || f.other == value;
        if (reads) readers.push_back(&node);
    }
    return readers;
}

bool is_of_many_channels(const Graph& graph) {
    int64_t dense = 0, all = 0;
    for (const Node& node : graph.nodes) {
        if (!is(node, "conv") && !is(node, "conv_transpose")) continue;
        const int64_t in = graph.values[node.inputs[0]].channels, out = node.out_channels;
        const int64_t weights = in * out / node.groups * node.kernel[0] * node.kernel[1] * node.kernel[2];
        all += weights;
        if (node.groups == 1 && in >= kLanes && out >= kLanes) dense += weights;
    }
    return all > 0 && dense >= all / 10 * 9;
}

void fuse(Graph& graph, bool is_blocked) {
    fuse_pyramids(graph);
    Fuser(graph, is_blocked).run();
    if (!is_blocked) fuse_depthwise(graph);
}

}  // namespace covfast
