// surface_border: one thread a word, neighbouring threads neighbouring y. A word reads eight to ten others, which its
// neighbours read too: the planes of a label lie in the second level of cache, and what bounds each kernel is its few
// microseconds of launch and that cache. Three quarters of the words are empty and end after their loads.
#include "cuda/atomics.h"
#include "cuda/launch.h"
#include "kernels/surface_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

// The four words of voxels around a word of corners, and those before them along z.
struct CornerWords {
    uint64_t any, all;
};

__device__ CornerWords corner_words(const uint64_t* lower, const uint64_t* here) {
    return {lower[-1] | lower[0] | here[-1] | here[0], lower[-1] & lower[0] & here[-1] & here[0]};
}

__device__ uint64_t corner_word(const uint64_t* lower, const uint64_t* here, int64_t pitch) {
    const CornerWords now = corner_words(lower, here), before = corner_words(lower - pitch, here - pitch);
    return (now.any | now.any << 1 | before.any >> 63) & ~(now.all & (now.all << 1 | before.all >> 63));
}

// Voxels of the mask with a face neighbour outside of it.
__device__ uint64_t voxel_word(const uint64_t* lower, const uint64_t* here, const uint64_t* upper, int64_t pitch) {
    const uint64_t after = here[0] >> 1 | here[pitch] << 63, before = here[0] << 1 | here[-pitch] >> 63;
    return here[0] & ~(*lower & *upper & here[-1] & here[1] & before & after);
}

__global__ void clear_counts_kernel(const __grid_constant__ SurfaceBorderParams p) {
    for (int64_t i = grid_begin(); i < 2 * p.grid.size[0]; i += grid_step()) p.element_count[i] = 0;
}

__global__ void surface_border_kernel(const __grid_constant__ SurfaceBorderParams p) {
    const int64_t total = p.grid.total();
    for (int64_t i = grid_begin(); i < 2 * total; i += grid_step()) {
        const int side = i >= total ? 1 : 0;
        const int64_t index = i - side * total;
        const WordPlace at = word_place(p.grid, index);
        uint64_t word = 0;
        if (at.is_inside) {
            const int64_t in_plane = index - at.x * p.grid.plane;
            const uint64_t* here = voxel_plane(p, side, at.x) + in_plane;
            const uint64_t* lower = p.is_flat ? here : voxel_plane(p, side, at.x - 1) + in_plane;
            const uint64_t* upper = p.is_flat ? here : voxel_plane(p, side, at.x + 1) + in_plane;
            word = p.is_surfels ? corner_word(lower, here, p.grid.pitch) : voxel_word(lower, here, upper, p.grid.pitch);
            if (word) add_shared(p.element_count + side * p.grid.size[0] + at.x, int64_t(__popcll(word)));
        }
        p.border[side][index] = word;
    }
}

// One level: 4x4 rows of the one below it joined. Beyond the last row of that lie its zero words.
__global__ void surface_level_kernel(const __grid_constant__ SurfaceBorderParams p, int level) {
    const PlaneGrid& fine = level == 0 ? p.grid : p.level_grid[level - 1];
    const PlaneGrid& coarse = p.level_grid[level];
    const int64_t total = coarse.total();
    for (int64_t i = grid_begin(); i < 2 * total; i += grid_step()) {
        const int side = i >= total ? 1 : 0;
        const WordPlace at = word_place(coarse, i - side * total);
        uint64_t word = 0;
        if (at.is_inside) {
            const uint64_t* from = level == 0 ? p.border[side] : p.level[side][level - 1];
            for (int64_t x = 4 * at.x; x < 4 * at.x + 4 && x < fine.size[0]; ++x) {
                const uint64_t* row = from + fine.at(x, at.word, 4 * at.y);
                word |= row[0] | row[1] | row[2] | row[3];
            }
        }
        p.level[side][level][i - side * total] = word;
    }
}

}  // namespace

void surface_border(const SurfaceBorderParams& params, const Exec& exec) {
    const char* op = "surface_border";
    launch(op, clear_counts_kernel, blocks_for(2 * params.grid.size[0]), kThreadsPerBlock, 0, exec.stream, params);
    launch(op, surface_border_kernel, blocks_for(2 * params.grid.total()), kThreadsPerBlock, 0, exec.stream, params);
    for (int level = 0; level < kLevels; ++level)
        launch(op, surface_level_kernel, blocks_for(2 * params.level_grid[level].total()), kThreadsPerBlock, 0,
               exec.stream, params, level);
}

}  // namespace covfast::COVFAST_ISA
