#include "kernels/elementwise_blocked.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void activation_blocked(const ActivationBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.blocks >= 0 && p.plane >= 0, SHAPE, "x: got (", p.blocks, ", ", p.plane,
                    ", 16), expected sizes of 0 or more");
    COVFAST_REQUIRE((p.x_element != Element::kU8 || p.x_scale > 0) && (p.y_element != Element::kU8 || p.y_scale > 0),
                    VALUE_RANGE, "x_scale, y_scale: got ", p.x_scale, " and ", p.y_scale, ", expected numbers above 0");
    run(context, &Backend::activation_blocked, "activation_blocked", p);
}

void binary_blocked(const BinaryBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.blocks >= 0 && p.plane >= 0, SHAPE, "y: got (", p.blocks, ", ", p.plane,
                    ", 16), expected sizes of 0 or more");
    COVFAST_REQUIRE(p.element != Element::kU8, VALUE_RANGE, "element: got u8, expected f32 or bf16");
    run(context, &Backend::binary_blocked, "binary_blocked", p);
}

}  // namespace covfast
