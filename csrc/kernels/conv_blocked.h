// conv_blocked: the dense convolution of conv3d.h (groups = 1) in the blocked layout, directly: no transform, one
// product a tap. fp32, bf16 (vdpbf16ps, or widened where the instruction set lacks it) and u8 x s8 (vpdpbusd).
//
// x        (in_blocks, in_size, 16) of x_element; or, where x_is_planar, (in_channels, in_size) f32 with few channels:
//          a network's first convolution
// weight   as conv_blocked_pack() makes it, 64-byte aligned
// scale    (16 out_blocks) f32, kU8 only: what one unit of the integer sum is worth
// epilogue on (out_blocks, out_size, 16); before, after, other, total are of y_element
// y        (out_blocks, out_size, 16) of y_element (kF32, kBf16)
// stats    null, or (conv_blocked_parts(), 16 out_blocks, 2) f32: sum and sum of squares of sum + bias, as y has it,
//          over each part of the output, for the norm that follows. Parts are fixed by sizes: same bits for any threads
// Sums in f32 (kU8: exact in i32). Lanes beyond out_channels are written as 0.
// Throws SHAPE if sizes do not fit, VALUE_RANGE as conv3d.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/blocked.h"
#include "kernels/epilogue.h"

namespace covfast {

struct ConvBlockedParams {
    const void* x;
    const void* weight;
    const float* scale;
    void* y;
    float* stats;
    void* workspace;  // conv_winograd_workspace() bytes; conv_blocked itself needs none
    Epilogue epilogue;
    int64_t in_channels;  // of a planar x; else 16 in_blocks
    int64_t in_blocks, out_blocks;
    int64_t in_size[3], out_size[3];                        // (D, H, W)
    int64_t kernel[3], stride[3], dilation[3], padding[3];  // (D, H, W)
    Element x_element, y_element;
    bool x_is_planar;
};

// Which channel of the network lies in which lane of a blocked value: a network channel, or -1 for a lane of zeros.
// Values that are sliced or concatenated inside a block get gaps, so that slices begin at blocks.
struct LaneMap {
    const int32_t* channel;  // (lanes)
    int64_t lanes;           // 16 blocks; of a planar x the number of channels
};

// Bytes of the packed weight, and the packing of (out_channels, in_channels, taps) f32. `in_scale` (lanes of in) and
// `out_scale` (lanes of out; receives the quantisation step of each output, to be multiplied by the caller's needs) are
// for kU8 alone: weights times in_scale are quantised to s8 symmetrically per output channel, and `offset` (lanes of
// out) receives what 128 in every input adds to the integer sum, to be taken from the bias by the kernel's caller.
struct ConvPack {
    const float* weight;
    int64_t in_channels, taps;
    LaneMap in, out;
    Element element;  // of x
    bool x_is_planar;
    const float* in_scale;
    float* out_scale;
    float* offset;
};
size_t conv_blocked_pack_bytes(const ConvPack& pack);
void conv_blocked_pack(const ConvPack& pack, void* packed);

int64_t conv_blocked_parts(const ConvBlockedParams& params);

struct Context;
// Checks the arguments and runs on the context's backend.
void conv_blocked(const ConvBlockedParams& params, const Context& context);

}  // namespace covfast
