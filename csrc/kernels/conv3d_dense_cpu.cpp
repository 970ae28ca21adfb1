// conv3d of few channels with any window. One item is a tile of output rows for all outputs of a group: the rows of all
// its input channels are copied with their zeros (kernels/padded_rows.h) to L2 or nearer, then up to 8 outputs x 2 to 4
// registers of columns are summed in registers over all channels and taps.
#include "kernels/conv3d_paths.h"
#include "kernels/padded_rows.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMostOut = kVecRegisters == 32 ? 8 : 4;
constexpr int64_t kMostRows = 8, kMostColumns = 256;
constexpr int64_t kMostTaps = 343;  // 7 x 7 x 7
constexpr int64_t kFewestBlocks = 8;
constexpr int64_t kMacsPerBlock = 1 << 18;

// Registers of columns beside so many outputs.
constexpr int wide(int out) { return out > kMostOut / 2 ? 2 : 4; }
constexpr int64_t kUnit = 4 * kVecLanes;

struct DensePlan {
    Conv3dParams p;
    PaddedTile tile;
    int64_t in_plane, out_plane, tiles_h, tiles_w, in_per_group, out_per_group, out_blocks, taps;
    int64_t offset[kMostTaps];
};

// One row of kOut outputs, to y or, where sums is not null, its sums there. x: the row's first tap in scratch; weight:
// that of the first output.
template <int kOut>
void sum_row(const DensePlan& plan, const float* x, const float* weight, const PlaneEpilogue* e, int64_t at,
             int64_t columns, float (*sums)[kMostColumns]) {
    constexpr int kWide = wide(kOut);
    const int64_t taps = plan.taps, size = plan.tile.size, step = plan.in_per_group * taps;
    for (int64_t i = 0; i < columns; i += kWide * kVecLanes) {
        Vec sum[kOut][kWide] = {};
        const float* w = weight;
        for (int64_t c = 0; c < plan.in_per_group; ++c)
            for (int64_t t = 0; t < taps; ++t, ++w) {
                const float* from = x + c * size + plan.offset[t] + i;
                Vec v[kWide];
#pragma GCC unroll 4
                for (int k = 0; k < kWide; ++k) v[k] = load(from + k * kVecLanes);
#pragma GCC unroll 8
                for (int j = 0; j < kOut; ++j) {
                    const Vec value = fill(w[j * step]);
#pragma GCC unroll 4
                    for (int k = 0; k < kWide; ++k) sum[j][k] += value * v[k];
                }
            }
        if (sums == nullptr) {
            finish_registers<kOut, kWide>(e, 1, at + i, 0, sum);
            continue;
        }
#pragma GCC unroll 8
        for (int j = 0; j < kOut; ++j)
#pragma GCC unroll 4
            for (int k = 0; k < kWide; ++k) store(sums[j] + i + k * kVecLanes, sum[j][k]);
    }
}

constexpr decltype(&sum_row<1>) kSumRow[] = {sum_row<1>, sum_row<2>, sum_row<3>,
                                             sum_row<4>,
#if defined(__AVX512F__)
                                             sum_row<5>, sum_row<6>, sum_row<7>,
                                             sum_row<8>
#endif
};
static_assert(sizeof kSumRow / sizeof *kSumRow == kMostOut);

void sum_rows(const DensePlan& plan, const float* scratch, const float* weight, const PlaneEpilogue* e, int64_t at,
              int64_t rows, int64_t columns, int64_t outputs) {
    const Epilogue& epilogue = plan.p.epilogue;
    const bool is_now = columns % kUnit == 0 && epilogue.kind != EpilogueKind::kSigmoid;
    alignas(64) float sums[kMostOut][kMostColumns];
    for (int64_t r = 0; r < rows; ++r, at += plan.p.out_size[2]) {
        for (int64_t j = 0; j < outputs; ++j) prefetch_operands(e[j], at, 0, 1, columns);
        const float* x = scratch + r * plan.p.stride[1] * plan.tile.row_pitch;
        kSumRow[outputs - 1](plan, x, weight, e, at, columns, is_now ? nullptr : sums);
        for (int64_t j = 0; !is_now && j < outputs; ++j) finish_row(e[j], at, sums[j], columns);
    }
}

void dense_range(const void* params, int64_t begin, int64_t end) {
    const DensePlan& plan = *static_cast<const DensePlan*>(params);
    const Conv3dParams& p = plan.p;
    alignas(64) float scratch[kScratch + kSlack];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % plan.tiles_w * plan.tile.columns, above = i / plan.tiles_w;
        const int64_t row = above % plan.tiles_h * plan.tile.rows, slice = above / plan.tiles_h;
        const int64_t d = slice % p.out_size[0], group = slice / p.out_size[0] % p.groups,
                      n = slice / p.out_size[0] / p.groups;
        const float* x = p.x + (n * p.in_channels + group * plan.in_per_group) * plan.in_plane;
        for (int64_t c = 0; c < plan.in_per_group; ++c)
            fill_tile(scratch + c * plan.tile.size, p, plan.tile, x + c * plan.in_plane, d, row, column);
        for (int64_t b = 0; b < plan.out_blocks; ++b) {
            const int64_t first = b * plan.out_per_group / plan.out_blocks,
                          outputs = (b + 1) * plan.out_per_group / plan.out_blocks - first;
            const int64_t channel = group * plan.out_per_group + first;
            PlaneEpilogue e[kMostOut];
            for (int64_t j = 0; j < outputs; ++j)
                e[j] =
                    plane_epilogue(p.epilogue, channel + j, p.y, (n * p.out_channels + channel + j) * plan.out_plane);
            sum_rows(plan, scratch, p.weight + channel * plan.in_per_group * plan.taps, e,
                     (d * p.out_size[1] + row) * p.out_size[2] + column, least(plan.tile.rows, p.out_size[1] - row),
                     least(plan.tile.columns, p.out_size[2] - column), outputs);
        }
    }
}

// The widest tile with at least 4 rows, or the narrowest with any.
bool choose_tile(DensePlan& plan) {
    const Conv3dParams& p = plan.p;
    const int64_t width = (p.out_size[2] + kUnit - 1) / kUnit * kUnit;
    const int64_t rows_wanted = least(kMostRows, (p.out_size[1] + kFewestBlocks - 1) / kFewestBlocks);
    for (int64_t columns = least(width, kMostColumns); columns >= kUnit; columns -= kUnit)
        for (int64_t rows = rows_wanted; rows >= (columns > kUnit ? least(4, rows_wanted) : 1); --rows) {
            plan.tile = padded_tile(p, rows, columns);
            if (plan.in_per_group * plan.tile.size <= kScratch) return true;
        }
    return false;
}

}  // namespace

bool conv3d_dense(const Conv3dParams& p, const Exec& exec) {
    DensePlan plan;
    plan.p = p, plan.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    plan.in_per_group = p.in_channels / p.groups, plan.out_per_group = p.out_channels / p.groups;
    if (plan.taps > kMostTaps || !choose_tile(plan)) return false;
    plan.out_blocks = (plan.out_per_group + kMostOut - 1) / kMostOut;
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    plan.tiles_h = (p.out_size[1] + plan.tile.rows - 1) / plan.tile.rows;
    plan.tiles_w = (p.out_size[2] + plan.tile.columns - 1) / plan.tile.columns;
    for (int64_t t = 0; t < plan.taps; ++t)
        plan.offset[t] =
            tap_offset(p, plan.tile, t / p.kernel[2] / p.kernel[1], t / p.kernel[2] % p.kernel[1], t % p.kernel[2]);
    const int64_t items = p.n * p.groups * p.out_size[0] * plan.tiles_h * plan.tiles_w;
    const int64_t macs = plan.tile.rows * plan.tile.columns * plan.in_per_group * plan.out_per_group * plan.taps;
    exec.parallel_for(dense_range, &plan, items, most(1, kMacsPerBlock / macs), exec.threads);
    return true;
}

}  // namespace covfast::COVFAST_ISA
