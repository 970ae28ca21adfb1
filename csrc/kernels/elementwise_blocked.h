// activation_blocked and binary_blocked: activation.h and binary.h in the blocked layout.
//
// activation  x  (blocks, plane, 16) of x_element, of kU8 with x_scale
//             a, b  (16 blocks) f32, or null: then a_value, b_value for every lane. A sigmoid is taken times a, if it
//                   is given: 0 where a lane has no channel
//             y  (blocks, plane, 16) of y_element, of kU8 with y_scale; may be x where the elements are of one size. An
//                affine of 1 and 0 is a conversion
// binary      a, b  (blocks, plane, 16) of `element`, kF32 or kBf16; or (1, plane, 16) where a_is_single, b_is_single:
//                then lane 0 is used for every lane
//             y  (blocks, plane, 16) of `element`; may be an operand that is not single
// Neither may overlap otherwise. Accuracy as the planar ops', rounded once to bf16 or u8. NaN stays NaN, of kU8 it
// becomes 0. Lanes without a channel get what the formula makes of their zeros.
// No workspace. Throws SHAPE if a size is negative, VALUE_RANGE.
#pragma once
#include <cstdint>

#include "kernels/activation.h"  // ActivationKind
#include "kernels/binary.h"      // BinaryKind
#include "kernels/blocked.h"

namespace covfast {

struct ActivationBlockedParams {
    const void* x;   // (blocks, plane, 16) of x_element
    const float* a;  // (16 blocks) or null
    const float* b;  // (16 blocks) or null
    void* y;         // (blocks, plane, 16) of y_element
    int64_t blocks, plane;
    float a_value, b_value;
    float x_scale, y_scale;  // kU8 alone
    ActivationKind kind;
    Element x_element, y_element;
};

struct BinaryBlockedParams {
    const void* a;  // (blocks or 1, plane, 16)
    const void* b;  // (blocks or 1, plane, 16)
    void* y;        // (blocks, plane, 16)
    int64_t blocks, plane;
    bool a_is_single, b_is_single;
    BinaryKind kind;
    Element element;
};

struct Context;
// Check the arguments and run on the context's backend.
void activation_blocked(const ActivationBlockedParams& params, const Context& context);
void binary_blocked(const BinaryBlockedParams& params, const Context& context);

}  // namespace covfast
