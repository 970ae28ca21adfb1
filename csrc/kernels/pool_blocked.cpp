#include "kernels/pool_blocked.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_window.h"

namespace covfast {

namespace {

// Whether every window along one axis has a tap inside x.
bool always_holds_a_value(const PoolBlockedParams& p, int a) {
    for (int64_t o = 0; o < p.out_size[a]; ++o) {
        bool holds = false;
        for (int64_t k = 0; k < p.kernel[a] && !holds; ++k) {
            const int64_t at = o * p.stride[a] - p.padding[a] + k * p.dilation[a];
            holds = at >= 0 && at < p.in_size[a];
        }
        if (!holds) return false;
    }
    return true;
}

}  // namespace

void pool_blocked(const PoolBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.blocks >= 0, SHAPE, "x: got ", p.blocks, " blocks, expected 0 or more");
    check_pool_window(p);
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(p.kind == PoolKind::kMean || always_holds_a_value(p, a), VALUE_RANGE,
                        "kernel, dilation, padding: got a window that holds no value of an axis of ", p.in_size[a],
                        ", expected at least one in each; the planar op takes these");
    run(context, &Backend::pool_blocked, "pool_blocked", p);
}

}  // namespace covfast
