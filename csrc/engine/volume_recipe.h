// Runs a recipe of windows over one image: crop, normalise, resample, network in windows, stitch, resample back,
// labels. Beyond the image, the prepared input and the labels its memory does not grow with depth.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "engine/network.h"
#include "engine/recipe.h"
#include "engine/stage_clock.h"

namespace covfast {

struct ImageInput {
    std::vector<RawChannel> channels;  // of one size, (D, H, W)
    std::array<double, 3> spacing_mm;
};

using Members = std::map<std::string, std::shared_ptr<const Network>>;  // by name; "" is the main network

// output: of the image's size. Throws FORMAT where recipe and networks do not fit each other or an output is not
// finite, SHAPE where the image does not fit them, MEMORY_LIMIT, CANCELLED.
std::vector<StageTime> label_volume(const VolumeRecipe& recipe, const Members& members, const ImageInput& image,
                                    const LabelOutput& output, Accumulate accumulate, const Context& context,
                                    const Progress& progress);

// Bytes that label_volume takes beside image and labels where nothing is cropped, the packed weights of the networks
// included: no image of this size takes more.
size_t volume_bytes(const VolumeRecipe& recipe, const Members& members, std::array<int64_t, 3> size,
                    std::array<double, 3> spacing_mm, bool has_probabilities, Accumulate accumulate,
                    const Context& context);

}  // namespace covfast
