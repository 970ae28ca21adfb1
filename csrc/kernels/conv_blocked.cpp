#include "kernels/conv_blocked.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"
#include "kernels/check_window.h"
#include "kernels/conv3d.h"
#include "kernels/conv_blocked_parts.h"

namespace covfast {

int64_t conv_blocked_parts(const ConvBlockedParams& p) {
    return (p.out_size[0] * p.out_size[1] * p.out_size[2] + kPartPixels - 1) / kPartPixels;
}

void conv_blocked(const ConvBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE((p.x_is_planar ? p.in_channels : p.in_blocks) >= 1 && p.out_blocks >= 1, SHAPE, "x: got ",
                    p.in_channels, " channels, ", p.in_blocks, " to ", p.out_blocks, " blocks, expected at least one");
    COVFAST_REQUIRE(p.y_element == Element::kF32 || p.y_element == Element::kBf16, VALUE_RANGE,
                    "y_element: got u8, expected f32 or bf16");
    COVFAST_REQUIRE(!p.x_is_planar || p.x_element == Element::kF32, VALUE_RANGE,
                    "x_element: got another than f32 for a planar x, expected f32");
    COVFAST_REQUIRE(p.x_element != Element::kU8 || p.scale != nullptr, VALUE_RANGE,
                    "scale: got null, expected one for each output channel of u8");
    check_conv_window(p);
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::conv_blocked, "conv_blocked", p);
}

}  // namespace covfast
