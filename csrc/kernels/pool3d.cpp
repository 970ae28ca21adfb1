#include "kernels/pool3d.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_window.h"

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
    check_pool_window(p);
    run(context, &Backend::pool3d, "pool3d", p);
}

}  // namespace covfast
