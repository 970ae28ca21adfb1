// pad3d: y[p] = x[p - before] where that lies inside x, else value; a negative before cuts x. out_size says how much
// follows x or is cut behind it.
//
// x  (planes, in_size) f32, contiguous; planes = batch * channels
// y  (planes, out_size) f32, contiguous; may not overlap x
// Exact. No workspace. 2-D is D = 1 with before[0] = 0. Throws SHAPE if a size is below 1.
// Source: torch.nn.functional.pad, mode constant.
#pragma once
#include <cstdint>

namespace covfast {

struct Pad3dParams {
    const float* x;  // (planes, in_size)
    float* y;        // (planes, out_size)
    int64_t planes;
    int64_t in_size[3], out_size[3], before[3];  // (D, H, W)
    float value;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void pad3d(const Pad3dParams& params, const Context& context);

}  // namespace covfast
