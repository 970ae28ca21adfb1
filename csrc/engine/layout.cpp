#include "engine/layout.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "engine/blocked_rows.h"

namespace covfast {
namespace {

constexpr int64_t kFewChannels = 8;  // of a network's input, which a convolution then reads as it is

using Runs = std::vector<int64_t>;

class BlockedLayout {
public:
    BlockedLayout(Graph& graph, Element element) : graph_(graph), element_(element), cuts_(graph.values.size()) {
        for (const Node& node : graph.nodes)
            if (is(node, "slice")) cuts_[node.inputs[0]].insert({node.first, node.first + node.out_channels});
    }

    void run() {
        for (Node& node : std::exchange(graph_.nodes, {})) {
            const OpRow* twin = node.op->blocked == nullptr ? nullptr : node.op->blocked(node);
            if (twin != nullptr && can_run_blocked(node)) {
                make_blocked(node, *twin);
            } else {
                make_planar(node);
            }
            graph_.nodes.push_back(std::move(node));
        }
        graph_.output = planar(graph_.output);
    }

private:
    Value& value(int id) { return graph_.values[id]; }

    bool can_run_blocked(const Node& node) {
        if (is(node, "slice")) return value(node.inputs[0]).is_blocked && !runs_of_slice(node).empty();
        if (is(node, "concat")) {
            const auto is_blocked = [&](int v) { return value(v).is_blocked; };
            return std::any_of(node.inputs.begin(), node.inputs.end(), is_blocked);
        }
        const bool is_added = is(node, "add") || is(node, "sub");
        const auto is_single = [&](int v) { return value(v).channels < node.out_channels; };
        // One channel added to all would fill the lanes that have none.
        return !is_added || node.out_channels % kLanes == 0 ||
               std::none_of(node.inputs.begin(), node.inputs.end(), is_single);
    }

    // The runs that a slice takes, or none where it begins or ends inside one.
    Runs runs_of_slice(const Node& node) {
        int64_t at = 0;
        Runs runs;
        for (const int64_t run : value(node.inputs[0]).runs) {
            if (at >= node.first && at + run <= node.first + node.out_channels) {
                runs.push_back(run);
            } else if (at < node.first + node.out_channels && at + run > node.first) {
                return {};
            }
            at += run;
        }
        return runs;
    }

    Runs runs_of_result(const Node& node) {
        for (const int v : {node.fused.before, node.fused.after, node.fused.other})
            if (v >= 0 && value(v).is_blocked) return value(v).runs;
        if (is(node, "slice")) return runs_of_slice(node);
        if (is(node, "concat")) {
            Runs runs;
            for (const int v : node.inputs) {
                const Runs part = value(v).is_blocked ? value(v).runs : Runs{value(v).channels};
                runs.insert(runs.end(), part.begin(), part.end());
            }
            return runs;
        }
        if (is(node, "conv") || is(node, "conv_transpose")) return cut(node.out_channels, cuts_[node.made]);
        for (const int v : node.inputs)  // channel by channel: as the input that has them all
            if (value(v).channels == node.out_channels && value(v).is_blocked) return value(v).runs;
        return {node.out_channels};
    }

    static Runs cut(int64_t channels, const std::set<int64_t>& at) {
        Runs runs;
        int64_t from = 0;
        for (const int64_t to : at)
            if (to > from && to < channels) runs.push_back(to - from), from = to;
        runs.push_back(channels - from);
        return runs;
    }

    void make_planar(Node& node) {
        for (size_t k = 0; k < node.inputs.size() && k < node.op->read_inputs; ++k)
            node.inputs[k] = planar(node.inputs[k]);
        for (int* v : {&node.fused.before, &node.fused.after, &node.fused.other})
            if (*v >= 0) *v = planar(*v);
    }

    void make_blocked(Node& node, const OpRow& twin) {
        const Runs runs = runs_of_result(node);
        const bool is_per_channel =
            !is(node, "conv") && !is(node, "conv_transpose") && !is(node, "slice") && !is(node, "concat");
        for (size_t k = 0; k < node.inputs.size() && k < node.op->read_inputs; ++k) {
            int& v = node.inputs[k];
            const bool stays = is(node, "conv") && !value(v).is_blocked && value(v).channels <= kFewChannels;
            const bool is_alike = is_per_channel && value(v).channels == node.out_channels;
            if (!stays) v = blocked(v, is_alike ? runs : Runs{});
        }
        for (int* v : {&node.fused.before, &node.fused.after, &node.fused.other})
            if (*v >= 0) *v = blocked(*v, runs);
        const Value& in = value(node.inputs[0]);
        if (in.is_blocked) {
            node.in_lanes = lanes_of(in.runs);
        } else {
            for (int32_t c = 0; c < in.channels; ++c) node.in_lanes.push_back(c);
        }
        node.out_lanes = lanes_of(runs);
        for (const int v : {node.made, node.total})
            if (v >= 0) value(v).is_blocked = true, value(v).element = element_, value(v).runs = runs;
        node.op = &twin;
    }

    int planar(int v) {
        if (!value(v).is_blocked) return v;
        const auto [known, is_new] = planar_.emplace(v, 0);
        if (is_new) known->second = add_reorder(v, {value(v).channels});
        return known->second;
    }

    // The value in the blocked layout; with other runs than it has, if any are given.
    int blocked(int v, const Runs& runs) {
        if (value(v).is_blocked && (runs.empty() || value(v).runs == runs)) return v;
        const int from = planar(v);
        const auto [known, is_new] = blocked_.emplace(std::pair{from, runs}, 0);
        if (is_new) {
            const Runs all = runs.empty() ? Runs{value(from).channels} : runs;
            known->second = add_reorder(from, {value(from).channels, true, element_, all});
        }
        return known->second;
    }

    int add_reorder(int from, Value made) {
        Node node;
        node.op = &reorder_row();
        node.inputs = {from};
        node.made = static_cast<int>(graph_.values.size());
        node.out_channels = made.channels;
        (made.is_blocked ? node.out_lanes : node.in_lanes) = lanes_of(made.is_blocked ? made.runs : value(from).runs);
        graph_.values.push_back(std::move(made));
        cuts_.emplace_back();
        graph_.nodes.push_back(std::move(node));
        return graph_.nodes.back().made;
    }

    Graph& graph_;
    Element element_;
    std::vector<std::set<int64_t>> cuts_;  // of each value, where slices of it begin and end
    std::map<int, int> planar_;
    std::map<std::pair<int, Runs>, int> blocked_;
};

// Numbers per channel as rows of memory; lanes without a channel get 0.
std::vector<float> by_row(const float* numbers, float number, int64_t channels, const std::vector<int32_t>& lanes) {
    const int64_t rows = lanes.empty() ? channels : static_cast<int64_t>(lanes.size());
    std::vector<float> made(static_cast<size_t>(rows), 0.0f);
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t channel = lanes.empty() ? row : lanes[row];
        if (channel >= 0) made[row] = numbers == nullptr ? number : numbers[channel];
    }
    return made;
}

}  // namespace

std::vector<int32_t> lanes_of(const std::vector<int64_t>& runs) {
    std::vector<int32_t> lanes;
    int32_t channel = 0;
    for (const int64_t run : runs) {
        for (int64_t i = 0; i < run; ++i) lanes.push_back(channel++);
        while (lanes.size() % kLanes != 0) lanes.push_back(-1);
    }
    return lanes;
}

int64_t rows_of(const Value& value) {
    if (!value.is_blocked) return value.channels;
    int64_t rows = 0;
    for (const int64_t run : value.runs) rows += blocks_of(run) * kLanes;
    return rows;
}

void assign_blocked_layout(Graph& graph, Element element) { BlockedLayout(graph, element).run(); }

void place_values(Graph& graph) {
    const auto is_free = [&](int v) { return v != 0 && v != graph.output && graph.values[v].home < 0; };
    for (const Node& node : graph.nodes) {
        if (is(node, "slice") && is_free(node.made)) {
            Value& made = graph.values[node.made];
            made.home = node.inputs[0];
            const std::vector<int64_t>& runs = graph.values[node.inputs[0]].runs;
            made.first = node.first;
            if (!made.is_blocked) continue;
            made.first = 0;
            for (int64_t channel = 0, i = 0; channel < node.first; channel += runs[i++])
                made.first += blocks_of(runs[i]) * kLanes;
        }
        if (!is(node, "concat")) continue;
        int64_t first = 0;
        for (const int v : node.inputs) {
            if (is_free(v)) graph.values[v].home = node.made, graph.values[v].first = first;
            first += rows_of(graph.values[v]);
        }
    }
}

void fill_rows(Graph& graph) {
    for (Node& node : graph.nodes) {
        const Fused& f = node.fused;
        const int64_t channels = node.out_channels;
        const bool is_scaled = is(node, "group_norm") || is(node, "prelu") || is(node, "affine");
        // 1, but 0 in lanes without a channel.
        const bool is_masked = !node.out_lanes.empty() && (is(node, "group_norm") || is(node, "sigmoid"));
        if (is_masked || (is_scaled && node.a != nullptr)) node.scale = by_row(node.a, 1, channels, node.out_lanes);
        const bool is_shifted = is(node, "add") || is(node, "sub");  // by a number: lanes without a channel stay 0
        if (is_shifted && node.b_value != 0) node.bias = by_row(nullptr, node.b_value, channels, node.out_lanes);
        if (node.b != nullptr) node.bias = by_row(node.b, 0, channels, node.out_lanes);
        if (f.kind == EpilogueKind::kLeaky) node.slope = by_row(f.slope, f.slope_value, channels, node.out_lanes);
        if (f.has_norm) node.norm_weight = by_row(f.norm_weight, 1, channels, node.out_lanes);
        if (f.norm_bias != nullptr) node.norm_bias = by_row(f.norm_bias, 0, channels, node.out_lanes);
    }
}

}  // namespace covfast
