#include "kernels/resize3d.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/linear_axis.h"

namespace covfast {

LinearAxis linear_axis(int64_t n_in, int64_t n_out, bool align_corners, double factor) {
    COVFAST_REQUIRE(n_in >= 1 && n_out >= 1, SHAPE, "size: got ", n_in, " to ", n_out, ", expected at least 1");
    COVFAST_REQUIRE(factor >= 0 && std::isfinite(factor), VALUE_RANGE, "factor: got ", factor,
                    ", expected a finite number above 0");
    float scale = static_cast<float>(n_in) / static_cast<float>(n_out);
    if (align_corners) {
        scale = n_out > 1 ? static_cast<float>(n_in - 1) / static_cast<float>(n_out - 1) : 0.0f;
    } else if (factor > 0) {
        scale = static_cast<float>(1.0 / factor);
    }
    LinearAxis axis;
    axis.left.reserve(n_out), axis.fraction.reserve(n_out);
    for (int64_t o = 0; o < n_out; ++o) {
        const float at = static_cast<float>(o);
        const float position = std::max(align_corners ? at * scale : scale * (at + 0.5f) - 0.5f, 0.0f);
        const int64_t left = std::min(static_cast<int64_t>(position), n_in - 1);
        axis.left.push_back(left);
        axis.fraction.push_back(left + 1 < n_in ? position - static_cast<float>(left) : 0.0f);
    }
    return axis;
}

void resize3d(const Resize3dParams& p, const Context& context) {
    COVFAST_REQUIRE(p.planes >= 0, SHAPE, "x: got ", p.planes, " planes, expected 0 or more");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.out_size[a] >= 1, SHAPE, "size: got ", p.in_size[a], " to ",
                        p.out_size[a], ", expected at least 1");
    run(context, &Backend::resize3d, "resize3d", p);
}

}  // namespace covfast
