#include "kernels/norm_blocked.h"

#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

size_t norm_blocked_workspace(int64_t blocks, int64_t plane, bool has_stats) {
    const int64_t parts = has_stats ? 0 : (plane + kNormPart - 1) / kNormPart;
    return static_cast<size_t>(blocks * kLanes) * (4 * sizeof(float) + parts * 2 * sizeof(double));
}

void norm_blocked(const NormBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.blocks >= 0 && p.plane >= 0, SHAPE, "x: got (", p.blocks, ", ", p.plane,
                    ", 16), expected sizes of 0 or more");
    COVFAST_REQUIRE(p.stats == nullptr || p.parts >= 1, SHAPE, "stats: got ", p.parts, " parts, expected at least 1");
    COVFAST_REQUIRE(p.eps >= 0 && std::isfinite(p.eps), VALUE_RANGE, "eps: got ", p.eps, ", expected 0 or more");
    COVFAST_REQUIRE(p.x_element != Element::kU8 && p.residual_element != Element::kU8, VALUE_RANGE,
                    "x, before, after: got u8, expected f32 or bf16");
    COVFAST_REQUIRE(p.y_element != Element::kU8 || p.y_scale > 0, VALUE_RANGE, "y_scale: got ", p.y_scale,
                    ", expected a number above 0");
    COVFAST_REQUIRE(p.epilogue.kind != EpilogueKind::kLeaky || p.epilogue.slope != nullptr, VALUE_RANGE,
                    "slope: got none, expected one a lane");
    run(context, &Backend::norm_blocked, "norm_blocked", p);
}

}  // namespace covfast
