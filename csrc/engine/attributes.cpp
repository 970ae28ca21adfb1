#include "engine/attributes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace covfast {

Axes read_axes(const NodeSource& source, const char* key, int64_t low, int64_t along_depth) {
    const std::vector<int64_t> values = source.json.integers(key, source.rank, low, kWindowLimit);
    Axes axes{along_depth, along_depth, along_depth};
    std::copy(values.begin(), values.end(), axes.end() - source.rank);
    return axes;
}

const float* read_per_channel(const NodeSource& source, const char* key, int64_t channels) {
    const TensorView tensor = source.package.tensor(source.json.text(key));
    COVFAST_REQUIRE(tensor.shape == std::vector<int64_t>{channels}, FORMAT, key, ": got a tensor of ", tensor.count(),
                    " numbers, expected (", channels, ")");
    return tensor.data;
}

float read_float(const Json& json, const char* key) {
    const double value = json.number(key);
    COVFAST_REQUIRE(std::abs(value) <= std::numeric_limits<float>::max(), FORMAT, key, ": got ", value,
                    ", expected a number that float32 holds");
    return static_cast<float>(value);
}

}  // namespace covfast
