#include "kernels/pad3d.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void pad3d(const Pad3dParams& p, const Context& context) {
    COVFAST_REQUIRE(p.planes >= 0, SHAPE, "x: got ", p.planes, " planes, expected 0 or more");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.out_size[a] >= 1, SHAPE, "size: got ", p.in_size[a], " to ",
                        p.out_size[a], ", expected at least 1");
    run(context, &Backend::pad3d, "pad3d", p);
}

}  // namespace covfast
