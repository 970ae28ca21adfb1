// Rows of a channel as a file stores it, as f32; and the voxels that count as image.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace covfast {

// One channel in host memory, (D, H, W), any strides.
struct RawChannel {
    const void* data;
    bool is_float;                        // f32, else i16
    std::array<int64_t, 3> size, stride;  // strides in elements
};

struct Box {
    std::array<int64_t, 3> begin{}, end{};
};

// Voxels (d, h, w) to (d, h, w + n) as f32.
void read_row(const RawChannel& channel, int64_t d, int64_t h, int64_t w, int64_t n, float* row);

// The smallest box that holds every voxel which is not 0 (NaN is not) in some channel; begin == end if there is none.
// Throws SHAPE where channels differ in size.
Box nonzero_box(const std::vector<RawChannel>& channels, int threads);

// (box) u8: 1 where some channel is not 0, and in holes of that (6-connected, not reaching the border of the box).
std::vector<uint8_t> nonzero_mask(const std::vector<RawChannel>& channels, const Box& box, int threads);

}  // namespace covfast
