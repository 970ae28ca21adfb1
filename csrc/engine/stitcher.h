// Averages overlapping windows into planes along D, which leave in order as soon as no later window touches them: a
// ring of as many planes as a window is deep is all the memory, whatever the depth of the volume.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/arena.h"
#include "engine/window_plan.h"
#include "kernels/backend.h"

namespace covfast {

struct StitchParams;

// Receives the finished planes.
class PlaneSink {
public:
    virtual ~PlaneSink() = default;
    // Where plane d, (C, H, W) f32, is to be written; null where only the order of the channels matters: it then comes
    // as it lies in the ring, a weighted sum, which saves a pass.
    virtual float* destination(int64_t d) = 0;
    // d = 0, 1, ... of the plan's size; values: the destination, or the ring's plane, which is gone after the call.
    virtual void plane(int64_t d, const float* values) = 0;
};

enum class Accumulate {
    kFloat32,
    kNnunet,  // float16 with nnU-Net's rounding after each window, one volume for each member of an ensemble
};

// How often every window is read: by each member of an ensemble, and by it once for each mirroring.
struct Readings {
    int64_t members = 1, mirrors = 1;
    int64_t count() const { return members * mirrors; }
};

class Stitcher {
public:
    // plan and sink live longer. Throws MEMORY_LIMIT if the system refuses the ring.
    Stitcher(const WindowPlan& plan, int64_t channels, Accumulate accumulate, const Readings& readings, PlaneSink& sink,
             const Context& context);

    // Bytes of the ring and what goes with it.
    static size_t workspace_bytes(const WindowPlan& plan, int64_t channels, Accumulate accumulate,
                                  const Readings& readings);

    // One reading of window `index`: (C, window) with strides in elements (0: all the same), mirrored along the axes of
    // `flip`. Windows come in the plan's order, and their readings in order: all mirrorings of a member before the
    // next. Throws VALUE_RANGE if not.
    void add(int64_t index, int64_t reading, const float* x, const std::array<int64_t, 4>& stride,
             const std::array<bool, 3>& flip);
    // After the last window: the planes that are left. Another volume may begin then, with the first window.
    void finish();

private:
    void add_half(int64_t reading, const StitchParams& window);
    void flush(int64_t end);
    void divide_by_totals(int64_t d, const float* sum, float* destination);
    const float* finish_plane(int64_t d, float* destination);
    void clear(int64_t slot);

    const WindowPlan& plan_;
    int64_t channels_, plane_floats_;
    Readings readings_;
    Accumulate accumulate_;
    PlaneSink& sink_;
    Context context_;
    int64_t flushed_ = 0;  // planes that have left
    int64_t next_ = 0;     // reading that is expected, of all windows
    Arena arena_;
    Slot<float> ring_;           // (planes, C, H, W)
    Slot<uint16_t> half_;        // (members, planes, C, H, W)
    Slot<uint16_t> count_;       // (planes, H, W)
    Slot<uint16_t> importance_;  // (window)
    Slot<float> mirrored_;       // (window D, C, window H, W): sum of one member's mirrorings, of kNnunet
    Slot<float> total_;          // (H, W), of an importance with a floor
    Slot<float> plane_;          // (C, H, W), of kNnunet
};

}  // namespace covfast
