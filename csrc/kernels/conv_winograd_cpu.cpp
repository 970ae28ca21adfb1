// One item is a batch of tiles (ConvWinogradParams::item_tiles, one after the other along W, H, D) and runs in three
// steps over this thread's workspace:
//   1 transform_input   V (position, in block, tile, 16): tile by tile, block by block
//   2 multiply          M (position, out pair, tile, 32) = V U for each of the 36, 144 or 216 positions: block products
//                       with tiles in the place of pixels
//   3 transform_output  tile by tile, with the epilogue, to y
// U, the transformed weight, is (position, out pair, in channel, 32); the last pair of an odd number of blocks has 16.
// V and M of a batch are read once and in order, from L2 where few channels let them fit it, else from L3. U is read
// once a batch, so a batch has some 20 tiles or more: each weight that comes from L3 is used for every one of them.
// Steps between positions are odd numbers of cache lines: a tile's positions would else meet in few sets of L1.
#include "kernels/block_product.h"
#include "kernels/conv_winograd.h"
#include "kernels/table.h"
#include "kernels/winograd_tile.h"

namespace covfast::COVFAST_ISA {
namespace {

struct Plan {
    ConvWinogradParams p;
    int (*slot)();
};

struct Tile {
    int64_t at[3];  // its first output (D, H, W)
};

Tile tile_at(const ConvWinogradParams& p, int64_t i) {
    return {{i / (p.tiles[2] * p.tiles[1]) * p.depth, i / p.tiles[2] % p.tiles[1] * kOut, i % p.tiles[2] * kOut}};
}

// Copies the input of a tile that reaches beyond x, which has zeros there. to: (kPlanes, 6, 6, 16)
template <int kPlanes>
void copy_input(const ConvBlockedParams& c, const float* x, const int64_t (&first)[3], float* to) {
    for (int64_t k = 0; k < kPlanes; ++k)
        for (int64_t h = 0; h < kIn; ++h)
            for (int64_t w = 0; w < kIn; ++w, to += kLanes) {
                const int64_t at[3] = {first[0] + k, first[1] + h, first[2] + w};
                bool is_inside = true;
                for (int a = 0; a < 3; ++a) is_inside = is_inside && at[a] >= 0 && at[a] < c.in_size[a];
                const float* from = x + ((at[0] * c.in_size[1] + at[1]) * c.in_size[2] + at[2]) * kLanes;
                for (int lane = 0; lane < kLanes; lane += kVecLanes)
                    store(to + lane, is_inside ? load(from + lane) : Vec{});
            }
}

// Asks for the columns by which the next tile of a row goes beyond this one, whose first voxel is x.
template <int kPlanes>
void prefetch_input(const float* x, int64_t plane_step, int64_t row_step) {
    for (int k = 0; k < kPlanes; ++k)
        for (int h = 0; h < kIn; ++h)
#pragma GCC unroll 4
            for (int w = 0; w < kOut; ++w) __builtin_prefetch(x + k * plane_step + h * row_step + (kIn + w) * kLanes);
}

template <int kDepth>
void transform_inputs(const ConvWinogradParams& p, int64_t begin, int64_t tiles, float* v) {
    constexpr int kPlanes = depth_in(kDepth);
    const ConvBlockedParams& c = p.conv;
    const int64_t row = c.in_size[2] * kLanes, plane = c.in_size[1] * row;
    alignas(64) float copy[kPlanes * kIn * kIn * kLanes];
    for (int64_t b = 0; b < c.in_blocks; ++b) {
        const float* x = static_cast<const float*>(c.x) + b * c.in_size[0] * plane;
        for (int64_t i = 0; i < tiles; ++i) {
            const Tile tile = tile_at(p, begin + i);
            const int64_t extent[3] = {kPlanes, kIn, kIn};
            int64_t first[3];
            bool is_inside = true;
            for (int a = 0; a < 3; ++a) {
                first[a] = tile.at[a] - c.padding[a];
                is_inside = is_inside && first[a] >= 0 && first[a] + extent[a] <= c.in_size[a];
            }
            float* to = v + (b * tiles + i) * kLanes;
            if (is_inside) {
                const float* corner = x + first[0] * plane + first[1] * row + first[2] * kLanes;
                prefetch_input<kPlanes>(corner, plane, row);
                transform_input<kDepth>(corner, plane, row, to, p.in_step);
                continue;
            }
            copy_input<kPlanes>(c, x, first, copy);
            transform_input<kDepth>(copy, kIn * kIn * kLanes, kIn * kLanes, to, p.in_step);
        }
    }
}

// kPixels tiles by a pair of out blocks, or the last single one: M = V U.
template <int kPixels, int kRow>
void multiply_panel(const ConvWinogradParams& p, const float* v, int64_t block_step, const float* u, float* m) {
    constexpr int kBlocks = kTileBlocks < kRow ? kTileBlocks : kRow;
    for (int block = 0; block < kRow; block += kBlocks) {
        Sums<Element::kF32, kPixels, kBlocks> sums;
        clear(sums);
        for (int64_t b = 0; b < p.conv.in_blocks; ++b)
            add_block<4 * kLanes, kRow>(sums, v + b * block_step, u + (b * kLanes * kRow + block) * kLanes);
#pragma GCC unroll 16
        for (int t = 0; t < kPixels; ++t)
#pragma GCC unroll 2
            for (int j = 0; j < kBlocks; ++j)
#pragma GCC unroll 4
                for (int i = 0; i < kVecs; ++i)
                    store(m + (t * kRow + block + j) * kLanes + i * kVecLanes, sums.at[t][j][i]);
    }
}

// The tiles that are left after whole panels.
template <int kPixels, int kRow>
void multiply_rest(const ConvWinogradParams& p, int64_t rest, const float* v, int64_t block_step, const float* u,
                   float* m) {
    if constexpr (kPixels > 0) {
        if (rest == kPixels) return multiply_panel<kPixels, kRow>(p, v, block_step, u, m);
        multiply_rest<kPixels - 1, kRow>(p, rest, v, block_step, u, m);
    }
}

template <int kRow>
void multiply_pair(const ConvWinogradParams& p, int64_t tiles, const float* v, const float* u, float* m) {
    const int64_t block_step = tiles * kLanes;
    int64_t t = 0;
    for (; t + kTilePixels <= tiles; t += kTilePixels)
        multiply_panel<kTilePixels, kRow>(p, v + t * kLanes, block_step, u, m + t * kRow * kLanes);
    multiply_rest<kTilePixels - 1, kRow>(p, tiles - t, v + t * kLanes, block_step, u, m + t * kRow * kLanes);
}

void multiply(const ConvWinogradParams& p, int64_t positions, int64_t tiles, const float* v, float* m) {
    const ConvBlockedParams& c = p.conv;
    const float* u = static_cast<const float*>(c.weight);
    for (int64_t i = 0; i < positions; ++i, v += p.in_step, m += p.out_step) {
        int64_t block = 0;
        for (; block + 2 <= c.out_blocks; block += 2, u += 2 * kLanes * kLanes * c.in_blocks)
            multiply_pair<2>(p, tiles, v, u, m + block * tiles * kLanes);
        if (block < c.out_blocks) {
            multiply_pair<1>(p, tiles, v, u, m + block * tiles * kLanes);
            u += kLanes * kLanes * c.in_blocks;
        }
    }
}

// What happens to the sums of kVecLanes channels on their way to y; pointers are null where nothing is to be done.
struct Finish {
    const float *before, *after, *other;
    float *y, *total;
    Vec bias, slope, sum, square;
    bool is_leaky, has_stats;

    template <int kCount>
    __attribute__((always_inline)) void run(const Vec* sums, int64_t at) {
        Vec v[kCount];
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) v[i] = sums[i] + bias;
        if (has_stats)
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) sum += v[i], square += v[i] * v[i];
        if (before != nullptr)
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) v[i] += load(before + at + i * kLanes);
        if (is_leaky)
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) v[i] = leaky(v[i], slope);
        if (after != nullptr)
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) v[i] += load(after + at + i * kLanes);
        if (total != nullptr)
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) store(total + at + i * kLanes, v[i] + load(other + at + i * kLanes));
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) store(y + at + i * kLanes, v[i]);
    }
};

Finish finish_at(const ConvBlockedParams& c, int64_t channel) {
    const Epilogue& e = c.epilogue;
    Finish f{};
    f.before = static_cast<const float*>(e.before), f.after = static_cast<const float*>(e.after);
    f.other = static_cast<const float*>(e.other), f.total = static_cast<float*>(e.total);
    f.y = static_cast<float*>(c.y);
    if (e.bias != nullptr) f.bias = load(e.bias + channel);
    f.is_leaky = e.kind == EpilogueKind::kLeaky;
    if (f.is_leaky) f.slope = load(e.slope + channel);
    f.has_stats = c.stats != nullptr;
    return f;
}

template <int kDepth>
void transform_outputs(const ConvWinogradParams& p, int64_t item, int64_t begin, int64_t tiles, const float* m) {
    const ConvBlockedParams& c = p.conv;
    const int64_t *size = c.out_size, voxels = size[0] * size[1] * size[2];
    for (int64_t channel = 0; channel < c.out_blocks * kLanes; channel += kVecLanes) {
        const int64_t block = channel / kLanes, lane = channel % kLanes;
        const int64_t pair = block / 2 * 2, width = pair + 2 <= c.out_blocks ? 2 : 1;
        Finish finish = finish_at(c, channel);
        for (int64_t i = 0; i < tiles; ++i) {
            const Tile tile = tile_at(p, begin + i);
            const int64_t rows = size[1] - tile.at[1], columns = size[2] - tile.at[2], planes = size[0] - tile.at[0];
            const float* from = m + (pair * tiles + i * width + block - pair) * kLanes + lane;
            const int64_t corner = (tile.at[0] * size[1] + tile.at[1]) * size[2] + tile.at[2];
            transform_output<kDepth>(from, p.out_step, [&](int d, int h, const Vec(&sums)[kOut]) {
                if (d >= planes || h >= rows) return;
                const int64_t at = (block * voxels + corner + (d * size[1] + h) * size[2]) * kLanes + lane;
                if (columns >= kOut) return finish.run<kOut>(sums, at);
                for (int w = 0; w < columns; ++w) finish.run<1>(sums + w, at + w * kLanes);
            });
        }
        if (c.stats == nullptr) continue;
        float* stats = c.stats + (item * c.out_blocks * kLanes + channel) * 2;
        for (int j = 0; j < kVecLanes; ++j) stats[2 * j] = finish.sum[j], stats[2 * j + 1] = finish.square[j];
    }
}

template <int kDepth>
void conv_winograd_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    const ConvWinogradParams& p = plan.p;
    const int64_t all = p.tiles[0] * p.tiles[1] * p.tiles[2], positions = depth_in(kDepth) * kIn * kIn;
    float* v = static_cast<float*>(p.conv.workspace) + plan.slot() * p.workspace_floats;
    float* m = v + positions * p.in_step;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item * p.item_tiles, left = all - first,
                      tiles = left < p.item_tiles ? left : p.item_tiles;
        transform_inputs<kDepth>(p, first, tiles, v);
        multiply(p, positions, tiles, v, m);
        transform_outputs<kDepth>(p, item, first, tiles, m);
    }
}

}  // namespace

void conv_winograd(const ConvWinogradParams& params, const Exec& exec) {
    const Plan plan = {params, exec.slot};
    const RangeFn range = params.depth == 1   ? conv_winograd_range<1>
                          : params.depth == 2 ? conv_winograd_range<2>
                                              : conv_winograd_range<4>;
    exec.parallel_for(range, &plan, params.items, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
