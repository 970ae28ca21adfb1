#include "kernels/resize_blocked.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void resize_blocked(const ResizeBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.blocks >= 0, SHAPE, "x: got ", p.blocks, " blocks, expected 0 or more");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.out_size[a] >= 1, SHAPE, "size: got ", p.in_size[a], " to ",
                        p.out_size[a], ", expected at least 1");
    run(context, &Backend::resize_blocked, "resize_blocked", p);
}

}  // namespace covfast
