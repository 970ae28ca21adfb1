// conv_transpose_blocked: the transposed convolution of conv_transpose3d.h in the blocked layout where its windows do
// not overlap: groups 1, kernel = stride, padding and output padding 0, dilation 1. Each output voxel has one tap:
//   v[o, q stride + t] = sum over c of weight[c, o, t] * x[c, q], then the epilogue
//
// x         (in_blocks, in_size, 16) of x_element
// weight    as conv_transpose_blocked_pack() makes it, 64-byte aligned
// scale     (16 out_blocks) f32, kU8 only: what one unit of the integer sum is worth
// epilogue  on (out_blocks, in_size * stride, 16); before, after, other, total are of y_element
// y         (out_blocks, in_size * stride, 16) of y_element (kF32, kBf16): a concat's own memory, for example; may not
//           overlap x
// Sums in f32 (kU8: exact in i32), in an order that depends on sizes alone. Lanes without a channel are written as 0.
// No workspace. Throws SHAPE if a size or stride is below 1, VALUE_RANGE.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/blocked.h"
#include "kernels/conv_blocked.h"  // ConvPack
#include "kernels/epilogue.h"

namespace covfast {

struct ConvTransposeBlockedParams {
    const void* x;
    const void* weight;
    const float* scale;
    void* y;
    Epilogue epilogue;
    int64_t in_blocks, out_blocks;
    int64_t in_size[3], stride[3];  // (D, H, W)
    Element x_element, y_element;
};

// As conv_blocked_pack, but of weight (in_channels, out_channels, taps) f32, torch's order for a transposed
// convolution; out_channels is one more than the greatest of pack.out. x is not planar. Of kU8 what 128 in every input
// adds differs from tap to tap, so it is packed too: pack.offset becomes 0, and may be null.
size_t conv_transpose_blocked_pack_bytes(const ConvPack& pack);
void conv_transpose_blocked_pack(const ConvPack& pack, void* packed);

struct Context;
// Checks the arguments and runs on the context's backend.
void conv_transpose_blocked(const ConvTransposeBlockedParams& params, const Context& context);

}  // namespace covfast
