// null: y[i] = x[i]. Does nothing useful: it proves every wire, and is the template to copy for a new op.
//
// x  (n) f32, contiguous
// y  (n) f32, contiguous; may be x, may not overlap it otherwise
// Exact. No workspace. Throws SHAPE if n < 0. Source: none.
#pragma once
#include <cstdint>

namespace covfast {

struct NullParams {
    const float* x;  // (n)
    float* y;        // (n)
    int64_t n;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void null(const NullParams& params, const Context& context);

}  // namespace covfast
