// What a convolution does with its sums before they are stored, so that no further pass reads them:
//   v = sum + bias[c];  v += before;  v = activation(v);  v += after;  y = v;  total = v + other
//
// bias, slope     (channels) f32, as the output has its channels (padded to blocks in the blocked layout), or null
// before, after   like y, or null; may be y's own memory
// other, total    like y; both or neither. `total` may be `other`, not y
// Plain: files of several instruction sets include this.
#pragma once
#include <cstdint>

namespace covfast {

enum class EpilogueKind : int32_t {
    kNone,
    kLeaky,    // v > 0 ? v : slope[c] v: ReLU (0), LeakyReLU, PReLU. NaN stays NaN
    kSigmoid,  // 1 / (1 + exp(-v))
};

struct Epilogue {
    const float* bias;
    const float* slope;
    const void* before;
    const void* after;
    const void* other;
    void* total;
    EpilogueKind kind;
};

}  // namespace covfast
