// One thread's memory for one network and one input size: planned and allocated once, none while running.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/progress.h"
#include "engine/memory_plan.h"
#include "engine/network.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"

namespace covfast {

// Of each node, over all images of a run.
struct StepNotes {
    std::vector<double> ms;
    bool has_ranges = false;
    std::vector<float> ranges;  // greatest magnitude of what it makes
};

// CPU backends read the weights of a planar network where the package is mapped.
class Session {
public:
    // Throws SHAPE if the size does not fit, UNAVAILABLE if the backend lacks an op or is no CPU one (nothing uploads
    // weights and values yet), MEMORY_LIMIT.
    // lender: a session that never runs at the same time and lends its workspace, if that is large enough; or null.
    Session(std::shared_ptr<const Network> network, const Context& context, std::array<int64_t, 3> size,
            const Session* lender = nullptr);

    Shape in_shape() const { return shapes_.front(); }
    Shape out_shape() const { return shapes_[network_->graph().output]; }
    size_t workspace_bytes() const { return is_borrowed_ ? 0 : plan_.bytes; }

    // batch_in (n, C, D, H, W), batch_out (n, C', D', H', W'), contiguous, not overlapping. One image after the other:
    // its values stay in the caches. The same bits for any number of threads. Polls `progress` between nodes and
    // within long ones. Throws SHAPE, CANCELLED, VALUE_RANGE if a run is under way: its memory is the session's.
    // `notes`, if given, receives what each node of the graph took and gave. Throws UNAVAILABLE if ranges are asked
    // for of values that are not f32.
    void run(const float* batch_in, float* batch_out, int64_t n, const Progress& progress, StepNotes* notes = nullptr);

private:
    void infer_shapes(const Axes& size);
    void prepare_operands();
    void run_node(size_t i, StepNotes* notes);
    float range_of(size_t i) const;
    void attach(const float* in, float* out);

    std::shared_ptr<const Network> network_;
    Context context_;
    std::vector<Shape> shapes_;       // of each value
    std::vector<Operands> operands_;  // of each node
    MemoryPlan plan_;
    bool is_borrowed_ = false;
    std::shared_ptr<DeviceArray<std::byte>> workspace_;
    std::atomic<bool> is_running_ = false;
};

}  // namespace covfast
