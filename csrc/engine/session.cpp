#include "engine/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/polling.h"
#include "core/threads.h"
#include "engine/blocked_rows.h"
#include "engine/layout.h"

namespace covfast {
namespace {

constexpr size_t kTableLimit = size_t{1} << 26;  // entries of all tables of resizes: 768 MiB

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

}  // namespace

Session::Session(std::shared_ptr<const Network> network, const Context& context, std::array<int64_t, 3> size,
                 const Session* lender)
    : network_(std::move(network)), context_(context) {
    COVFAST_REQUIRE(std::string_view(context.backend->device) == "cpu", UNAVAILABLE, "backend: got '",
                    context.backend->name, "', expected one of the CPU; networks do not run on a GPU yet");
    if (const char* op = lacking(*context.backend, network_->kernels())) fail_no_twin(*context.backend, op);
    if (context_.threads <= 0) context_.threads = hardware_threads();  // scratch memory is planned for as many
    network_->require_size(size);
    infer_shapes(size);
    prepare_operands();
    is_borrowed_ = lender != nullptr && lender->plan_.bytes >= plan_.bytes;
    workspace_ = is_borrowed_
                     ? lender->workspace_
                     : std::make_shared<DeviceArray<std::byte>>(*context_.backend, static_cast<int64_t>(plan_.bytes));
}

void Session::infer_shapes(const Axes& size) {
    const Graph& graph = network_->graph();
    shapes_.resize(graph.values.size());
    const auto set = [&](int v, const Axes& at) {
        const Value& value = graph.values[v];
        shapes_[v] = {value.channels, at, value.is_blocked ? rows_of(value) : 0, value.element};
        bytes_of(shapes_[v]);
    };
    set(0, size);
    for (const Node& node : graph.nodes) {
        std::vector<Shape> in;
        for (const int value : node.inputs) in.push_back(shapes_[value]);
        const Axes out = node.op->out_size(node, in);
        for (const int64_t n : out) {
            COVFAST_REQUIRE(n <= kAxisLimit, MEMORY_LIMIT, "size: got ", n, " after the op '", node.op->name, "' at '",
                            node.output, "', expected at most ", kAxisLimit);
            COVFAST_REQUIRE(n >= 1, SHAPE, "size: got (", size[0], ", ", size[1], ", ", size[2],
                            "), expected a larger one; nothing is left after the op '", node.op->name, "' at '",
                            node.output, "'");
        }
        for (const int v : {node.fused.before, node.fused.after, node.fused.other})
            COVFAST_REQUIRE(v < 0 || shapes_[v].size == out, SHAPE, "inputs: got sizes (", out[0], ", ", out[1], ", ",
                            out[2], ") and (", shapes_[v].size[0], ", ", shapes_[v].size[1], ", ", shapes_[v].size[2],
                            "), expected the same; the network's input may have to be a multiple of its stride");
        for (const int v : {node.made, node.total})
            if (v >= 0) set(v, out);
    }
}

void Session::prepare_operands() {
    const Graph& graph = network_->graph();
    size_t entries = 0;
    std::vector<size_t> scratch_bytes;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node& node = graph.nodes[i];
        Operands o;
        for (const int value : node.inputs) o.in.push_back(shapes_[value]);
        o.x.resize(node.inputs.size());
        o.out = shapes_[node.made];
        o.epilogue.bias = node.bias.empty() ? nullptr : node.bias.data();
        o.epilogue.slope = node.slope.empty() ? nullptr : node.slope.data();
        o.epilogue.kind = node.fused.kind;
        if (node.op->prepare != nullptr) node.op->prepare(node, o);
        for (const ResizeAxis& axis : o.axes) entries += axis.left.size();
        COVFAST_REQUIRE(entries <= kTableLimit, MEMORY_LIMIT, "size: got tables of ", entries,
                        " entries for the resizes, expected at most ", kTableLimit);
        if (has_packed_weights(node)) {
            o.is_winograd = may_use_winograd(node, network_->options()) && winograd_pays(node, o);
            const Packed& packed = network_->packed_weights(i, o.is_winograd);
            o.weight = packed.weight;
            if (!packed.scale.empty()) o.scale = packed.scale.data(), o.epilogue.bias = packed.bias.data();
        }
        scratch_bytes.push_back(node.op->scratch == nullptr ? 0 : node.op->scratch(node, o, context_));
        operands_.push_back(std::move(o));
    }
    plan_ = MemoryPlan::create(graph, shapes_, scratch_bytes);
}

void Session::attach(const float* in, float* out) {
    const Graph& graph = network_->graph();
    const auto memory_of = [&](int value) -> std::byte* {
        if (value < 0) return nullptr;
        const MemoryPlan::Place& place = plan_.places[value];
        std::byte* root = place.root == 0              ? reinterpret_cast<std::byte*>(const_cast<float*>(in))
                          : place.root == graph.output ? reinterpret_cast<std::byte*>(out)
                                                       : workspace_->data() + plan_.offsets[place.root];
        return root + place.offset;
    };
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        const Node& node = graph.nodes[i];
        Operands& o = operands_[i];
        for (size_t k = 0; k < node.inputs.size(); ++k) o.x[k] = memory_of(node.inputs[k]);
        o.y = memory_of(node.made);
        o.epilogue.before = memory_of(node.fused.before), o.epilogue.after = memory_of(node.fused.after);
        o.epilogue.other = memory_of(node.fused.other), o.epilogue.total = memory_of(node.total);
        o.scratch = workspace_->data() + plan_.scratch[i];
    }
}

float Session::range_of(size_t i) const {
    const Shape& shape = operands_[i].out;
    COVFAST_REQUIRE(shape.element == Element::kF32, UNAVAILABLE,
                    "precision: got values that are not f32, expected f32");
    const float* y = operands_[i].out_f32();
    float greatest = 0;
    bool is_finite = true;
    for (int64_t k = 0; k < shape.rows() * shape.plane(); ++k) {
        is_finite = is_finite && std::isfinite(y[k]);
        greatest = std::max(greatest, std::abs(y[k]));
    }
    return is_finite ? greatest : std::numeric_limits<float>::infinity();
}

void Session::run_node(size_t i, StepNotes* notes) {
    const Node& node = network_->graph().nodes[i];
    const auto start = std::chrono::steady_clock::now();
    node.op->run(node, operands_[i], context_);
    if (notes == nullptr) return;
    notes->ms[i] += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (notes->has_ranges) notes->ranges[i] = std::max(notes->ranges[i], range_of(i));
}

void Session::run(const float* batch_in, float* batch_out, int64_t n, const Progress& progress, StepNotes* notes) {
    COVFAST_REQUIRE(n >= 0, SHAPE, "x: got a batch of ", n, ", expected 0 or more");
    const Running running(is_running_);
    const Team team(context_.threads);
    const Shape in = in_shape(), out = out_shape();
    const int64_t steps = static_cast<int64_t>(operands_.size()), total = n * steps;
    if (notes != nullptr) notes->ms.assign(operands_.size(), 0.0), notes->ranges.assign(operands_.size(), 0.0f);
    for (int64_t image = 0; image < n; ++image) {
        attach(batch_in + image * in.channels * in.plane(), batch_out + image * out.channels * out.plane());
        for (int64_t i = 0; i < steps; ++i) {
            const int64_t done = image * steps + i;
            progress.poll("network", done, total);
            const PollScope scope(progress, "network", done, total);
            run_node(static_cast<size_t>(i), notes);
        }
    }
}

}  // namespace covfast
