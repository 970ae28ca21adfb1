#include "kernels/spline_axis.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void spline_axis(const SplineAxisParams& params, const Context& context) {
    COVFAST_REQUIRE(params.outer >= 0 && params.inner >= 0 && params.n_out >= 0 && params.n_in >= 1 &&
                        params.n_in <= kMaxSplineLine,
                    SHAPE, "x: got (", params.outer, ", ", params.n_in, ", ", params.inner, ") to ", params.n_out,
                    ", expected sizes of 0 or more and an axis of 1 to ", kMaxSplineLine);
    const bool readable =
        std::string_view(context.backend->device) == "cpu";  // a device's table was checked before upload
    for (int64_t o = 0; readable && o < params.n_out; ++o)
        COVFAST_REQUIRE(params.first[o] >= -2 && params.first[o] <= params.n_in - 2, VALUE_RANGE, "first: got ",
                        params.first[o], ", expected -2 to ", params.n_in - 2);
    run(context, &Backend::spline_axis, "spline_axis", params);
}

SplineTable spline_table(int64_t n_in, int64_t n_out, int order) {
    COVFAST_REQUIRE(n_in >= 1 && n_out >= 1, SHAPE, "size: got ", n_in, " to ", n_out, ", expected at least 1");
    COVFAST_REQUIRE(order == 0 || order == 1 || order == 3, VALUE_RANGE, "order: got ", order, ", expected 0, 1 or 3");
    SplineTable table{n_in, n_out, order == 3, {}, {}};
    const double scale = static_cast<double>(n_in) / n_out;
    for (int64_t o = 0; o < n_out; ++o) {
        const double t = (o + 0.5) * scale - 0.5;
        const double whole = std::clamp(std::floor(order == 0 ? t + 0.5 : t), -1.0, n_in - 1.0), f = t - whole;
        const double g = 1 - f;
        table.first.push_back(static_cast<int64_t>(whole) - 1);
        const double cubic[] = {g * g * g / 6, (4 - 6 * f * f + 3 * f * f * f) / 6, (4 - 6 * g * g + 3 * g * g * g) / 6,
                                f * f * f / 6};
        const double linear[] = {0, g, f, 0}, nearest[] = {0, 1, 0, 0};
        for (int64_t k = 0; k < kSplineTaps; ++k)
            table.weight.push_back(static_cast<float>((order == 3 ? cubic : order == 1 ? linear : nearest)[k]));
    }
    return table;
}

SplineAxisParams spline_params(const SplineTable& table, const float* x, int64_t outer, int64_t inner, float* y,
                               float low, float high) {
    return {x,
            outer,
            table.n_in,
            inner,
            table.n_out,
            table.n_in * inner,
            table.n_out * inner,
            table.first.data(),
            table.weight.data(),
            table.prefilter,
            low,
            high,
            y};
}

}  // namespace covfast
