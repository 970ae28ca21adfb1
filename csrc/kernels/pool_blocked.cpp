#include "kernels/pool_blocked.h"

#include "core/error.h"
#include "kernels/backend.h"

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
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.kernel[a] >= 1, SHAPE, "x, kernel: got size ", p.in_size[a],
                        " and kernel ", p.kernel[a], ", expected at least 1");
        COVFAST_REQUIRE(p.dilation[a] >= 1 && (p.dilation[a] == 1 || p.kind == PoolKind::kMax), VALUE_RANGE,
                        "dilation: got ", p.dilation[a], ", expected 1, or more for a maximum");
        const int64_t half = (p.dilation[a] * (p.kernel[a] - 1) + 1) / 2;
        COVFAST_REQUIRE(p.stride[a] >= 1 && p.padding[a] >= 0 && p.padding[a] <= half, VALUE_RANGE,
                        "stride, padding: got ", p.stride[a], ", ", p.padding[a], ", expected at least 1 and 0 to ",
                        half);
        const int64_t fits =
            pool_out_size(p.in_size[a], p.kernel[a], p.stride[a], p.dilation[a], p.padding[a], p.ceil_mode);
        COVFAST_REQUIRE(fits >= 1 && p.out_size[a] == fits, SHAPE, "y: got size ", p.out_size[a], ", expected ", fits,
                        ", at least 1, for an input of ", p.in_size[a]);
        COVFAST_REQUIRE(p.kind == PoolKind::kMean || always_holds_a_value(p, a), VALUE_RANGE,
                        "kernel, dilation, padding: got a window that holds no value of an axis of ", p.in_size[a],
                        ", expected at least one in each; the planar op takes these");
    }
    run(context, &Backend::pool_blocked, "pool_blocked", p);
}

}  // namespace covfast
