// Runs a recipe with a stage "slices", as lungmask's are: each axial slice by itself through a 2-D network, cropped to
// the body and brought to one size; then the labels of the whole volume are cleaned, and filled from another network's.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/view.h"
#include "engine/body_crop.h"
#include "engine/network.h"
#include "engine/segment.h"
#include "engine/stage_clock.h"
#include "kernels/backend.h"

namespace covfast {

// networks: one for each of slice_members(recipe), in that order. labels (D, H, W) of the input's grid, any strides:
// the recipe's own values. Memory: one byte for each pixel of the network's size and slice, and what a batch of slices
// takes; where the labels are cleaned or filled, a copy of them too.
// Throws SHAPE if the views disagree, FORMAT if a network does not fit or gives NaN, VALUE_RANGE if hu is not finite,
// CANCELLED.
std::vector<StageTime> label_slices(const Recipe& recipe, const std::vector<std::shared_ptr<const Network>>& networks,
                                    const CaseInput& input, const View3<uint8_t>& labels, const Context& context,
                                    const Progress& progress);

// Bytes that label_slices takes for a volume of this size beside it and its labels, at most; packed weights included.
size_t slices_bytes(const SliceRecipe& recipe, const std::vector<std::shared_ptr<const Network>>& networks,
                    const std::array<int64_t, 3>& size, const Context& context);

// What the network sees of slices [first, first + n): boxes (n), x (n, size) f32, as "slices" says: the box of the
// body, zoomed by order 1 (endpoint_zoom.h; int16 rounds to whole HU, halves away from 0), [low, high] HU to [0, 1].
void prepare_slices(const SliceRecipe& recipe, const CaseInput& input, int64_t first, int64_t n, SliceBox* boxes,
                    float* x, int threads);

// Names of the members of the package that the recipe runs, the first one first; "" for the package's main network.
std::vector<std::string> slice_members(const SliceRecipe& recipe);

}  // namespace covfast
