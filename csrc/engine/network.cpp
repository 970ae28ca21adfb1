#include "engine/network.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/polling.h"
#include "engine/recipe.h"

namespace covfast {
namespace {

constexpr int64_t kSizeLimit = 1 << 20;
constexpr int64_t kValueLimit = int64_t{1} << 33;  // floats of one value: 32 GiB
constexpr size_t kTableLimit = size_t{1} << 26;    // entries of all tables of resizes: 768 MiB

int64_t floats_of(const Shape& shape, int64_t batch) {
    int64_t count = batch;
    for (const int64_t factor : {shape.channels, shape.size[0], shape.size[1], shape.size[2]}) {
        const bool overflows = __builtin_mul_overflow(count, factor, &count);
        COVFAST_REQUIRE(!overflows && count <= kValueLimit, MEMORY_LIMIT, "size: got a value of ", shape.channels,
                        " x ", shape.size[0], " x ", shape.size[1], " x ", shape.size[2],
                        ", expected one that memory can hold");
    }
    return count;
}

// A range of the workspace that is in use.
struct Range {
    size_t begin, end;
    size_t last_use;  // step after which it is free
};

// The lowest gap of `count` floats between the ranges in use, which are sorted.
size_t lowest_gap(const std::vector<Range>& in_use, size_t count) {
    size_t at = 0;
    for (const Range& range : in_use) {
        if (range.begin >= at + count) break;
        at = std::max(at, range.end);
    }
    return at;
}

// Sets a flag while it lives.
class Running {
public:
    explicit Running(std::atomic<bool>& flag) : flag_(flag) {
        COVFAST_REQUIRE(!flag_.exchange(true), VALUE_RANGE,
                        "session: got a call while another one runs, expected one at a time; a progress callback must "
                        "not call its own network");
    }
    ~Running() { flag_ = false; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

private:
    std::atomic<bool>& flag_;
};

size_t aligned(size_t count) {
    constexpr size_t kFloats = 64 / sizeof(float);
    return (count + kFloats - 1) / kFloats * kFloats;
}

}  // namespace

std::shared_ptr<const Network> Network::create(std::shared_ptr<const Package> package) {
    std::shared_ptr<Network> network(new Network);
    network->package_ = std::move(package);
    const Package& from = *network->package_;
    try {
        network->graph_ = Graph::parse(from.metadata().at("graph"), from);
        network->read_input_contract(from.metadata().at("input"));
        const Json* recipe = from.metadata().find("recipe");
        if (recipe != nullptr && !recipe->is_null()) Recipe::parse(*recipe);
    } catch (const Error& error) {
        fail(error.code(), from.file_name(), ": ", error.what());
    }
    std::vector<const char*>& kernels = network->kernels_;
    for (const Node& node : network->graph_.nodes) {
        const auto same = [&](const char* kernel) { return std::string_view(kernel) == node.op->kernel; };
        if (std::none_of(kernels.begin(), kernels.end(), same)) kernels.push_back(node.op->kernel);
    }
    return network;
}

void Network::read_input_contract(const Json& json) {
    const size_t rank = static_cast<size_t>(graph_.rank);
    const int64_t stated_rank = json.integer("rank", 2, 3), channels = json.integer("channels", 1, kSizeLimit);
    COVFAST_REQUIRE(stated_rank == graph_.rank && channels == graph_.in_channels, FORMAT, "input: got rank ",
                    stated_rank, " and ", channels, " channels, expected ", graph_.rank, " and ", graph_.in_channels,
                    ", as the graph has them");
    const std::vector<int64_t> multiple = json.integers("multiple", rank, 1, kSizeLimit);
    std::copy(multiple.begin(), multiple.end(), multiple_.end() - rank);
    if (json.find("size") == nullptr || json.at("size").is_null()) return;
    const std::vector<int64_t> size = json.integers("size", rank, 1, kSizeLimit);
    std::copy(size.begin(), size.end(), fixed_size_.end() - rank);
}

void Network::require_size(const Axes& size) const {
    COVFAST_REQUIRE(graph_.rank == 3 || size[0] == 1, SHAPE, "size: got ", size[0],
                    " along D, expected 1 for a 2-D network");
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(size[a] >= 1 && size[a] <= kSizeLimit, SHAPE, "size: got ", size[a], ", expected 1 to ",
                        kSizeLimit);
        COVFAST_REQUIRE(size[a] % multiple_[a] == 0, SHAPE, "size: got ", size[a], ", expected a multiple of ",
                        multiple_[a]);
        COVFAST_REQUIRE(fixed_size_[a] == 0 || size[a] == fixed_size_[a], SHAPE, "size: got ", size[a], ", expected ",
                        fixed_size_[a]);
    }
}

Session::Session(std::shared_ptr<const Network> network, const Context& context, std::array<int64_t, 3> size,
                 int64_t max_batch)
    : network_(std::move(network)), context_(context), max_batch_(max_batch), workspace_(*context.backend, 0) {
    COVFAST_REQUIRE(max_batch >= 1 && max_batch <= kSizeLimit, SHAPE, "max_batch: got ", max_batch, ", expected 1 to ",
                    kSizeLimit);
    COVFAST_REQUIRE(std::string_view(context.backend->device) == "cpu", UNAVAILABLE, "backend: got '",
                    context.backend->name, "', expected one of the CPU; networks do not run on a GPU yet");
    if (const char* op = lacking(*context.backend, network_->kernels())) fail_no_twin(*context.backend, op);
    network_->require_size(size);
    infer_shapes(size);
    plan_memory();
    prepare_steps();
    workspace_ = DeviceArray<float>(*context_.backend, static_cast<int64_t>(workspace_values_));
}

void Session::infer_shapes(const Axes& size) {
    const Graph& graph = network_->graph();
    shapes_ = {{graph.in_channels, size}};
    for (const Node& node : graph.nodes) {
        std::vector<Shape> in;
        for (const int value : node.inputs) in.push_back(shapes_[value]);
        const Shape out{node.out_channels, node.op->out_size(node, in)};
        for (const int64_t n : out.size) {
            COVFAST_REQUIRE(n <= kSizeLimit, MEMORY_LIMIT, "size: got ", n, " after the op '", node.op->name, "' at '",
                            node.output, "', expected at most ", kSizeLimit);
            COVFAST_REQUIRE(n >= 1, SHAPE, "size: got (", size[0], ", ", size[1], ", ", size[2],
                            "), expected a larger one; nothing is left after the op '", node.op->name, "' at '",
                            node.output, "'");
        }
        floats_of(out, max_batch_);
        shapes_.push_back(out);
    }
}

// The input whose memory the step's output may take, or -1: of the same shape, not read later, in the workspace.
int Session::find_reusable(size_t step, const std::vector<size_t>& last_use) const {
    const Graph& graph = network_->graph();
    const Node& node = graph.nodes[step];
    if (!node.op->runs_in_place) return -1;
    for (const int value : node.inputs) {
        const bool is_inside = value != 0 && value != graph.output;
        if (is_inside && last_use[value] == step && shapes_[value].channels == node.out_channels) return value;
    }
    return -1;
}

// Values share the workspace: each takes the lowest gap between the values that live when it is made.
void Session::plan_memory() {
    const Graph& graph = network_->graph();
    std::vector<size_t> last_use(shapes_.size(), 0);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        last_use[i + 1] = i;  // an output that nobody reads still needs room while it is made
        const Node& node = graph.nodes[i];
        for (size_t k = 0; k < node.inputs.size() && k < node.op->read_inputs; ++k) last_use[node.inputs[k]] = i;
    }
    offsets_.assign(shapes_.size(), 0), scratch_.assign(graph.nodes.size(), 0);
    std::vector<Range> in_use;
    const auto take = [&](int64_t floats, size_t until) {
        const size_t count = aligned(static_cast<size_t>(floats)), at = lowest_gap(in_use, count);
        const Range range{at, at + count, until};
        in_use.insert(std::upper_bound(in_use.begin(), in_use.end(), range,
                                       [](const Range& a, const Range& b) { return a.begin < b.begin; }),
                      range);
        workspace_values_ = std::max(workspace_values_, range.end);
        return at;
    };
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node& node = graph.nodes[i];
        const int made = static_cast<int>(i) + 1;
        std::erase_if(in_use, [i](const Range& range) { return range.last_use < i; });
        const int taken = made == graph.output ? -1 : find_reusable(i, last_use);
        if (taken >= 0) {
            offsets_[made] = offsets_[taken];
            for (Range& range : in_use)
                if (range.begin == offsets_[taken]) range.last_use = last_use[made];
        } else if (made != graph.output) {
            offsets_[made] = take(floats_of(shapes_[made], max_batch_), last_use[made]);
        }
        if (node.op->scratch == nullptr) continue;
        scratch_[i] = take(node.op->scratch(node, shapes_[node.inputs[0]], max_batch_), i);
    }
}

void Session::prepare_steps() {
    const Graph& graph = network_->graph();
    size_t entries = 0;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node& node = graph.nodes[i];
        Step step{&node, {}};
        for (const int value : node.inputs) step.operands.in.push_back(shapes_[value]);
        step.operands.x.resize(node.inputs.size());
        step.operands.out = shapes_[i + 1];
        if (node.op->prepare != nullptr) node.op->prepare(node, step.operands);
        for (const ResizeAxis& axis : step.operands.axes) entries += axis.left.size();
        COVFAST_REQUIRE(entries <= kTableLimit, MEMORY_LIMIT, "size: got tables of ", entries,
                        " entries for the resizes, expected at most ", kTableLimit);
        steps_.push_back(std::move(step));
    }
}

void Session::run(const float* batch_in, float* batch_out, int64_t n, const Progress& progress) {
    COVFAST_REQUIRE(n >= 0 && n <= max_batch_, SHAPE, "x: got a batch of ", n, ", expected at most ", max_batch_);
    const Running running(is_running_);
    const int output = network_->graph().output;
    const auto memory_of = [&](int value) { return value == output ? batch_out : workspace_.data() + offsets_[value]; };
    const int64_t total = static_cast<int64_t>(steps_.size());
    for (int64_t i = 0; i < total; ++i) {
        progress.poll("network", i, total);
        const PollScope scope(progress, "network", i, total);
        Operands& operands = steps_[i].operands;
        const Node& node = *steps_[i].node;
        for (size_t k = 0; k < node.inputs.size(); ++k)
            operands.x[k] = node.inputs[k] == 0 ? batch_in : memory_of(node.inputs[k]);
        operands.y = memory_of(static_cast<int>(i) + 1);
        operands.scratch = workspace_.data() + scratch_[i];
        operands.n = n;
        node.op->run(node, operands, context_);
    }
}

}  // namespace covfast
