// Tools on the coarse grid of lungs: distances, components, flooding, closing. Masks are one byte a voxel.
#pragma once
#include <cstdint>
#include <vector>

namespace covfast::coarse {

using Mask = std::vector<uint8_t>;

struct Grid {
    int64_t size[3];  // D, H, W
    float mm[3];      // voxel size
    int threads;
    int64_t voxels() const { return size[0] * size[1] * size[2]; }
    double voxel_ml() const { return double(mm[0]) * mm[1] * mm[2] / 1000; }
};

// out = squared mm from each voxel to the nearest voxel outside the mask; 4 cap^2 where that is farther than cap. What
// lies beyond the volume does not count as outside: a lung cut off by the scan is not eroded there.
void distance2(const Grid& grid, const uint8_t* mask, float cap_mm, std::vector<float>& out);

struct Run {
    int32_t row, begin, end;  // row = d * H + h; columns [begin, end)
    int32_t label;            // 0 .. count - 1, in order of the first voxel
};
struct Components {
    std::vector<Run> runs;
    int32_t count = 0;
};
// Face-connected components of a mask; within axial slices only if in_plane.
Components components(const Grid& grid, const uint8_t* mask, bool in_plane);

// Sets out to `value` on the components whose `keep` is true.
void paint(const Grid& grid, const Components& parts, const std::vector<uint8_t>& keep, uint8_t value, uint8_t* out);

// Watershed: grows the non-zero labels over the mask in order of rising level; voxels met first at the same level win.
void flood(const Grid& grid, const int16_t* level, const uint8_t* mask, uint8_t* labels);

// Closing with a ball, on a copy of the mask's box. Where the mask reaches the first or last slice, it goes on.
Mask ball_close(const Grid& grid, const Mask& mask, float radius_mm);

// Holes of a mask in 3-D: what no face-connected path joins to the volume's border, set in place.
void fill_holes(const Grid& grid, Mask& mask);

}  // namespace covfast::coarse
