// One item is a tile of outputs of all channels. The input rows of all input channels are copied once with their zeros,
// and split where the stride is 2 (kernels/padded_rows.h); in that form they are a matrix of channels x positions,
// whose products with mix_weight, up to 4 channels at a time, are the rows of the depthwise convolution as it wants
// them (kernels/depthwise_tile.h): between the two convolutions nothing leaves L2. Rows and columns around a tile are
// mixed again for its neighbours, which costs less than to store and to load them.
#include "kernels/depthwise_tile.h"
#include "kernels/pointwise_depthwise.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMostMixed = 4, kWide = kVecRegisters == 32 ? 4 : 2;
constexpr int64_t kRoom = kScratch / kMixedChannels;  // floats of a channel's rows
static_assert(kRoom >= ((kTileRows - 1) * 2 + kDepthwiseKernel) * 2 * (kTileColumns + 16), "a tile always fits");

struct PointwiseDepthwisePlan {
    PointwiseDepthwiseParams p;
    DepthwiseTile tile;
    int64_t tiles_w;
};

// kOut mixed channels on kVecs registers of positions. x: (channels, step apart).
template <int kOut, int kVecs>
inline __attribute__((always_inline)) void mix_registers(const float* x, int64_t step, const float* weight,
                                                         int64_t channels, float* mixed) {
    Vec sum[kOut][kVecs] = {};
    for (int64_t c = 0; c < channels; ++c) {
        Vec v[kVecs];
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) v[k] = load(x + c * step + k * kVecLanes);
#pragma GCC unroll 4
        for (int j = 0; j < kOut; ++j) {
            const Vec w = fill(weight[j * channels + c]);
#pragma GCC unroll 4
            for (int k = 0; k < kVecs; ++k) sum[j][k] += w * v[k];
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kOut; ++j)
#pragma GCC unroll 4
        for (int k = 0; k < kVecs; ++k) store(mixed + j * step + k * kVecLanes, sum[j][k]);
}

// n: whole registers.
template <int kOut>
void mix(const float* x, int64_t n, const float* weight, int64_t channels, float* mixed) {
    int64_t i = 0;
    for (; i + kWide * kVecLanes <= n; i += kWide * kVecLanes)
        mix_registers<kOut, kWide>(x + i, n, weight, channels, mixed + i);
    for (; i < n; i += kVecLanes) mix_registers<kOut, 1>(x + i, n, weight, channels, mixed + i);
}

constexpr decltype(&mix<1>) kMix[] = {mix<1>, mix<2>, mix<3>, mix<4>};
static_assert(sizeof kMix / sizeof *kMix == kMostMixed);

// Asks for one output channel's share of the rows that the tile of item i copies: they may come from beyond L3.
void prefetch_share(const PointwiseDepthwisePlan& plan, int64_t i, int64_t channel) {
    const PointwiseDepthwiseParams& p = plan.p;
    const PaddedTile& t = plan.tile.padded;
    const int64_t first_row = i / plan.tiles_w * t.rows * p.stride - p.padding,
                  first_column = i % plan.tiles_w * t.columns * p.stride - p.padding;
    const int64_t all = t.in_rows * p.in_channels, last = (channel + 1) * all / p.channels;
    for (int64_t r = channel * all / p.channels; r < last; ++r) {
        const int64_t h = first_row + r % t.in_rows;
        if (h < 0 || h >= p.in_size[0]) continue;
        const float* row = p.x + (r / t.in_rows * p.in_size[0] + h) * p.in_size[1];
        prefetch_columns(row, first_column, first_column + t.row_pitch, p.in_size[1]);
    }
}

void pointwise_depthwise_range(const void* params, int64_t begin, int64_t end) {
    const PointwiseDepthwisePlan& plan = *static_cast<const PointwiseDepthwisePlan*>(params);
    const PointwiseDepthwiseParams& p = plan.p;
    const DepthwiseTile& tile = plan.tile;
    const int64_t size = tile.padded.size, in_plane = p.in_size[0] * p.in_size[1],
                  out_plane = p.out_size[0] * p.out_size[1];
    alignas(64) float inputs[kScratch + kSlack], mixed[kMostMixed * kRoom + kSlack];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / plan.tiles_w * tile.padded.rows, column = i % plan.tiles_w * tile.padded.columns;
        const int64_t rows = least(tile.padded.rows, p.out_size[0] - row),
                      columns = least(tile.padded.columns, p.out_size[1] - column);
        for (int64_t c = 0; c < p.in_channels; ++c)
            fill_tile(inputs + c * size, tile.p, tile.padded, p.x + c * in_plane, 0, row, column);
        for (int64_t first = 0; first < p.channels; first += kMostMixed) {
            const int64_t count = least(kMostMixed, p.channels - first);
            kMix[count - 1](inputs, size, p.mix_weight + first * p.in_channels, p.in_channels, mixed);
            for (int64_t j = 0; j < count; ++j) {
                if (i + 1 < end) prefetch_share(plan, i + 1, first + j);
                tile.sum(tile, mixed + j * size, p.weight + (first + j) * tile.taps,
                         plane_epilogue(p.epilogue, first + j, p.y, (first + j) * out_plane),
                         row * p.out_size[1] + column, rows, columns);
            }
        }
    }
}

// The depthwise part.
Conv3dParams depthwise_params(const PointwiseDepthwiseParams& p) {
    Conv3dParams conv = {p.x,
                         p.weight,
                         p.y,
                         p.epilogue,
                         1,
                         p.channels,
                         p.channels,
                         p.channels,
                         {1, p.in_size[0], p.in_size[1]},
                         {1, p.out_size[0], p.out_size[1]},
                         {1, p.kernel, p.kernel},
                         {1, p.stride, p.stride},
                         {1, 1, 1},
                         {0, p.padding, p.padding}};
    return conv;
}

}  // namespace

void pointwise_depthwise(const PointwiseDepthwiseParams& p, const Exec& exec) {
    PointwiseDepthwisePlan plan;
    plan.p = p;
    set_depthwise_tile(plan.tile, depthwise_params(p), kRoom);
    const PaddedTile& padded = plan.tile.padded;
    plan.tiles_w = (p.out_size[1] + padded.columns - 1) / padded.columns;
    const int64_t tiles_h = (p.out_size[0] + padded.rows - 1) / padded.rows;
    exec.parallel_for(pointwise_depthwise_range, &plan, tiles_h * plan.tiles_w, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
