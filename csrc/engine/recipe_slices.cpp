// The stages of recipes that run over axial slices one by one.
#include "core/error.h"
#include "engine/recipe_parse.h"

namespace covfast {
namespace {

constexpr int64_t kLargestSlice = 4096;  // as large as CT slices get; one f32 channel of it is 64 MiB

void require_behind_slices(const Json& stage, const Recipe& recipe) {
    COVFAST_REQUIRE(recipe.kind == Recipe::Kind::kSlices, FORMAT, "recipe stage '", stage.text("stage"),
                    "': got it without a stage 'slices', expected one before");
}

}  // namespace

void parse_slices(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"crop", "size", "low_hu", "high_hu"});
    recipe.kind = Recipe::Kind::kSlices;
    const std::string& crop = stage.text("crop");
    COVFAST_REQUIRE(crop == "body" || crop == "none", FORMAT, "recipe stage 'slices', crop: got '", crop,
                    "', expected 'body' or 'none'");
    recipe.slices.crops_body = crop == "body";
    const std::vector<int64_t> size = stage.integers("size", 2, 1, kLargestSlice);
    recipe.slices.size = {size[0], size[1]};
    recipe.slices.low_hu = static_cast<float>(number_in(stage, "low_hu", -kLargestHu, kLargestHu));
    recipe.slices.high_hu = static_cast<float>(number_in(stage, "high_hu", -kLargestHu, kLargestHu));
    COVFAST_REQUIRE(recipe.slices.low_hu < recipe.slices.high_hu, FORMAT, "recipe stage 'slices': got [",
                    recipe.slices.low_hu, ", ", recipe.slices.high_hu, "], expected low_hu < high_hu");
}

void parse_lung_components(const Json& stage, Recipe& recipe) {
    only_keys(stage, {});
    require_behind_slices(stage, recipe);
    recipe.slices.cleans = true;
}

void parse_fill_from(const Json& stage, Recipe& recipe) {
    only_keys(stage, {"member", "stages"});
    require_behind_slices(stage, recipe);
    COVFAST_REQUIRE(recipe.slices.fill == nullptr, FORMAT, "recipe stage 'fill_from': got it twice, expected it once");
    const std::vector<Json>& stages = stage.array("stages");
    // Looked at before they are parsed: no depth of stages within stages.
    for (const Json& inner : stages)
        COVFAST_REQUIRE(inner.text("stage") != "fill_from", FORMAT,
                        "recipe stage 'fill_from', stages: got another 'fill_from', expected none");
    Recipe inner = parse_stages(stages, stage.at("stages").print(200));
    COVFAST_REQUIRE(inner.kind == Recipe::Kind::kSlices && inner.orientation == recipe.orientation, FORMAT,
                    "recipe stage 'fill_from', stages: got another kind or orientation of recipe, expected slices");
    inner.slices.member = stage.text("member");
    recipe.slices.fill = std::make_shared<const SliceRecipe>(std::move(inner.slices));
}

void require_slices(const Recipe& recipe, const std::string& text) {
    COVFAST_REQUIRE(recipe.orientation == "SPL", FORMAT, "recipe stage 'orient', to: got '", recipe.orientation,
                    "', expected 'SPL' for axial slices");
    const VolumeRecipe& volume = recipe.volume;
    COVFAST_REQUIRE(!recipe.finds_lungs && !recipe.crops && !volume.crops && volume.norms.empty() &&
                        !volume.resamples && volume.previous.recipe == nullptr,
                    FORMAT, "recipe: got ", text, ", expected nothing but 'orient' before 'slices'");
    const std::vector<stage::Tile>& inner = recipe.tile_stages;
    COVFAST_REQUIRE(inner.size() == 1 && std::holds_alternative<stage::RunNetwork>(inner.front()), FORMAT,
                    "recipe: got ", text, ", expected 'network' alone behind 'slices'");
    COVFAST_REQUIRE(!recipe.slices.values.empty() && !volume.labels.is_regions, FORMAT, "recipe: got ", text,
                    ", expected 'argmax' behind the network");
}

}  // namespace covfast
