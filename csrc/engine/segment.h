// Runs a recipe over one CT volume: the one hot loop. Memory beyond input and outputs does not grow with depth.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/view.h"
#include "engine/network.h"
#include "engine/recipe.h"
#include "engine/stage_clock.h"
#include "kernels/backend.h"

namespace covfast {

struct CaseInput {
    const void* hu;                 // (D, H, W), canonical orientation SPL
    bool is_float;                  // f32, else i16
    std::array<int64_t, 3> size;    // D, H, W
    std::array<int64_t, 3> stride;  // elements
    std::array<double, 3> spacing_mm;
};

struct CaseOutput {
    View3<uint8_t> labels;     // 0 background, 1 left lung, 2 right lung, and the recipe's own labels
    View3<uint8_t> lungs;      // 1 left, 2 right, lesions included; data null: the recipe looks for none
    View3<float> probability;  // of the thresholded channel, 0 outside the crop; data null: not asked for
    bool has_lungs = false;    // lungs are given, and not looked for
};

// Throws NO_LUNGS if the recipe needs lungs and there are none; CANCELLED; SHAPE if the views disagree.
std::vector<StageTime> segment_volume(const Recipe& recipe, std::shared_ptr<const Network> network,
                                      const CaseInput& input, const CaseOutput& output, const Context& context,
                                      const Progress& progress);

// The tile stages alone on one slice, the whole of it: probability (H, W) of what `threshold` would compare. `window`
// replaces the recipe's window stage.
void segment_slice(const Recipe& recipe, std::shared_ptr<const Network> network, const CaseInput& slice,
                   const stage::Window& window, const View3<float>& probability, const Context& context,
                   const Progress& progress);

}  // namespace covfast
