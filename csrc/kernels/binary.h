// binary: y = a + b, a - b or a * b, element by element; an operand of one channel is used for every channel.
//
// a  (n, a_channels, plane) f32, contiguous; a_channels is 1 or channels
// b  (n, b_channels, plane) f32, contiguous; b_channels is 1 or channels
// y  (n, channels, plane) f32, contiguous; may be an operand that has all channels, may not overlap otherwise
// Correctly rounded. No workspace. Throws SHAPE if the channels do not fit.
#pragma once
#include <cstdint>

namespace covfast {

enum class BinaryKind : int32_t { kAdd, kSub, kMul };

struct BinaryParams {
    const float* a;  // (n, a_channels, plane)
    const float* b;  // (n, b_channels, plane)
    float* y;        // (n, channels, plane)
    int64_t n, channels, plane, a_channels, b_channels;
    BinaryKind kind;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void binary(const BinaryParams& params, const Context& context);

}  // namespace covfast
