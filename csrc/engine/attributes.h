// The attributes of a node that several ops have, checked: every function throws FORMAT naming the attribute.
#pragma once
#include <cstdint>

#include "engine/graph.h"

namespace covfast {

constexpr int64_t kWindowLimit = 1 << 12;  // kernel, stride, dilation, padding: keeps every product inside 64 bits

// An attribute with one integer from `low` on per axis, as (D, H, W); a 2-D network has `along_depth` along D.
Axes read_axes(const NodeSource& source, const char* key, int64_t low, int64_t along_depth);

// A tensor with one number per channel.
const float* read_per_channel(const NodeSource& source, const char* key, int64_t channels);

float read_float(const Json& json, const char* key);

}  // namespace covfast
