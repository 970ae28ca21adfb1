// The blocked layout, in which U-Nets run: channels in blocks of 16 as the innermost axis, (blocks, D, H, W, 16).
// Channel c of voxel p lies at ((c / 16) * plane + p) * 16 + c % 16. Lanes beyond the last channel hold 0, so sums over
// whole blocks are right. One block of a voxel is one register of AVX-512, two of AVX2, four of SSE2; a kernel
// broadcasts one input channel (fp32), a pair (bf16) or four (u8), 32 bits each time, against 16 output channels, so
// sizes along W need not fit registers and strides cost nothing.
//
// Networks of few channels (MiniSeg: 6, 8, 24) run in the planar layout (channels, D, H, W) with W in registers.
#pragma once
#include <cstdint>

namespace covfast {

constexpr int64_t kLanes = 16;

// What a blocked value holds. kU8 is q = clamp(round(v / scale) + 128, 0, 255), one scale a value; 128 stands for 0.
enum class Element : int32_t { kF32, kBf16, kU8 };

static constexpr int64_t element_bytes(Element e) { return e == Element::kF32 ? 4 : e == Element::kBf16 ? 2 : 1; }
static constexpr int64_t blocks_of(int64_t channels) { return (channels + kLanes - 1) / kLanes; }

}  // namespace covfast
