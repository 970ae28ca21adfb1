#include "kernels/window_hu.h"

#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void window_hu(const WindowHuParams& params, const Context& context) {
    for (int64_t n : params.size) COVFAST_REQUIRE(n >= 0, SHAPE, "x: got a size of ", n, ", expected 0 or more");
    COVFAST_REQUIRE(params.low < params.high && std::isfinite(params.high - params.low), VALUE_RANGE, "window: got [",
                    params.low, ", ", params.high, "], expected finite numbers, low < high");
    run(context, &Backend::window_hu, "window_hu", params);
}

}  // namespace covfast
