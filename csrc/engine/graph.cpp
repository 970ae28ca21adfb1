#include "engine/graph.h"

#include <map>
#include <utility>

#include "core/error.h"

namespace covfast {
namespace {

constexpr size_t kNodeLimit = 1 << 14;
constexpr int64_t kChannelLimit = 1 << 20;

using ValueIds = std::map<std::string, int>;

std::vector<int> read_inputs(const Json& json, const ValueIds& values, const OpRow& op) {
    std::vector<int> inputs;
    const std::vector<Json>& names = json.array("inputs");
    COVFAST_REQUIRE(names.size() >= op.min_inputs && names.size() <= op.max_inputs, FORMAT, "inputs: got ",
                    names.size(), ", expected ", op.min_inputs, " to ", op.max_inputs);
    for (const Json& name : names) {
        const auto value = values.find(name.as_text("inputs"));
        COVFAST_REQUIRE(value != values.end(), FORMAT, "inputs: got '", name.as_text("inputs"),
                        "', expected the input or the output of an earlier node");
        inputs.push_back(value->second);
    }
    return inputs;
}

// A misspelt or newer attribute must not be taken for its default.
void require_known(const Json& json, const OpRow& op) {
    for (const auto& [key, value] : json.as_object("node")) {
        const bool is_common = key == "op" || key == "inputs" || key == "output";
        const bool is_plain = key.find(' ') == std::string::npos;
        COVFAST_REQUIRE(is_common || (is_plain && op.attributes.find(" " + key + " ") != std::string_view::npos),
                        FORMAT, "attributes: got '", key, "', expected those that the op '", op.name, "' has");
    }
}

Node read_node(const Json& json, const Graph& graph, const ValueIds& values, const Package& package) {
    Node node;
    const std::string& name = json.text("op");
    node.op = find_op(name);
    COVFAST_REQUIRE(node.op != nullptr, FORMAT, "op: got '", name, "', expected one of the closed list");
    require_known(json, *node.op);
    node.output = json.text("output");
    node.inputs = read_inputs(json, values, *node.op);
    NodeSource source{json, package, graph.rank, {}};
    for (const int value : node.inputs) source.channels.push_back(graph.values[value].channels);
    node.op->parse(node, source);
    COVFAST_REQUIRE(node.out_channels >= 1 && node.out_channels <= kChannelLimit, FORMAT, "channels: got ",
                    node.out_channels, ", expected 1 to ", kChannelLimit);
    return node;
}

}  // namespace

Graph Graph::parse(const Json& json, const Package& package) {
    Graph graph;
    const std::vector<Json>& inputs = json.array("inputs");
    COVFAST_REQUIRE(inputs.size() == 1, FORMAT, "inputs: got ", inputs.size(), ", expected 1");
    graph.rank = static_cast<int>(inputs[0].integer("rank", 2, 3));
    graph.in_channels = inputs[0].integer("channels", 1, kChannelLimit);
    ValueIds values = {{inputs[0].text("name"), 0}};
    graph.values.push_back({graph.in_channels});

    const std::vector<Json>& nodes = json.array("nodes");
    COVFAST_REQUIRE(!nodes.empty() && nodes.size() <= kNodeLimit, FORMAT, "nodes: got ", nodes.size(),
                    ", expected 1 to ", kNodeLimit);
    for (size_t i = 0; i < nodes.size(); ++i) {
        try {
            graph.nodes.push_back(read_node(nodes[i], graph, values, package));
            Node& node = graph.nodes.back();
            node.made = static_cast<int>(i) + 1;
            graph.values.push_back({node.out_channels});
            const bool is_new = values.emplace(node.output, node.made).second;
            COVFAST_REQUIRE(is_new, FORMAT, "output: got '", graph.nodes.back().output,
                            "', expected a name not yet used");
        } catch (const Error& error) {
            fail(error.code(), "graph node ", i, ": ", error.what());
        }
    }
    const std::vector<Json>& outputs = json.array("outputs");
    COVFAST_REQUIRE(outputs.size() == 1, FORMAT, "outputs: got ", outputs.size(), ", expected 1");
    const auto output = values.find(outputs[0].as_text("outputs"));
    COVFAST_REQUIRE(output != values.end() && output->second != 0, FORMAT, "outputs: got '",
                    outputs[0].as_text("outputs"), "', expected the output of a node");
    graph.output = output->second;
    return graph;
}

}  // namespace covfast
