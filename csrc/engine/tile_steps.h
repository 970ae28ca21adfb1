// What a recipe does to one tile, planned once for a case: a chain of steps, each from one buffer to the next.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/progress.h"
#include "engine/network.h"
#include "engine/recipe.h"
#include "engine/segment.h"
#include "engine/session.h"
#include "kernels/backend.h"

namespace covfast {

class TileStep {
public:
    virtual ~TileStep() = default;
    virtual const char* name() const = 0;
    virtual Shape out_shape() const = 0;
    // Scratch that the step wants: planned before the arena is committed, and then handed over.
    virtual void plan(Arena&) {}
    virtual void attach(const Arena&) {}
    // x: the step's input tile; y: (C, D, H, W) f32 of out_shape().
    virtual void run(const float* x, float* y, const Progress& progress) = 0;
};

// Runs every tile of one size through the steps; owns all buffers, allocates nothing while running.
class TileChain {
public:
    TileChain(const Recipe& recipe, std::shared_ptr<const Network> network, const CaseInput& input,
              std::array<int64_t, 3> tile_size, const Context& context);

    // The tile whose first voxel is `origin` of the input. Returns (D, H, W) f32 of the tile's size, valid until the
    // next call.
    const float* run(std::array<int64_t, 3> origin, const Progress& progress);

    // Milliseconds spent in each step so far.
    std::vector<StageTime> times() const;

private:
    void window(std::array<int64_t, 3> origin);

    const CaseInput input_;
    const stage::Window window_;
    const std::array<int64_t, 3> tile_size_;
    const Context context_;
    std::vector<std::unique_ptr<TileStep>> steps_;
    Arena arena_;
    Slot<float> tile_;                  // the windowed tile
    std::vector<Slot<float>> buffers_;  // one behind each step
    std::vector<double> ms_;            // of the window and of each step
};

}  // namespace covfast
