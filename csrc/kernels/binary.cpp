#include "kernels/binary.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void binary(const BinaryParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.plane >= 0 && p.channels >= 1, SHAPE, "y: got (", p.n, ", ", p.channels, ", ",
                    p.plane, "), expected at least one channel");
    COVFAST_REQUIRE(
        (p.a_channels == p.channels || p.a_channels == 1) && (p.b_channels == p.channels || p.b_channels == 1), SHAPE,
        "a, b: got ", p.a_channels, " and ", p.b_channels, " channels, expected 1 or ", p.channels);
    run(context, &Backend::binary, "binary", p);
}

}  // namespace covfast
