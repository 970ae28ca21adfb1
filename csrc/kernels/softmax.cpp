#include "kernels/softmax.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void softmax(const SoftmaxParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.channels >= 1 && p.plane >= 0, SHAPE, "x: got (", p.n, ", ", p.channels, ", ",
                    p.plane, "), expected at least one channel");
    run(context, &Backend::softmax, "softmax", p);
}

}  // namespace covfast
