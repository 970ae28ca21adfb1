// surface_border: 64 voxels a word and eight words a register, so that a whole plane of elements is a few ANDs and ORs
// of its neighbours. The pyramid joins rows of 4x4 with OR, level by level; along z every level keeps each bit.
#include <cstring>

#include "kernels/surface_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

// The four rows of voxels around the corners (x, y) of one word row; y counts from the pointers.
struct CornerRows {
    const uint64_t *r0, *r1, *r2, *r3;

    uint64_t any(int64_t y) const { return r0[y] | r1[y] | r2[y] | r3[y]; }
    uint64_t all(int64_t y) const { return r0[y] & r1[y] & r2[y] & r3[y]; }
    CornerRows before(int64_t pitch) const { return {r0 - pitch, r1 - pitch, r2 - pitch, r3 - pitch}; }
};

int64_t corner_row(const CornerRows& here, const CornerRows& before, int64_t n, uint64_t* out) {
    int64_t count = 0;
    for (int64_t y = 0; y < n; ++y) {
        const uint64_t any = here.any(y), all = here.all(y);
        const uint64_t any_around = any | any << 1 | before.any(y) >> 63;
        out[y] = any_around & ~(all & (all << 1 | before.all(y) >> 63));
    }
    for (int64_t y = 0; y < n; ++y) count += __builtin_popcountll(out[y]);
    return count;
}

// Voxels of the mask with a face neighbour outside of it. lower, upper: the same rows at x - 1 and x + 1.
int64_t voxel_row(const uint64_t* here, const uint64_t* lower, const uint64_t* upper, int64_t pitch, int64_t n,
                  uint64_t* out) {
    int64_t count = 0;
    for (int64_t y = 0; y < n; ++y) {
        const uint64_t after = here[y] >> 1 | here[y + pitch] << 63, before = here[y] << 1 | here[y - pitch] >> 63;
        out[y] = here[y] & ~(lower[y] & upper[y] & here[y - 1] & here[y + 1] & before & after);
    }
    for (int64_t y = 0; y < n; ++y) count += __builtin_popcountll(out[y]);
    return count;
}

void border_plane(const SurfaceBorderParams& p, int side, int64_t x) {
    const PlaneGrid& grid = p.grid;
    uint64_t* plane = p.border[side] + x * grid.plane;
    std::memset(plane, 0, grid.cleared(x) * sizeof(uint64_t));
    const uint64_t* here = voxel_plane(p, side, x);
    const uint64_t* lower = p.is_flat ? here : voxel_plane(p, side, x - 1);
    const uint64_t* upper = p.is_flat ? here : voxel_plane(p, side, x + 1);
    int64_t count = 0;
    for (int64_t w = 0; w < grid.words; ++w) {
        const int64_t at = grid.at(0, w, 0);
        if (p.is_surfels) {
            const CornerRows rows{lower + at - 1, lower + at, here + at - 1, here + at};
            count += corner_row(rows, rows.before(grid.pitch), grid.size[1], plane + at);
        } else {
            count += voxel_row(here + at, lower + at, upper + at, grid.pitch, grid.size[1], plane + at);
        }
    }
    p.element_count[side * grid.size[0] + x] = count;
}

void border_planes(const void* params, int64_t begin, int64_t end) {
    const SurfaceBorderParams& p = *static_cast<const SurfaceBorderParams*>(params);
    for (int64_t i = begin; i < end; ++i) border_plane(p, static_cast<int>(i % 2), i / 2);
}

// One plane of a level: 4x4 rows of the level below it joined.
void level_plane(const PlaneGrid& fine, const uint64_t* from, const PlaneGrid& coarse, uint64_t* to, int64_t cx) {
    uint64_t* plane = to + cx * coarse.plane;
    std::memset(plane, 0, coarse.cleared(cx) * sizeof(uint64_t));
    const int64_t end = 4 * cx + 4 < fine.size[0] ? 4 * cx + 4 : fine.size[0];
    for (int64_t x = 4 * cx; x < end; ++x)
        for (int64_t w = 0; w < coarse.words; ++w) {
            const uint64_t* row = from + fine.at(x, w, 0);
            uint64_t* out = plane + coarse.at(0, w, 0);
            for (int64_t cy = 0; cy < coarse.size[1]; ++cy)  // beyond the last row of `fine` lie its zero words
                out[cy] |= row[4 * cy] | row[4 * cy + 1] | row[4 * cy + 2] | row[4 * cy + 3];
        }
}

struct LevelParams {
    const SurfaceBorderParams* border;
    int level;
};

void level_planes(const void* params, int64_t begin, int64_t end) {
    const LevelParams& p = *static_cast<const LevelParams*>(params);
    const SurfaceBorderParams& border = *p.border;
    const PlaneGrid& fine = p.level == 0 ? border.grid : border.level_grid[p.level - 1];
    for (int64_t i = begin; i < end; ++i) {
        const int side = static_cast<int>(i % 2);
        const uint64_t* from = p.level == 0 ? border.border[side] : border.level[side][p.level - 1];
        level_plane(fine, from, border.level_grid[p.level], border.level[side][p.level], i / 2);
    }
}

}  // namespace

void surface_border(const SurfaceBorderParams& params, const Exec& exec) {
    exec.parallel_for(border_planes, &params, 2 * params.grid.size[0], planes_per_block(params.grid), exec.threads);
    for (int level = 0; level < kLevels; ++level) {
        const LevelParams step{&params, level};
        const PlaneGrid& grid = params.level_grid[level];
        exec.parallel_for(level_planes, &step, 2 * grid.size[0], planes_per_block(grid), exec.threads);
    }
}

}  // namespace covfast::COVFAST_ISA
