// lungs_shrink and lungs_paint: the two passes of lungs over the full grid, one down to the coarse grid and one back.
//
// lungs_shrink: coarse[c] = mean of hu over block c, halves up; kNotFiniteHu where a voxel of the block is not finite
//               (the CPU marks blocks beside it too).
// lungs_paint:  labels[v] = the side of v's block if that is solid, or if it is shell and hu[v] < shell_hu; else 0.
//
// Both work on coarse slices [first, last). Exact: integers only.
#pragma once
#include <cstdint>

namespace covfast {

struct LungsPassParams {
    const void* hu;          // (D, H, W)
    bool is_float;           // f32, else i16
    int64_t size[3];         // D, H, W
    int64_t stride[3];       // of hu, in elements
    int64_t factor[3];       // voxels of hu per coarse voxel, 1 to kMaxLungsFactor
    int64_t coarse_size[3];  // ceil(size / factor)
    int64_t first, last;     // coarse slices
    int16_t* coarse;         // lungs_shrink writes (coarse_size)
    const uint8_t* code;     // lungs_paint reads (coarse_size): side | kShell or kSolid; 0 is not lung
    int shell_hu;
    uint8_t* labels;  // lungs_paint writes (D, H, W)
    int64_t label_stride[3];
};

constexpr int64_t kMaxLungsFactor = 64;  // keeps the sum over a block inside 32 bits
constexpr int kNotFiniteHu = -32768;
constexpr int kPaddingHu = -1100, kAirHu = -1024, kDenseHu = 2000;
constexpr uint8_t kSideBits = 3, kShell = 4, kSolid = 8;

}  // namespace covfast
