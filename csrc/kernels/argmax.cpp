#include "kernels/argmax.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void argmax(const ArgmaxParams& params, const Context& context) {
    COVFAST_REQUIRE(params.channels >= 1 && params.channels <= 256, SHAPE, "x: got ", params.channels,
                    " channels, expected 1 to 256");
    COVFAST_REQUIRE(params.rows >= 0 && params.width >= 0, SHAPE, "x: got (", params.rows, ", ", params.width,
                    "), expected sizes of 0 or more");
    run(context, &Backend::argmax, "argmax", params);
}

}  // namespace covfast
