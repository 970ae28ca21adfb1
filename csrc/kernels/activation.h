// activation: one value in, one value out, with at most two numbers per channel c.
//   kAffine   y = a x + b          (a BatchNorm that could not be folded, a sum or product with a number)
//   kLeaky    y = x > 0 ? x : a x  (PReLU, LeakyReLU)
//   kRelu     y = max(x, 0)
//   kSigmoid  y = 1 / (1 + exp(-x))
//
// x     (n, channels, plane) f32, contiguous
// a, b  (channels) f32, or null: then a_value, b_value for every channel
// y     (n, channels, plane) f32, contiguous; may be x, may not overlap it otherwise
// Affine and leaky within one rounding; sigmoid within 3 units in the last place. NaN stays NaN. No workspace.
// Throws SHAPE if a size is negative.
#pragma once
#include <cstdint>

namespace covfast {

enum class ActivationKind : int32_t { kAffine, kLeaky, kRelu, kSigmoid };

struct ActivationParams {
    const float* x;  // (n, channels, plane)
    const float* a;  // (channels) or null
    const float* b;  // (channels) or null
    float* y;        // (n, channels, plane)
    int64_t n, channels, plane;
    float a_value, b_value;
    ActivationKind kind;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void activation(const ActivationParams& params, const Context& context);

}  // namespace covfast
