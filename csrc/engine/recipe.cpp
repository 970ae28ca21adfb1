#include "engine/recipe.h"

#include <initializer_list>
#include <string_view>

#include "core/error.h"
#include "engine/json.h"
#include "engine/recipe_parse.h"

namespace covfast {

void only_keys(const Json& stage, std::initializer_list<std::string_view> allowed) {
    for (const auto& [key, value] : stage.as_object("stage")) {
        bool known = key == "stage";
        for (std::string_view name : allowed) known = known || key == name;
        COVFAST_REQUIRE(known, FORMAT, "recipe stage '", stage.text("stage"), "': got the parameter '", key,
                        "', expected one that this stage has");
    }
}

double number_in(const Json& stage, std::string_view key, double low, double high) {
    const double value = stage.number(key);
    COVFAST_REQUIRE(value >= low && value <= high, FORMAT, "recipe stage '", stage.text("stage"), "', ", key, ": got ",
                    value, ", expected ", low, " to ", high);
    return value;
}

std::array<int64_t, 3> sizes(const Json& stage, std::string_view key) {
    const std::vector<int64_t> list = stage.integers(key, 3, 0, kLargestSize);
    return {list[0], list[1], list[2]};
}

namespace {

// The one label that a recipe of tiles may set: measurements and preview look for it, and another would read as "none".
constexpr int64_t kInfection = 3;

void parse_orient(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"to"});
    recipe.orientation = stage.text("to");
    if (recipe.orientation == "file") return;
    std::string pairs;  // each letter's axis: every axis once
    for (char letter : recipe.orientation)
        pairs += static_cast<char>('0' + std::string_view("SIPALR").find(letter) / 2);
    const bool valid = recipe.orientation.size() == 3 && pairs.find('0') != pairs.npos &&
                       pairs.find('1') != pairs.npos && pairs.find('2') != pairs.npos;
    COVFAST_REQUIRE(valid, FORMAT, "recipe stage 'orient', to: got '", recipe.orientation,
                    "', expected three letters, one of each pair S/I, P/A, L/R");
}

void parse_lungs(const Json& stage, Recipe& recipe) {
    only_keys(stage, {});
    recipe.finds_lungs = true;
}

void parse_crop(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"to", "margin_mm"});
    if (stage.text("to") == "nonzero") {
        only_keys(stage, {"to"});
        recipe.volume.crops = true;
        return;
    }
    COVFAST_REQUIRE(stage.text("to") == "lungs" && recipe.finds_lungs, FORMAT, "recipe stage 'crop', to: got '",
                    stage.text("to"), "', expected 'nonzero', or 'lungs' behind a stage 'lungs'");
    const std::vector<double> margin = stage.numbers("margin_mm", 3);
    for (int axis = 0; axis < 3; ++axis) {
        COVFAST_REQUIRE(margin[axis] >= 0 && margin[axis] <= 1000, FORMAT, "recipe stage 'crop', margin_mm: got ",
                        margin[axis], ", expected 0 to 1000");
        recipe.crop.margin_mm[axis] = margin[axis];
    }
    recipe.crops = true;
}

// In-plane tiles would have to be stitched, which no stage does yet: a tile spans H and W of the crop.
void parse_tile(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"size"});
    recipe.tile_size = sizes(stage, "size");
    COVFAST_REQUIRE(recipe.tile_size[1] == 0 && recipe.tile_size[2] == 0, FORMAT, "recipe stage 'tile', size: got ",
                    stage.at("size").print(), ", expected 0 (the whole extent) for H and W");
}

void parse_window(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"low_hu", "high_hu"});
    const double low = number_in(stage, "low_hu", -kLargestHu, kLargestHu);
    const double high = number_in(stage, "high_hu", -kLargestHu, kLargestHu);
    COVFAST_REQUIRE(low < high, FORMAT, "recipe stage 'window': got [", low, ", ", high,
                    "], expected low_hu < high_hu");
    recipe.tile_stages.push_back(stage::Window{static_cast<float>(low), static_cast<float>(high)});
}

void parse_resample(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"size", "antialias"});
    recipe.tile_stages.push_back(stage::Resample{sizes(stage, "size"), stage.boolean("antialias")});
}

void parse_normalise(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"mean", "std"});
    const std::vector<double> mean = stage.numbers("mean"), std = stage.numbers("std");
    COVFAST_REQUIRE(!mean.empty() && mean.size() <= 64 && mean.size() == std.size(), FORMAT,
                    "recipe stage 'normalise': got ", mean.size(), " means and ", std.size(),
                    " stds, expected one of each per channel, 1 to 64");
    stage::Normalise normalise;
    for (size_t c = 0; c < mean.size(); ++c) {
        COVFAST_REQUIRE(std[c] > 1e-12 && std[c] < 1e12 && mean[c] > -1e12 && mean[c] < 1e12, FORMAT,
                        "recipe stage 'normalise': got mean ", mean[c], " and std ", std[c], ", expected std > 0");
        normalise.mean.push_back(static_cast<float>(mean[c]));
        normalise.std.push_back(static_cast<float>(std[c]));
    }
    recipe.tile_stages.push_back(std::move(normalise));
}

void parse_channel(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"index"});
    recipe.tile_stages.push_back(stage::Channel{stage.integer("index", 0, 1 << 20)});
}

template <class Stage>
void parse_plain(const Json& stage, Recipe& recipe) {
    only_keys(stage, {});
    recipe.tile_stages.push_back(Stage{});
}

void parse_threshold(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"above", "label", "within"});
    const std::string& within = stage.text("within");
    COVFAST_REQUIRE(within == "volume" || (within == "lungs" && recipe.finds_lungs), FORMAT,
                    "recipe stage 'threshold', within: got '", within,
                    "', expected 'volume', or 'lungs' behind a stage 'lungs'");
    // Beside lungs, which have labels of their own, only infection is known.
    const int least = recipe.finds_lungs ? kInfection : 1, most = recipe.finds_lungs ? kInfection : 255;
    recipe.threshold = {static_cast<float>(number_in(stage, "above", 0, 1)),
                        static_cast<uint8_t>(stage.integer("label", least, most)), within == "lungs"};
}

// The closed list, and where each stage may stand: the phase never goes back.
enum class Phase { kVolume, kTile, kInTile, kEnd, kAfter };

struct StageRow {
    std::string_view name;
    Phase phase;
    void (*parse)(const Json& stage, Recipe& recipe);
};

constexpr StageRow kStages[] = {
    {"orient", Phase::kVolume, parse_orient},
    {"lungs", Phase::kVolume, parse_lungs},
    {"crop", Phase::kVolume, parse_crop},
    {"transpose", Phase::kVolume, parse_transpose},
    {"normalise_channels", Phase::kVolume, parse_normalise_channels},
    {"resample_volume", Phase::kVolume, parse_resample_volume},
    {"previous", Phase::kVolume, parse_previous},
    {"tile", Phase::kTile, parse_tile},
    {"windows", Phase::kTile, parse_windows},
    {"slices", Phase::kTile, parse_slices},
    {"window", Phase::kInTile, parse_window},
    {"resample", Phase::kInTile, parse_resample},
    {"normalise", Phase::kInTile, parse_normalise},
    {"network", Phase::kInTile, parse_network},
    {"softmax", Phase::kInTile, parse_softmax},
    {"stitch", Phase::kInTile, parse_stitch},
    {"resample_logits", Phase::kInTile, parse_resample_logits},
    {"channel", Phase::kInTile, parse_channel},
    {"resample_back", Phase::kInTile, parse_plain<stage::ResampleBack>},
    {"threshold", Phase::kEnd, parse_threshold},
    {"argmax", Phase::kEnd, parse_argmax},
    {"regions", Phase::kEnd, parse_regions},
    {"components", Phase::kAfter, parse_components},
    {"lung_components", Phase::kAfter, parse_lung_components},
    {"fill_from", Phase::kAfter, parse_fill_from},
};

const StageRow& row_of(const std::string& name) {
    std::string names;
    for (const StageRow& row : kStages) {
        if (row.name == name) return row;
        names += (names.empty() ? "" : ", ") + std::string(row.name);
    }
    fail(Code::FORMAT, "recipe stage: got '", name, "', expected one of ", names);
}

void require_tiles(const Recipe& recipe, const std::string& text) {
    const bool windowed =
        !recipe.tile_stages.empty() && std::holds_alternative<stage::Window>(recipe.tile_stages.front());
    COVFAST_REQUIRE(windowed, FORMAT, "recipe: got ", text,
                    ", expected a tile, a window as the first of its stages, and a threshold at the end");
    COVFAST_REQUIRE(recipe.tile_stages.size() <= 64, FORMAT, "recipe: got ", recipe.tile_stages.size(),
                    " tile stages, expected at most 64");
    COVFAST_REQUIRE(recipe.orientation != "file", FORMAT,
                    "recipe stage 'orient', to: got 'file', expected three letters where lungs are looked for");
}

}  // namespace

Recipe parse_stages(const std::vector<Json>& stages, const std::string& text) {
    Recipe recipe;
    Phase phase = Phase::kVolume;
    bool tiled = false, ended = false;
    for (const Json& stage : stages) {
        const StageRow& row = row_of(stage.text("stage"));
        const bool once = row.phase == Phase::kTile || row.phase == Phase::kEnd;
        COVFAST_REQUIRE(row.phase >= phase && !(once && row.phase == phase), FORMAT, "recipe stage '", row.name,
                        "': got it out of order, expected volume stages, one tile or windows, their stages, one end");
        phase = row.phase;
        tiled = tiled || phase == Phase::kTile;
        ended = ended || phase == Phase::kEnd;
        row.parse(stage, recipe);
    }
    COVFAST_REQUIRE(tiled && ended, FORMAT, "recipe: got ", text,
                    ", expected a tile or windows, and a threshold, argmax or regions at the end");
    switch (recipe.kind) {
        case Recipe::Kind::kTiles:
            require_tiles(recipe, text);
            break;
        case Recipe::Kind::kWindows:
            require_windows(recipe, text);
            break;
        case Recipe::Kind::kSlices:
            require_slices(recipe, text);
            break;
    }
    return recipe;
}

Recipe Recipe::parse(const Json& json) {
    json.integer("version", 1, 1);
    return parse_stages(json.array("stages"), json.at("stages").print(200));
}

}  // namespace covfast
