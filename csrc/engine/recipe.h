// A recipe: the ordered stages that turn a CT volume into labels. Data only; `segment.h` interprets it.
//
//   {"version": 1, "stages": [
//     {"stage": "orient", "to": "SPL"},                                      volume stages, in this order
//     {"stage": "lungs"},
//     {"stage": "crop", "to": "lungs", "margin_mm": [0, 15, 15]},
//     {"stage": "tile", "size": [1, 0, 0]},                                  0: the whole extent of the crop
//     {"stage": "window", "low_hu": -1250, "high_hu": 250},                  tile stages, any order that fits
//     {"stage": "resample", "size": [0, 352, 352], "antialias": true},       0: as it is
//     {"stage": "normalise", "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]},     one channel becomes as many as listed
//     {"stage": "network"}, {"stage": "softmax"}, {"stage": "channel", "index": 1},
//     {"stage": "resample_back"},
//     {"stage": "threshold", "above": 0.5, "label": 3, "within": "lungs"}]}  the end: what becomes a label
//
// Without lungs the label is the model's own, 1 to 255, and "within" is "volume".
//
// A whole volume in overlapping windows, as nnU-Net does it:
//
//     {"stage": "orient", "to": "file"},                                     as the file stores it
//     {"stage": "transpose", "axes": [0, 1, 2]},                             all sizes below are those behind it
//     {"stage": "crop", "to": "nonzero"},
//     {"stage": "normalise_channels", "channels": [{"scheme": "ct", "low": -1004, "high": 1588, "mean": -50, "std":
//     150}]},
//     {"stage": "resample_volume", "spacing_mm": [1.25, 0.8, 0.8], "order": 3, "order_z": 0, "separate_z": "auto",
//      "anisotropy": 3},                                                     spacing 0: as it is
//     {"stage": "previous", "member": "3d_lowres", "labels": [1, 2], "stages": [...]},   a cascade's one-hot channels
//     {"stage": "windows", "size": [56, 192, 160], "step": 0.5, "importance": "gaussian", "single": "weighted",
//      "mirror_axes": [0, 1, 2]},
//     {"stage": "network", "members": ["fold_0", "fold_1"]}, {"stage": "softmax"}, {"stage": "stitch"},
//     {"stage": "resample_logits", "order": 1, "order_z": 0, "separate_z": "auto", "anisotropy": 3},
//     {"stage": "argmax", "values": [0, 1, 2]},                              or "regions"
//     {"stage": "components", "keep": "largest", "labels": [[1], [1, 2]], "connectivity": 26, "min_voxels": 0}
//
// Each axial slice by itself, and the labels of the volume behind it, as lungmask does it:
//
//     {"stage": "orient", "to": "SPL"},
//     {"stage": "slices", "crop": "body", "size": [256, 256], "low_hu": -1024, "high_hu": 600},      or "crop": "none"
//     {"stage": "network"}, {"stage": "argmax", "values": [0, 1, 2]},
//     {"stage": "lung_components"},                                                                  optional
//     {"stage": "fill_from", "member": "R231", "stages": [...]}              optional: from "slices" on, of a member
//
// The list of stages is closed: another name is an error. A new stage is one struct here, one row of the parser's table
// and its work in tile_steps.cpp, segment.cpp or volume_recipe.cpp.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/label_sink.h"
#include "engine/volume_input.h"
#include "engine/window_plan.h"

namespace covfast {

class Json;

namespace stage {

struct Window {
    float low_hu, high_hu;
};
struct Resample {
    std::array<int64_t, 3> size;  // 0 keeps the axis
    bool antialias;
};
struct Normalise {
    std::vector<float> mean, std;
};
struct RunNetwork {};
struct Softmax {};
struct Channel {
    int64_t index;
};
struct ResampleBack {};

using Tile = std::variant<Window, Resample, Normalise, RunNetwork, Softmax, Channel, ResampleBack>;

struct Crop {
    std::array<double, 3> margin_mm;
};
struct Threshold {
    float above;
    uint8_t label;
    bool within_lungs;
};

// Resampling between grids of other spacing. Slices far apart are resampled within themselves by `order`, and from
// slice to slice by `order_z`.
struct GridOrders {
    enum SeparateZ { kAuto, kNever, kAlways };
    int order = 3, order_z = 0;
    SeparateZ separate_z = kAuto;
    double anisotropy = 3;  // kAuto: where the largest spacing is more than as many times the smallest
};
struct Windows {
    WindowOptions options;
    std::array<bool, 3> mirrors{};  // axes along which windows are mirrored too
};
// Components of each group of labels that stay: the largest one (of some size), or all of some size.
struct KeepComponents {
    bool only_largest;
    std::vector<std::vector<int>> labels;
    int connectivity;
    int64_t min_voxels = 0;
};

}  // namespace stage

struct VolumeRecipe;

// A cascade: the labels of another member, run by a recipe of its own, become one-hot channels of the input.
struct PreviousStage {
    std::vector<int> labels;
    std::shared_ptr<const VolumeRecipe> recipe;
};

// What a recipe with a stage "windows" does, in this order.
struct VolumeRecipe {
    std::array<int, 3> axes{0, 1, 2};  // of the transpose
    bool crops = false;                // to what is not 0
    std::vector<ChannelNorm> norms;    // one for each channel of the image
    bool normalises_first = true;
    bool resamples = false;
    std::array<double, 3> spacing_mm{};  // 0: as it is
    stage::GridOrders input_orders, logits_orders;
    PreviousStage previous;  // recipe null: none
    stage::Windows windows;
    std::vector<std::string> members;  // of the ensemble; empty: the package's main network
    bool has_softmax = false;
    LabelRule labels;
    std::vector<stage::KeepComponents> components;
};

// What a recipe with a stage "slices" does, in this order.
struct SliceRecipe {
    bool crops_body = false;
    std::array<int64_t, 2> size{};            // that the box is brought to
    float low_hu = 0, high_hu = 0;            // clipped to; they become 0 and 1
    std::string member;                       // whose network; empty: the package's main one
    std::vector<uint8_t> values;              // of the network's channels
    bool cleans = false;                      // lung_components.h
    std::shared_ptr<const SliceRecipe> fill;  // lobes within the lungs of another member; null: none
};

struct Recipe {
    enum class Kind { kTiles, kWindows, kSlices };
    Kind kind = Kind::kTiles;
    std::string orientation = "SPL";  // the direction in which D, H, W grow while the recipe runs; or "file"
    VolumeRecipe volume;              // of kWindows
    SliceRecipe slices;               // of kSlices; what follows is of kTiles
    bool finds_lungs = false;
    bool crops = false;
    stage::Crop crop{};
    std::array<int64_t, 3> tile_size{};  // 0: the whole extent
    std::vector<stage::Tile> tile_stages;
    stage::Threshold threshold{};

    // Throws FORMAT, naming the stage and the parameter.
    static Recipe parse(const Json& json);
};

}  // namespace covfast
