// What the parsers of stages share: recipe.cpp has the list of all stages, recipe_volume.cpp those of whole volumes.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json.h"
#include "engine/recipe.h"

namespace covfast {

constexpr double kLargestHu = 1e6;
constexpr int64_t kLargestSize = 1 << 15;

// Throw FORMAT, naming the stage and the parameter.
void only_keys(const Json& stage, std::initializer_list<std::string_view> allowed);
double number_in(const Json& stage, std::string_view key, double low, double high);
std::array<int64_t, 3> sizes(const Json& stage, std::string_view key);

// `text`: the stages for an error about all of them.
Recipe parse_stages(const std::vector<Json>& stages, const std::string& text);

void parse_transpose(const Json& stage, Recipe& recipe);
void parse_normalise_channels(const Json& stage, Recipe& recipe);
void parse_resample_volume(const Json& stage, Recipe& recipe);
void parse_previous(const Json& stage, Recipe& recipe);
void parse_windows(const Json& stage, Recipe& recipe);
void parse_network(const Json& stage, Recipe& recipe);
void parse_softmax(const Json& stage, Recipe& recipe);
void parse_stitch(const Json& stage, Recipe& recipe);
void parse_resample_logits(const Json& stage, Recipe& recipe);
void parse_argmax(const Json& stage, Recipe& recipe);
void parse_regions(const Json& stage, Recipe& recipe);
void parse_components(const Json& stage, Recipe& recipe);
void require_windows(const Recipe& recipe, const std::string& text);

std::vector<uint8_t> label_values(const Json& stage);
void parse_slices(const Json& stage, Recipe& recipe);
void parse_lung_components(const Json& stage, Recipe& recipe);
void parse_fill_from(const Json& stage, Recipe& recipe);
void require_slices(const Recipe& recipe, const std::string& text);

}  // namespace covfast
