#include "engine/quantise.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/blocked_rows.h"
#include "engine/layout.h"

namespace covfast {
namespace {

constexpr float kLeastRange = 1e-30f;  // whose steps are still normal numbers
constexpr int64_t kMostProducts = (int64_t{1} << 31) / (255 * 127) - 1;

class Quantiser {
public:
    Quantiser(Graph& graph, const Ranges& ranges)
        : graph_(graph), ranges_(graph.values.size(), 0.0f), only_convs_(graph.values.size()) {
        for (const Node& node : graph.nodes) {
            const auto known = ranges.find(node.output);
            const bool is_usable = known != ranges.end() && std::isfinite(known->second) && known->second > kLeastRange;
            if (is_usable) ranges_[node.made] = known->second;
        }
        find_values_of_convolutions();
    }

    void run() {
        for (Node& node : std::exchange(graph_.nodes, {})) {
            const bool is_concat = is(node, "concat") && only_convs_[node.made];
            if (has_small_sums(node) || is_concat)
                for (int& v : node.inputs) v = quantised(v);
            if (is_concat) set_u8(node.made, scales_of_parts(node));
            if (writes_u8(node) && only_convs_[node.made] && ranges_[node.made] > 0) {
                node.u8_scale = ranges_[node.made] / 127;
                set_u8(node.made, std::vector<float>(rows_of(graph_.values[node.made]), node.u8_scale));
            }
            graph_.nodes.push_back(std::move(node));
        }
    }

private:
    // Values that nothing reads but convolutions, or concats that nothing else reads and whose parts are all in range.
    void find_values_of_convolutions() {
        std::vector<int> all(graph_.values.size(), 0), good(graph_.values.size(), 0);
        if (graph_.output >= 0) ++all[graph_.output];
        for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node) {
            only_convs_[node->made] = all[node->made] > 0 && all[node->made] == good[node->made];
            const auto has_range = [&](int v) { return graph_.values[v].is_blocked && ranges_[v] > 0; };
            const bool is_whole = std::all_of(node->inputs.begin(), node->inputs.end(), has_range);
            if (is(*node, "concat")) only_convs_[node->made] = only_convs_[node->made] && is_whole;
            const bool is_good = has_small_sums(*node) || (is(*node, "concat") && only_convs_[node->made]);
            for (const int v : node->inputs) ++all[v], good[v] += is_good;
            for (const int v : {node->fused.before, node->fused.after, node->fused.other})
                if (v >= 0) ++all[v];
        }
    }

    // Whether products of 255 and 127 cannot overflow 32 bits.
    static bool has_small_sums(const Node& node) {
        const int64_t taps = node.kernel[0] * node.kernel[1] * node.kernel[2];
        return has_packed_weights(node) && static_cast<int64_t>(node.in_lanes.size()) <= kMostProducts / taps;
    }

    static bool writes_u8(const Node& node) {
        return (has_packed_weights(node) && node.fused.has_norm) || node.op->kernel == std::string_view("norm_blocked");
    }

    void set_u8(int v, std::vector<float> scales) {
        graph_.values[v].element = Element::kU8;
        graph_.values[v].lane_scale = std::move(scales);
    }

    std::vector<float> scales_of_parts(const Node& node) const {
        std::vector<float> scales;
        for (const int v : node.inputs) {
            const std::vector<float>& part = graph_.values[v].lane_scale;
            scales.insert(scales.end(), part.begin(), part.end());
        }
        return scales;
    }

    // The value as u8, or as it is where its range is not known.
    int quantised(int v) {
        const Value& from = graph_.values[v];
        if (!from.is_blocked || from.element == Element::kU8 || ranges_[v] <= 0) return v;
        const auto [known, is_new] = made_.emplace(v, 0);
        if (!is_new) return known->second;
        Node node;
        node.op = &quantise_row();
        node.inputs = {v};
        node.made = static_cast<int>(graph_.values.size());
        node.out_channels = from.channels;
        node.u8_scale = ranges_[v] / 127;
        Value made{from.channels, true, Element::kU8, from.runs};
        made.lane_scale.assign(rows_of(from), node.u8_scale);
        graph_.values.push_back(std::move(made));
        ranges_.push_back(0), only_convs_.push_back(false);
        graph_.nodes.push_back(std::move(node));
        return known->second = graph_.nodes.back().made;
    }

    Graph& graph_;
    std::vector<float> ranges_;     // of each value; 0: not known
    std::vector<bool> only_convs_;  // of each value
    std::map<int, int> made_;
};

}  // namespace

void quantise(Graph& graph, const Ranges& ranges) { Quantiser(graph, ranges).run(); }

}  // namespace covfast
