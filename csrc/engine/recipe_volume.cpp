// The stages of recipes that run over a whole volume in overlapping windows.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "engine/recipe_parse.h"

namespace covfast {
namespace {

constexpr size_t kMostChannels = 64, kMostMembers = 64;
constexpr int kDeepestCascade = 4;
constexpr double kLeastStep = 0.01;

bool runs_windows(const Recipe& recipe) { return recipe.kind == Recipe::Kind::kWindows; }

void require_behind_windows(const Json& stage, const Recipe& recipe) {
    COVFAST_REQUIRE(runs_windows(recipe), FORMAT, "recipe stage '", stage.text("stage"),
                    "': got it without a stage 'windows', expected one before");
}

void require_first(bool is_first, const Json& stage) {
    COVFAST_REQUIRE(is_first, FORMAT, "recipe stage '", stage.text("stage"), "': got a second one, expected one");
}

template <class Value>
Value one_of(const Json& stage, std::string_view key, std::initializer_list<std::pair<std::string_view, Value>> list) {
    const std::string& got = stage.text(key);
    std::string names;
    for (const auto& [name, value] : list) {
        if (got == name) return value;
        names += (names.empty() ? "" : ", ") + std::string(name);
    }
    fail(Code::FORMAT, "recipe stage '", stage.text("stage"), "', ", key, ": got '", got, "', expected one of ", names);
}

stage::GridOrders grid_orders(const Json& stage, int64_t highest_order) {
    stage::GridOrders orders;
    orders.order = static_cast<int>(stage.integer("order", 0, highest_order));
    orders.order_z = static_cast<int>(stage.integer("order_z", 0, highest_order));
    COVFAST_REQUIRE(orders.order != 2 && orders.order_z != 2, FORMAT, "recipe stage '", stage.text("stage"),
                    "', order: got 2, expected 0, 1 or 3");
    using Orders = stage::GridOrders;
    orders.separate_z = one_of<Orders::SeparateZ>(
        stage, "separate_z", {{"auto", Orders::kAuto}, {"never", Orders::kNever}, {"always", Orders::kAlways}});
    orders.anisotropy = number_in(stage, "anisotropy", 0, 1e6);
    return orders;
}

ChannelNorm channel_norm(const Json& channel) {
    using Kind = ChannelNorm::Kind;
    ChannelNorm norm;
    const std::string& scheme = channel.text("scheme");
    const Json* masked = channel.find("masked");
    norm.masked = masked != nullptr && masked->as_boolean("masked");
    if (scheme == "ct") {
        norm.kind = Kind::kClip;
        const double values[] = {channel.number("low"), channel.number("high"), channel.number("mean"),
                                 channel.number("std")};
        for (const double value : values)
            COVFAST_REQUIRE(std::abs(value) <= 1e9, FORMAT, "recipe stage 'normalise_channels': got ", value,
                            ", expected at most 1e9");
        COVFAST_REQUIRE(values[0] <= values[1] && values[3] >= 0, FORMAT, "recipe stage 'normalise_channels': got low ",
                        values[0], ", high ", values[1], ", std ", values[3], ", expected low <= high and std >= 0");
        norm.low = static_cast<float>(values[0]), norm.high = static_cast<float>(values[1]);
        norm.mean = static_cast<float>(values[2]), norm.std = static_cast<float>(values[3]);
        return norm;
    }
    norm.kind = scheme == "zscore"      ? Kind::kZScore
                : scheme == "rescale01" ? Kind::kRescale01
                : scheme == "rgb01"     ? Kind::kDivide
                                        : Kind::kNone;
    COVFAST_REQUIRE(norm.kind != Kind::kNone || scheme == "none", FORMAT,
                    "recipe stage 'normalise_channels', scheme: got '", scheme,
                    "', expected one of ct, zscore, rescale01, rgb01, none");
    return norm;
}

}  // namespace

std::vector<uint8_t> label_values(const Json& stage) {
    std::vector<uint8_t> values;
    for (const int64_t value : stage.integers("values", 0, 0, 255)) values.push_back(static_cast<uint8_t>(value));
    COVFAST_REQUIRE(!values.empty(), FORMAT, "recipe stage '", stage.text("stage"),
                    "', values: got none, expected one for each channel of the network's output");
    return values;
}

void parse_transpose(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"axes"});
    const std::vector<int64_t> axes = stage.integers("axes", 3, 0, 2);
    bool seen[3] = {};
    for (int i = 0; i < 3; ++i) recipe.volume.axes[i] = static_cast<int>(axes[i]), seen[axes[i]] = true;
    COVFAST_REQUIRE(seen[0] && seen[1] && seen[2], FORMAT, "recipe stage 'transpose', axes: got ",
                    stage.at("axes").print(), ", expected 0, 1 and 2 in some order");
}

void parse_normalise_channels(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"channels"});
    require_first(recipe.volume.norms.empty(), stage);
    for (const Json& channel : stage.array("channels")) recipe.volume.norms.push_back(channel_norm(channel));
    COVFAST_REQUIRE(!recipe.volume.norms.empty() && recipe.volume.norms.size() <= kMostChannels, FORMAT,
                    "recipe stage 'normalise_channels', channels: got ", recipe.volume.norms.size(), ", expected 1 to ",
                    kMostChannels);
    recipe.volume.normalises_first = !recipe.volume.resamples;
}

void parse_resample_volume(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"spacing_mm", "order", "order_z", "separate_z", "anisotropy"});
    require_first(!recipe.volume.resamples, stage);
    const std::vector<double> spacing = stage.numbers("spacing_mm", 3);
    for (int axis = 0; axis < 3; ++axis) {
        COVFAST_REQUIRE(spacing[axis] == 0 || (spacing[axis] >= 1e-4 && spacing[axis] <= 1e6), FORMAT,
                        "recipe stage 'resample_volume', spacing_mm: got ", spacing[axis],
                        ", expected 0.0001 to 1e6, or 0 for the image's own");
        recipe.volume.spacing_mm[axis] = spacing[axis];
    }
    recipe.volume.input_orders = grid_orders(stage, 3);
    recipe.volume.resamples = true;
}

void parse_previous(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"member", "labels", "stages"});
    require_first(recipe.volume.previous.recipe == nullptr, stage);
    static thread_local int depth = 0;
    COVFAST_REQUIRE(depth < kDeepestCascade, FORMAT, "recipe stage 'previous': got more than ", kDeepestCascade,
                    " in each other, expected fewer");
    struct Deeper {
        Deeper() { ++depth; }
        ~Deeper() { --depth; }
    } const deeper;
    for (const int64_t label : stage.integers("labels", 0, 1, 255))
        recipe.volume.previous.labels.push_back(static_cast<int>(label));
    Recipe inner = parse_stages(stage.array("stages"), stage.at("stages").print(200));
    COVFAST_REQUIRE(runs_windows(inner) && inner.orientation == recipe.orientation, FORMAT,
                    "recipe stage 'previous', stages: got another kind or orientation of recipe, expected windows and ",
                    recipe.orientation);
    if (inner.volume.members.empty()) inner.volume.members = {stage.text("member")};
    recipe.volume.previous.recipe = std::make_shared<const VolumeRecipe>(std::move(inner.volume));
}

void parse_windows(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"size", "step", "importance", "single", "mirror_axes"});
    recipe.kind = Recipe::Kind::kWindows;
    stage::Windows& windows = recipe.volume.windows;
    const std::vector<int64_t> size = stage.integers("size", 3, 1, kLargestSize);
    windows.options.window = {size[0], size[1], size[2]};
    windows.options.step.fill(number_in(stage, "step", kLeastStep, 1));
    windows.options.importance = one_of<Importance>(
        stage, "importance", {{"gaussian", Importance::kGaussian}, {"constant", Importance::kConstant}});
    windows.options.plain_if_single = one_of<bool>(stage, "single", {{"weighted", false}, {"plain", true}});
    for (const int64_t axis : stage.integers("mirror_axes", 0, 0, 2)) windows.mirrors[axis] = true;
}

void parse_network(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"members"});
    if (!runs_windows(recipe)) {
        only_keys(stage, {});
        recipe.tile_stages.push_back(stage::RunNetwork{});
        return;
    }
    require_first(recipe.volume.members.empty(), stage);
    if (stage.find("members") == nullptr) return;
    for (const Json& member : stage.array("members")) recipe.volume.members.push_back(member.as_text("members"));
    COVFAST_REQUIRE(recipe.volume.members.size() <= kMostMembers, FORMAT, "recipe stage 'network', members: got ",
                    recipe.volume.members.size(), ", expected at most ", kMostMembers);
}

void parse_softmax(const Json& stage, Recipe& recipe) {
    only_keys(stage, {});
    if (runs_windows(recipe)) {
        recipe.volume.has_softmax = true;
    } else {
        recipe.tile_stages.push_back(stage::Softmax{});
    }
}

void parse_stitch(const Json& stage, Recipe& recipe) {
    only_keys(stage, {});
    require_behind_windows(stage, recipe);
}

void parse_resample_logits(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"order", "order_z", "separate_z", "anisotropy"});
    require_behind_windows(stage, recipe);
    recipe.volume.logits_orders = grid_orders(stage, 1);
}

void parse_argmax(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"values"});
    if (recipe.kind == Recipe::Kind::kSlices) {
        recipe.slices.values = label_values(stage);
        return;
    }
    require_behind_windows(stage, recipe);
    recipe.volume.labels.values = label_values(stage);
}

void parse_regions(const Json& stage, Recipe& recipe) {
    parse_argmax(stage, recipe);
    COVFAST_REQUIRE(!recipe.volume.has_softmax, FORMAT,
                    "recipe stage 'regions': got it behind 'softmax', expected logits that exclude nothing");
    recipe.volume.labels.is_regions = true;
}

void parse_components(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"keep", "labels", "connectivity", "min_voxels"});
    require_behind_windows(stage, recipe);
    stage::KeepComponents keep;
    keep.only_largest = one_of<bool>(stage, "keep", {{"largest", true}, {"all", false}});
    keep.connectivity = static_cast<int>(stage.integer("connectivity", 6, 26));
    COVFAST_REQUIRE(keep.connectivity == 6 || keep.connectivity == 18 || keep.connectivity == 26, FORMAT,
                    "recipe stage 'components', connectivity: got ", keep.connectivity, ", expected 6, 18 or 26");
    if (stage.find("min_voxels") != nullptr) keep.min_voxels = stage.integer("min_voxels", 0, int64_t{1} << 50);
    for (const Json& group : stage.array("labels")) {
        COVFAST_REQUIRE(keep.labels.size() < 256 && recipe.volume.components.size() < 256, FORMAT,
                        "recipe stage 'components': got more than 256 groups or stages, expected fewer");
        keep.labels.emplace_back();
        for (const Json& label : group.as_array("labels"))
            keep.labels.back().push_back(static_cast<int>(label.as_integer("labels", 1, 255)));
    }
    recipe.volume.components.push_back(std::move(keep));
}

void require_windows(const Recipe& recipe, const std::string& text) {
    const VolumeRecipe& volume = recipe.volume;
    COVFAST_REQUIRE(!volume.norms.empty() && volume.resamples, FORMAT, "recipe: got ", text,
                    ", expected 'normalise_channels' and 'resample_volume' before 'windows'");
    COVFAST_REQUIRE(recipe.tile_stages.empty() && !volume.labels.values.empty(), FORMAT, "recipe: got ", text,
                    ", expected only 'network', 'softmax', 'stitch', 'resample_logits' behind 'windows', and an argmax "
                    "or regions at the end");
    COVFAST_REQUIRE(!recipe.finds_lungs && !recipe.crops, FORMAT,
                    "recipe: got 'lungs' before 'windows', expected a crop to 'nonzero' at most");
}

}  // namespace covfast
