// softmax: y[n, c, i] = exp(x[n, c, i] - m) / sum over c of exp(x[n, c, i] - m), with m the greatest x[n, :, i];
// or its logarithm x[n, c, i] - m - log(sum over c of exp(x[n, c, i] - m)).
//
// x  (n, channels, plane) f32, contiguous
// y  (n, channels, plane) f32, contiguous; may be x, may not overlap it otherwise
// Sums in f32 in the order of c: within (channels + 4) * 2^-24, a logarithm within as much and 2^-23 of itself. No
// workspace. Throws SHAPE if there is no channel.
#pragma once
#include <cstdint>

namespace covfast {

struct SoftmaxParams {
    const float* x;  // (n, channels, plane)
    float* y;        // (n, channels, plane)
    int64_t n, channels, plane;
    bool is_log;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void softmax(const SoftmaxParams& params, const Context& context);

}  // namespace covfast
