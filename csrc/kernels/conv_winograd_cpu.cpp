// One item is a batch of tiles, one after the other along W, H, D, and all out blocks or, where batches are few, a
// share of them. It runs in three steps over this thread's workspace:
//   1 transform_input   V (position, in block, tile, 16): tile by tile, block by block
//   2 multiply          M (position, out pair, tile, 32) = V U for each of the 36, 144 or 216 positions: block products
//                       with tiles in the place of pixels
//   3 transform_output  tile by tile, with the epilogue, to y
// U, the transformed weight, is (position, out pair, in channel, 32); the last pair of an odd number of blocks has 16.
// V and M of a batch are read once and in order, from L2 where few channels let them fit it, else from L3. U is read
// once a batch: each weight that comes from L3 is used for all 14 or 28 tiles. The first and third step wait for
// memory, so the second, which does not, asks for the next batch's x and for y. Steps between positions are odd numbers
// of cache lines: a tile's positions would else meet in few sets of L1.
#include "kernels/block_product.h"
#include "kernels/conv_winograd.h"
#include "kernels/table.h"
#include "kernels/winograd_tile.h"

namespace covfast::COVFAST_ISA {
namespace {

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

struct Plan {
    ConvWinogradParams p;
    int (*slot)();
};

struct Tile {
    int64_t at[3];  // its first output (D, H, W)
};

struct Item {
    int64_t tile, tiles;    // first tile, number of tiles
    int64_t block, blocks;  // first out block, even; number of out blocks
};

Item item_at(const ConvWinogradParams& p, int64_t i) {
    const int64_t all = p.tiles[0] * p.tiles[1] * p.tiles[2];
    const int64_t tile = i / p.splits * p.batch, block = i % p.splits * p.item_blocks;
    return {tile, least(p.batch, all - tile), block, least(p.item_blocks, p.conv.out_blocks - block)};
}

Tile tile_at(const ConvWinogradParams& p, int64_t i) {
    return {{i / (p.tiles[2] * p.tiles[1]) * p.depth, i / p.tiles[2] % p.tiles[1] * kOut, i % p.tiles[2] * kOut}};
}

// Copies the input of a tile that reaches beyond x, which has zeros there. to: (kPlanes, 6, 6, 16)
template <int kPlanes>
void copy_input(const ConvBlockedParams& c, const float* x, const int64_t (&first)[3], float* to) {
    const int64_t* size = c.in_size;
    const int64_t left = first[2] < 0 ? -first[2] : 0, right = size[2] - first[2] < kIn ? size[2] - first[2] : kIn;
    for (int64_t k = 0; k < kPlanes; ++k)
        for (int64_t h = 0; h < kIn; ++h, to += kIn * kLanes) {
            const int64_t d = first[0] + k, row = first[1] + h;
            const bool is_inside = d >= 0 && d < size[0] && row >= 0 && row < size[1];
            const float* from = x + ((d * size[1] + row) * size[2] + first[2]) * kLanes;
            for (int64_t i = 0; i < kIn * kLanes; i += kVecLanes)
                store(to + i, is_inside && i >= left * kLanes && i < right * kLanes ? load(from + i) : Vec{});
        }
}

template <int kDepth>
void transform_inputs(const ConvWinogradParams& p, const Item& item, float* v) {
    constexpr int kPlanes = depth_in(kDepth);
    const ConvBlockedParams& c = p.conv;
    const int64_t row = c.in_size[2] * kLanes, plane = c.in_size[1] * row;
    alignas(64) float copy[kPlanes * kIn * kIn * kLanes];
    for (int64_t b = 0; b < c.in_blocks; ++b) {
        const float* x = static_cast<const float*>(c.x) + b * c.in_size[0] * plane;
        for (int64_t i = 0; i < item.tiles; ++i) {
            const Tile tile = tile_at(p, item.tile + i);
            const int64_t extent[3] = {kPlanes, kIn, kIn};
            int64_t first[3];
            bool is_inside = true;
            for (int a = 0; a < 3; ++a) {
                first[a] = tile.at[a] - c.padding[a];
                is_inside = is_inside && first[a] >= 0 && first[a] + extent[a] <= c.in_size[a];
            }
            float* to = v + (b * item.tiles + i) * kLanes;
            if (is_inside) {
                transform_input<kDepth>(x + first[0] * plane + first[1] * row + first[2] * kLanes, plane, row, to,
                                        p.in_step);
                continue;
            }
            copy_input<kPlanes>(c, x, first, copy);
            transform_input<kDepth>(copy, kIn * kIn * kLanes, kIn * kLanes, to, p.in_step);
        }
    }
}

// Asks for part `part` of `parts` of what the tiles after the item's read that their neighbours before them in the row
// do not. Inline, as compilers take a function that only prefetches for one without effect.
inline __attribute__((always_inline)) void prefetch_input(const ConvWinogradParams& p, const Item& item, int64_t part,
                                                          int64_t parts) {
    const ConvBlockedParams& c = p.conv;
    const int64_t begin = item.tile + item.tiles, all = p.tiles[0] * p.tiles[1] * p.tiles[2];
    const int64_t tiles = least(item.tiles, all - begin), planes = depth_in(static_cast<int>(p.depth));
    const int64_t count = tiles * c.in_blocks * planes;
    for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
        const Tile tile = tile_at(p, begin + i / planes % tiles);
        const int64_t d = tile.at[0] - c.padding[0] + i % planes, h = tile.at[1] - c.padding[1];
        const int64_t w = tile.at[2] - c.padding[2] + kIn - kOut;
        if (d < 0 || d >= c.in_size[0] || h < 0 || h + kIn > c.in_size[1] || w < 0 || w + kOut > c.in_size[2]) continue;
        const int64_t at = ((i / planes / tiles * c.in_size[0] + d) * c.in_size[1] + h) * c.in_size[2] + w;
        const float* x = static_cast<const float*>(c.x) + at * kLanes;
        for (int row = 0; row < kIn; ++row, x += c.in_size[2] * kLanes)
#pragma GCC unroll 4
            for (int j = 0; j < kOut; ++j) __builtin_prefetch(x + j * kLanes, 0, 2);
    }
}

// The same of what the item's tiles write.
inline __attribute__((always_inline)) void prefetch_output(const ConvWinogradParams& p, const Item& item, int64_t part,
                                                           int64_t parts) {
    const ConvBlockedParams& c = p.conv;
    const int64_t *size = c.out_size, count = item.tiles * item.blocks * p.depth;
    for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
        const Tile tile = tile_at(p, item.tile + i / p.depth % item.tiles);
        const int64_t d = tile.at[0] + i % p.depth, h = tile.at[1], w = tile.at[2];
        if (d >= size[0] || h + kOut > size[1] || w + kOut > size[2]) continue;
        const int64_t at = (((item.block + i / p.depth / item.tiles) * size[0] + d) * size[1] + h) * size[2] + w;
        float* y = static_cast<float*>(c.y) + at * kLanes;
        for (int row = 0; row < kOut; ++row, y += size[2] * kLanes)
#pragma GCC unroll 4
            for (int j = 0; j < kOut; ++j) __builtin_prefetch(y + j * kLanes, 1, 2);
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

// A panel of any number of tiles.
template <int kPixels, int kRow>
void multiply_tiles(const ConvWinogradParams& p, int64_t tiles, const float* v, int64_t block_step, const float* u,
                    float* m) {
    if constexpr (kPixels > 0) {
        if (tiles == kPixels) return multiply_panel<kPixels, kRow>(p, v, block_step, u, m);
        multiply_tiles<kPixels - 1, kRow>(p, tiles, v, block_step, u, m);
    }
}

// Panels of like size: a small one would take as many loads for fewer sums.
template <int kRow>
void multiply_pair(const ConvWinogradParams& p, int64_t tiles, const float* v, const float* u, float* m) {
    const int64_t panels = (tiles + kTilePixels - 1) / kTilePixels;
    for (int64_t i = 0; i < panels; ++i) {
        const int64_t t = tiles * i / panels, count = tiles * (i + 1) / panels - t;
        multiply_tiles<kTilePixels, kRow>(p, count, v + t * kLanes, tiles * kLanes, u, m + t * kRow * kLanes);
    }
}

void multiply(const ConvWinogradParams& p, const Item& item, int64_t positions, const float* v, float* m) {
    const ConvBlockedParams& c = p.conv;
    const int64_t block_floats = kLanes * kLanes * c.in_blocks;  // of U, a position
    for (int64_t i = 0; i < positions; ++i, v += p.in_step, m += p.out_step) {
        prefetch_input(p, item, i, positions);
        prefetch_output(p, item, i, positions);
        const float* u = static_cast<const float*>(c.weight) + (i * c.out_blocks + item.block) * block_floats;
        int64_t block = 0;
        for (; block + 2 <= item.blocks; block += 2)
            multiply_pair<2>(p, item.tiles, v, u + block * block_floats, m + block * item.tiles * kLanes);
        if (block < item.blocks)
            multiply_pair<1>(p, item.tiles, v, u + block * block_floats, m + block * item.tiles * kLanes);
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
void transform_outputs(const ConvWinogradParams& p, const Item& item, const float* m) {
    const ConvBlockedParams& c = p.conv;
    const int64_t *size = c.out_size, voxels = size[0] * size[1] * size[2];
    for (int64_t at = 0; at < item.blocks * kLanes; at += kVecLanes) {
        const int64_t block = at / kLanes, lane = at % kLanes, channel = item.block * kLanes + at;
        const int64_t pair = block / 2 * 2, width = pair + 2 <= item.blocks ? 2 : 1;
        Finish finish = finish_at(c, channel);
        for (int64_t i = 0; i < item.tiles; ++i) {
            const Tile tile = tile_at(p, item.tile + i);
            const int64_t rows = size[1] - tile.at[1], columns = size[2] - tile.at[2], planes = size[0] - tile.at[0];
            const float* from = m + (pair * item.tiles + i * width + block - pair) * kLanes + lane;
            const int64_t corner = (tile.at[0] * size[1] + tile.at[1]) * size[2] + tile.at[2];
            transform_output<kDepth>(from, p.out_step, [&](int d, int h, const Vec(&sums)[kOut]) {
                if (d >= planes || h >= rows) return;
                const int64_t voxel = (item.block + block) * voxels + corner + (d * size[1] + h) * size[2];
                if (columns >= kOut) return finish.run<kOut>(sums, voxel * kLanes + lane);
                for (int w = 0; w < columns; ++w) finish.run<1>(sums + w, (voxel + w) * kLanes + lane);
            });
        }
        if (c.stats == nullptr) continue;
        float* stats = c.stats + (item.tile / p.batch * c.out_blocks * kLanes + channel) * 2;
        for (int j = 0; j < kVecLanes; ++j) stats[2 * j] = finish.sum[j], stats[2 * j + 1] = finish.square[j];
    }
}

template <int kDepth>
void conv_winograd_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    const ConvWinogradParams& p = plan.p;
    const int64_t positions = depth_in(kDepth) * kIn * kIn;
    float* v = static_cast<float*>(p.conv.workspace) + plan.slot() * p.workspace_floats;
    float* m = v + positions * p.in_step;
    for (int64_t i = begin; i < end; ++i) {
        const Item item = item_at(p, i);
        transform_inputs<kDepth>(p, item, v);
        multiply(p, item, positions, v, m);
        transform_outputs<kDepth>(p, item, m);
    }
}

}  // namespace

void conv_winograd(const ConvWinogradParams& params, const Exec& exec) {
    const Plan plan = {params, exec.slot};
    const RangeFn range = params.depth == 1   ? conv_winograd_range<1>
                          : params.depth == 2 ? conv_winograd_range<2>
                                              : conv_winograd_range<4>;
    exec.parallel_for(range, &plan, params.batches * params.splits, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
