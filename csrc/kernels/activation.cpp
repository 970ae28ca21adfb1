#include "kernels/activation.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void activation(const ActivationParams& p, const Context& context) {
    COVFAST_REQUIRE(p.n >= 0 && p.channels >= 0 && p.plane >= 0, SHAPE, "x: got (", p.n, ", ", p.channels, ", ",
                    p.plane, "), expected sizes of 0 or more");
    run(context, &Backend::activation, "activation", p);
}

}  // namespace covfast
