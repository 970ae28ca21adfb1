// A network ready to run: graph and weights, shared between threads; and one thread's memory plan for one input size.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/progress.h"
#include "engine/graph.h"
#include "engine/package.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"

namespace covfast {

class Network {
public:
    // Throws FORMAT naming the package if its graph, tensors, input contract or recipe do not fit.
    static std::shared_ptr<const Network> create(std::shared_ptr<const Package> package);

    const Package& package() const { return *package_; }
    const Graph& graph() const { return graph_; }
    int rank() const { return graph_.rank; }
    int64_t in_channels() const { return graph_.in_channels; }
    const std::vector<const char*>& kernels() const { return kernels_; }  // ops of the backend table that it needs

    // Throws SHAPE if the network does not take an input of this size.
    void require_size(const Axes& size) const;

private:
    Network() = default;
    void read_input_contract(const Json& json);

    std::shared_ptr<const Package> package_;
    Graph graph_;
    Axes multiple_{1, 1, 1};    // every size must be a multiple of this
    Axes fixed_size_{0, 0, 0};  // 0: any
    std::vector<const char*> kernels_;
};

// One thread's plan for one input size: all memory is allocated here, none while running. CPU backends read the weights
// where the package is mapped.
class Session {
public:
    // Throws SHAPE if the size does not fit, UNAVAILABLE if the backend lacks an op or is no CPU one (nothing uploads
    // weights and values yet), MEMORY_LIMIT.
    Session(std::shared_ptr<const Network> network, const Context& context, std::array<int64_t, 3> size,
            int64_t max_batch);

    Shape in_shape() const { return shapes_.front(); }
    Shape out_shape() const { return shapes_[network_->graph().output]; }
    size_t workspace_bytes() const { return workspace_values_ * sizeof(float); }

    // batch_in (n, C, D, H, W), batch_out (n, C', D', H', W'), contiguous, not overlapping, 0 <= n <= max_batch. The
    // same bits for any number of threads. Polls `progress` between nodes and within long ones. Throws SHAPE,
    // CANCELLED, VALUE_RANGE if a run is under way: its memory is the session's.
    void run(const float* batch_in, float* batch_out, int64_t n, const Progress& progress);

private:
    struct Step {
        const Node* node;
        Operands operands;
    };

    void infer_shapes(const Axes& size);
    void plan_memory();
    void prepare_steps();
    int find_reusable(size_t step, const std::vector<size_t>& last_use) const;

    std::shared_ptr<const Network> network_;
    Context context_;
    int64_t max_batch_;
    std::vector<Shape> shapes_;    // of each value
    std::vector<size_t> offsets_;  // of each value in the workspace, in floats; the input and the output have none
    std::vector<size_t> scratch_;  // of each node's scratch in the workspace, in floats
    size_t workspace_values_ = 0;
    std::vector<Step> steps_;
    DeviceArray<float> workspace_;
    std::atomic<bool> is_running_ = false;
};

}  // namespace covfast
