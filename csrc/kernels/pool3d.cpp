#include "kernels/pool3d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

int64_t pool_out_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding, bool ceil_mode) {
    const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1 + (ceil_mode ? stride - 1 : 0);
    if (room < 0) return 0;  // a division would round up to a window that does not fit
    int64_t out = room / stride + 1;
    if (ceil_mode && (out - 1) * stride >= size + padding) --out;
    return out;
}

void pool3d(const Pool3dParams& p, const Context& context) {
    COVFAST_REQUIRE(p.planes >= 0, SHAPE, "x: got ", p.planes, " planes, expected 0 or more");
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
    }
    run(context, &Backend::pool3d, "pool3d", p);
}

}  // namespace covfast
