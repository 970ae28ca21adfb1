#include "kernels/group_norm.h"

#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

int64_t group_norm_workspace(int64_t n, int64_t channels, int64_t groups, int64_t plane) {
    constexpr int64_t kFloats = 2 * sizeof(double) / sizeof(float);
    return n * groups * group_norm_pieces(channels, groups, plane) * kFloats;
}

void group_norm(const GroupNormParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.channels >= 1 && p.plane >= 0, SHAPE, "x: got (", p.n, ", ", p.channels, ", ",
                    p.plane, "), expected at least one channel");
    COVFAST_REQUIRE(p.groups >= 1 && p.channels % p.groups == 0, SHAPE, "groups: got ", p.groups,
                    ", expected a divisor of ", p.channels);
    COVFAST_REQUIRE(p.eps >= 0 && std::isfinite(p.eps), VALUE_RANGE, "eps: got ", p.eps, ", expected 0 or more");
    run(context, &Backend::group_norm, "group_norm", p);
}

}  // namespace covfast
