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
// The list of stages is closed: another name is an error. A new stage is one struct here, one row of the parser's table
// and one step in tile_steps.cpp or segment.cpp.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

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

}  // namespace stage

struct Recipe {
    std::string orientation = "SPL";  // the direction in which D, H, W grow while the recipe runs
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
