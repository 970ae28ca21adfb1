#include "kernels/resize3d.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/resize_axis.h"

namespace covfast {

namespace {

// Where output o lies, in samples. In f32, as torch has it: the sample that a nearest resize copies hangs on it.
float position_of(int64_t o, ResizeKind kind, float scale) {
    const float at = static_cast<float>(o);
    if (kind == ResizeKind::kLinear) return std::max(scale * (at + 0.5f) - 0.5f, 0.0f);
    return (kind == ResizeKind::kNearestExact ? at + 0.5f : at) * scale;
}

}  // namespace

ResizeAxis resize_axis(int64_t n_in, int64_t n_out, ResizeKind kind, double factor) {
    COVFAST_REQUIRE(n_in >= 1 && n_out >= 1, SHAPE, "size: got ", n_in, " to ", n_out, ", expected at least 1");
    COVFAST_REQUIRE(factor >= 0 && std::isfinite(factor), VALUE_RANGE, "factor: got ", factor,
                    ", expected a finite number above 0");
    float scale = static_cast<float>(n_in) / static_cast<float>(n_out);
    if (kind == ResizeKind::kLinearCorners) {
        scale = n_out > 1 ? static_cast<float>(n_in - 1) / static_cast<float>(n_out - 1) : 0.0f;
    } else if (factor > 0) {
        scale = static_cast<float>(1.0 / factor);
    }
    const bool is_linear = kind == ResizeKind::kLinear || kind == ResizeKind::kLinearCorners;
    ResizeAxis axis;
    axis.left.reserve(n_out), axis.fraction.reserve(is_linear ? n_out : 0);
    for (int64_t o = 0; o < n_out; ++o) {
        const float position = position_of(o, kind, scale);
        const int64_t left = std::min(static_cast<int64_t>(position), n_in - 1);
        axis.left.push_back(left);
        if (is_linear) axis.fraction.push_back(left + 1 < n_in ? position - static_cast<float>(left) : 0.0f);
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
