// copy_channels: y[n, y_first + c, :] = x[n, x_first + c, :] for c in [0, count): a slice, or one part of a concat.
//
// x  (n, x_channels, plane) f32, contiguous
// y  (n, y_channels, plane) f32, contiguous; may not overlap x; its other channels are left alone
// Exact. No workspace. Throws SHAPE if the channels lie outside x or y.
#pragma once
#include <cstdint>

namespace covfast {

struct CopyChannelsParams {
    const float* x;  // (n, x_channels, plane)
    float* y;        // (n, y_channels, plane)
    int64_t n, plane, count, x_channels, x_first, y_channels, y_first;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void copy_channels(const CopyChannelsParams& params, const Context& context);

}  // namespace covfast
