// conv3d with one input and one output channel in each group. One item is a tile of one output plane, up to 16 rows x
// 256 columns: its inputs are copied with their zeros (kernels/padded_rows.h), then summed (kernels/depthwise_tile.h).
#include "kernels/conv3d_paths.h"
#include "kernels/depthwise_tile.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kMacsPerBlock = 1 << 17;

struct DepthwisePlan {
    DepthwiseTile tile;
    int64_t in_plane, out_plane, tiles_h, tiles_w;
};

void depthwise_range(const void* params, int64_t begin, int64_t end) {
    const DepthwisePlan& plan = *static_cast<const DepthwisePlan*>(params);
    const DepthwiseTile& tile = plan.tile;
    const Conv3dParams& p = tile.p;
    alignas(64) float scratch[kScratch + kSlack];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % plan.tiles_w * tile.padded.columns, above = i / plan.tiles_w;
        const int64_t row = above % plan.tiles_h * tile.padded.rows, slice = above / plan.tiles_h;
        const int64_t d = slice % p.out_size[0], plane = slice / p.out_size[0], channel = plane % p.out_channels;
        fill_tile(scratch, p, tile.padded, p.x + plane * plan.in_plane, d, row, column);
        const PlaneEpilogue e = plane_epilogue(p.epilogue, channel, p.y, plane * plan.out_plane);
        tile.sum(tile, scratch, p.weight + channel * tile.taps, e, (d * p.out_size[1] + row) * p.out_size[2] + column,
                 least(tile.padded.rows, p.out_size[1] - row), least(tile.padded.columns, p.out_size[2] - column));
    }
}

}  // namespace

bool conv3d_depthwise(const Conv3dParams& p, const Exec& exec) {
    if (p.groups != p.in_channels || p.groups != p.out_channels) return false;
    DepthwisePlan plan;
    if (!set_depthwise_tile(plan.tile, p, kScratch)) return false;
    const PaddedTile& padded = plan.tile.padded;
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    plan.tiles_h = (p.out_size[1] + padded.rows - 1) / padded.rows;
    plan.tiles_w = (p.out_size[2] + padded.columns - 1) / padded.columns;
    const int64_t items = p.n * p.out_channels * p.out_size[0] * plan.tiles_h * plan.tiles_w;
    const int64_t macs = padded.rows * padded.columns * plan.tile.taps;
    exec.parallel_for(depthwise_range, &plan, items, most(1, kMacsPerBlock / macs), exec.threads);
    return true;
}

}  // namespace covfast::COVFAST_ISA
