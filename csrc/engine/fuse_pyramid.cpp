#include "engine/fuse_pyramid.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "engine/fuse.h"
#include "engine/pyramid_row.h"
#include "kernels/spatial_pyramid.h"

namespace covfast {
namespace {

bool is(const Node* node, std::string_view op) { return node != nullptr && is(*node, op); }

// The nodes of one pyramid, as far as they are found.
struct Pyramid {
    const Node *fuse = nullptr, *gate = nullptr;
    std::vector<const Node*> branches;
    std::set<const Node*> inner;  // every node that disappears, the last one too
};

class Matcher {
public:
    explicit Matcher(const Graph& graph) : graph_(graph) {}

    // Fills `found` from its last node, the grouped 1x1 convolution; false where the nodes are others.
    bool match(const Node& fuse, Pyramid& found) const {
        if (!is_grouped_pointwise(&fuse)) return false;
        const Node* gated = maker(fuse.inputs[0]);
        if (!is(gated, "concat") || static_cast<int64_t>(gated->inputs.size()) != fuse.groups) return false;
        found.fuse = &fuse;
        found.inner = {&fuse, gated};
        std::vector<int> sums;  // d_k
        for (size_t k = 0; k < gated->inputs.size(); ++k)
            if (!match_gated(gated->inputs[k], static_cast<int64_t>(k), sums, found)) return false;
        return match_gate(sums, found) && match_sums(sums, found) && is_closed(found);
    }

private:
    const Node* maker(int value) const {
        const auto node =
            std::find_if(graph_.nodes.begin(), graph_.nodes.end(), [value](const Node& n) { return n.made == value; });
        return node == graph_.nodes.end() ? nullptr : &*node;
    }

    bool is_grouped_pointwise(const Node* node) const {
        if (!is(node, "conv") || node->groups < 1 || node->groups > kPyramidBranches) return false;
        const Axes one{1, 1, 1}, none{0, 0, 0};
        return node->kernel == one && node->stride == one && node->padding == none && node->fused.is_plain();
    }

    // e_k = d_k + d_k slice(sigmoid(gate), k)
    bool match_gated(int value, int64_t k, std::vector<int>& sums, Pyramid& found) const {
        const Node* sum = maker(value);
        if (!is(sum, "add") || sum->inputs.size() != 2) return false;
        for (size_t side = 0; side < 2; ++side) {
            const int d = sum->inputs[side];
            const Node* product = maker(sum->inputs[1 - side]);
            if (!is(product, "mul") || product->inputs.size() != 2) continue;
            const bool is_first = product->inputs[0] == d;
            if (!is_first && product->inputs[1] != d) continue;
            const Node* slice = maker(product->inputs[is_first ? 1 : 0]);
            if (!is(slice, "slice") || slice->first != k || slice->out_channels != 1) continue;
            const Node* sigmoid = maker(slice->inputs[0]);
            if (!is(sigmoid, "sigmoid")) continue;
            const Node* gate = maker(sigmoid->inputs[0]);
            if (!is_grouped_pointwise(gate) || (found.gate != nullptr && found.gate != gate)) continue;
            found.gate = gate;
            found.inner.insert({sum, product, slice, sigmoid, gate});
            sums.push_back(d);
            return true;
        }
        return false;
    }

    // The gate reads the concat of all d_k and gives one channel a branch.
    bool match_gate(const std::vector<int>& sums, Pyramid& found) const {
        const Node* concat = maker(found.gate->inputs[0]);
        const int64_t branches = static_cast<int64_t>(sums.size());
        if (!is(concat, "concat") || concat->inputs != sums) return false;
        if (found.gate->groups != branches || found.gate->out_channels != branches) return false;
        found.inner.insert(concat);
        return true;
    }

    // d_1 = c_1, d_k = d_(k-1) + c_k
    bool match_sums(const std::vector<int>& sums, Pyramid& found) const {
        for (size_t k = 0; k < sums.size(); ++k) {
            const Node* branch = maker(sums[k]);
            if (k > 0) {
                if (!is(branch, "add") || branch->inputs.size() != 2) return false;
                found.inner.insert(branch);
                const bool is_first = branch->inputs[0] == sums[k - 1];
                if (!is_first && branch->inputs[1] != sums[k - 1]) return false;
                branch = maker(branch->inputs[is_first ? 1 : 0]);
            }
            if (!is_branch(branch, found)) return false;
            found.branches.push_back(branch);
            found.inner.insert(branch);
        }
        return true;
    }

    bool is_branch(const Node* node, const Pyramid& found) const {
        if (!is(node, "conv") || !node->fused.is_plain() || node->b != nullptr) return false;
        if (graph_.rank != 2 || node->groups != node->out_channels) return false;
        if (node->groups > kPyramidChannels || node->groups != graph_.values[node->inputs[0]].channels ||
            node->kernel != Axes{1, 3, 3})
            return false;
        if (node->dilation[1] != node->dilation[2] || node->padding != Axes{0, node->dilation[1], node->dilation[2]})
            return false;
        if (node->stride[1] != node->stride[2]) return false;
        if (found.branches.empty()) return true;
        return node->inputs == found.branches[0]->inputs && node->stride == found.branches[0]->stride;
    }

    // Nothing outside reads what disappears.
    bool is_closed(const Pyramid& found) const {
        for (const Node* node : found.inner) {
            if (node == found.fuse) continue;
            for (const Node* reader : readers_of(graph_, node->made))
                if (found.inner.count(reader) == 0) return false;
        }
        return true;
    }

    const Graph& graph_;
};

Node pyramid_node(const Pyramid& found) {
    Node node = *found.fuse;
    const Node& first = *found.branches[0];
    node.op = &pyramid_row();
    node.inputs = first.inputs;
    node.stride = first.stride;
    const int64_t m = first.out_channels;
    for (const Node* branch : found.branches) {
        node.dilations.push_back(branch->dilation[1]);
        node.branch_weight.insert(node.branch_weight.end(), branch->a, branch->a + m * 9);
    }
    node.a = found.gate->a, node.gate_bias = found.gate->b;
    node.fuse_weight = found.fuse->a;
    node.b = found.fuse->b;
    return node;
}

}  // namespace

void fuse_pyramids(Graph& graph) {
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        Pyramid found;
        if (!Matcher(graph).match(graph.nodes[i], found)) continue;
        const Node made = pyramid_node(found);
        std::vector<Node> kept;
        for (Node& node : graph.nodes) {
            if (&node == found.fuse) {
                i = kept.size();
                kept.push_back(made);
            } else if (found.inner.count(&node) == 0) {
                kept.push_back(std::move(node));
            }
        }
        graph.nodes = std::move(kept);
    }
}

}  // namespace covfast
