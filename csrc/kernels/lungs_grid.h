// Tools on the coarse grid of lungs: distances, components, flooding, closing. Masks are one byte a voxel.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/progress.h"
#include "core/threads.h"

namespace covfast::coarse {

using Mask = std::vector<uint8_t>;

struct Grid {
    int64_t size[3];  // D, H, W
    float mm[3];      // voxel size
    int threads;
    const Progress* progress;
    int64_t stage;  // of 8, what is reported

    // Called by every step at least once a million voxels, so that a stop takes effect within 200 ms.
    void poll() const { progress->poll("lungs", stage, 8); }
    int64_t voxels() const { return size[0] * size[1] * size[2]; }
    double voxel_ml() const { return double(mm[0]) * mm[1] * mm[2] / 1000; }
};

// body(begin, end) over [0, n) in parallel, where the n items make up the grid. Polls about every million voxels.
template <class Body>
void polled_for(const Grid& grid, int64_t n, Body&& body) {
    const int64_t step = std::max<int64_t>(8, n * (int64_t(1) << 20) / std::max<int64_t>(1, grid.voxels()));
    for (int64_t at = 0; at < n; at += step) {
        parallel_for(std::min(step, n - at), 1, grid.threads,
                     [&](int64_t begin, int64_t end) { body(at + begin, at + end); });
        grid.poll();
    }
}

// body(i) for every voxel i, in parallel and polling.
template <class Body>
void each_voxel(const Grid& grid, Body&& body) {
    const int64_t plane = grid.size[1] * grid.size[2];
    polled_for(grid, grid.size[0], [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * plane; i < end * plane; ++i) body(i);
    });
}

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

// Voxels by which the box of ball_close outgrows its mask on each side of an axis.
int64_t closing_pad(float radius_mm, float mm);

// Closing with a ball, on a copy of the mask's box. Where the mask reaches the first or last slice, it goes on.
Mask ball_close(const Grid& grid, const Mask& mask, float radius_mm);

// Holes of a mask in 3-D: what no face-connected path joins to the volume's border, set in place.
void fill_holes(const Grid& grid, Mask& mask);

}  // namespace covfast::coarse
