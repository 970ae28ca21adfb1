// One item is a tile of kTileRows x up to kMostColumns outputs for all channels. First the sums d_k of every branch and
// channel: a channel's input rows are copied with their zeros (kernels/padded_rows.h), then a register tile collects
// the taps of branch after branch and is stored after each, so that d_k costs no addition. Then the mix, branch by
// branch: up to 8 outputs x 2 registers of positions are summed over the channels together with the gate, whose factor
// 1 + sigmoid comes after the sums, so that neither d_k nor the gates are written a second time. Where the d_k of such
// a tile or the rows around it do not fit into scratch, a tile is one row, its taps straight from x.
#include "kernels/depthwise_rows.h"
#include "kernels/padded_rows.h"
#include "kernels/spatial_pyramid.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMostOut = kVecRegisters == 32 ? 8 : 4;
constexpr int64_t kMostColumns = 128, kMostTile = kTileRows * kMostColumns;  // a tile of one row may be wider
constexpr int64_t kRows = 6 << 10, kSums = 24 << 10;  // floats of the stack: rows of a channel of x; d_k
static_assert(kPyramidBranches * kPyramidChannels * kTileColumns <= kSums, "a row of d_k fits");
static_assert(kMostTile % kTileColumns == 0, "a row of kMostTile columns is whole register tiles");

struct PyramidPlan {
    SpatialPyramidParams p;
    bool has_register_tiles;
    int64_t rows, columns, tiles_h, tiles_w;  // of a tile; tiles
    int64_t reach, margin, in_rows;           // greatest dilation; columns before the tile; rows of x that it needs
    int64_t pitch, row_pitch;                 // in scratch: a phase of a row, all its phases
    int64_t offset[kPyramidBranches][9];      // of the taps in scratch
    void (*sum_channel)(const PyramidPlan& plan, const float* rows, int64_t channel, float* sums);
};

struct Place {
    int64_t row, column;    // of the tile in y
    int64_t rows, columns;  // of the tile inside y
};

void fill_rows(float* to, const PyramidPlan& plan, const float* x, const Place& at) {
    const SpatialPyramidParams& p = plan.p;
    const int64_t first = at.row * p.stride - plan.reach;
    const PaddedRow row = padded_row(plan.pitch, p.stride, p.in_size[1], at.column * p.stride - plan.margin);
    for (int64_t i = 0; i < plan.in_rows; ++i, to += plan.row_pitch) {
        if (first + i < 0 || first + i >= p.in_size[0]) {
            zero_row(to, plan.row_pitch);
        } else {
            copy_padded_row(to, row, x + (first + i) * p.in_size[1]);
        }
    }
}

#if defined(__AVX512F__)

// Adds a branch of dilation kDilation, below 16. x: the tile's first column less the margin of 16, in the row above by
// the dilation. With a stride of 2 an even dilation sees every second row and column alone.
template <int kStride, int kDilation>
inline __attribute__((always_inline)) void add_near_branch(RowTile& sum, const PyramidPlan& plan, const float* x,
                                                           const float* weight) {
    constexpr int kCentre = 16 / kStride, kStep = kDilation / kStride;
    const int64_t pitch = kStride * plan.row_pitch;
    if constexpr (kStep > 0) {
        add_shifted<3, kStep, kCentre - kStep, kCentre, kCentre + kStep>(sum, x, pitch, weight, 3, 1);
    } else {  // columns left and right are odd, and so is the centre's row
        const float* odd = x + plan.pitch;
        add_shifted<2, 1, kCentre - 1, kCentre>(sum, odd, pitch, weight, 6, 2);
        add_shifted<2, 1, kCentre>(sum, x, pitch, weight + 1, 6, 0);
        add_shifted<1, 1, kCentre - 1, kCentre>(sum, odd + plan.row_pitch, pitch, weight + 3, 0, 2);
        add_shifted<1, 1, kCentre>(sum, x + plan.row_pitch, pitch, weight + 4, 0, 0);
    }
}

#endif

// Adds the taps of branch k.
template <int kStride>
inline __attribute__((always_inline)) void add_branch(RowTile& sum, const PyramidPlan& plan, int64_t k, const float* x,
                                                      const float* weight) {
    const int64_t dilation = plan.p.dilation[k];
#if defined(__AVX512F__)
    if (plan.margin == 16 && (dilation == 1 || dilation == 2 || dilation == 4 || dilation == 8)) {
        const float* from = x + (plan.reach - dilation) * plan.row_pitch;
        if (dilation == 1) return add_near_branch<kStride, 1>(sum, plan, from, weight);
        if (dilation == 2) return add_near_branch<kStride, 2>(sum, plan, from, weight);
        if (dilation == 4) return add_near_branch<kStride, 4>(sum, plan, from, weight);
        return add_near_branch<kStride, 8>(sum, plan, from, weight);
    }
#endif
    const int64_t *offset = plan.offset[k], column[3] = {0, offset[1] - offset[0], offset[2] - offset[0]};
    if (dilation == 1) {
        add_window<3, kStride, 1>(sum, x + offset[0], plan.row_pitch, column, weight);
    } else if (dilation == 2) {
        add_window<3, kStride, 2>(sum, x + offset[0], plan.row_pitch, column, weight);
    } else {
        add_taps_of_rows(sum, x, kStride * plan.row_pitch, offset, weight, 9);
    }
}

// d_k of one channel into sums (branches, m, rows, columns).
template <int kStride>
void sum_channel(const PyramidPlan& plan, const float* rows, int64_t channel, float* sums) {
    const SpatialPyramidParams& p = plan.p;
    const int64_t tile = plan.rows * plan.columns;
    for (int64_t c = 0; c < plan.columns; c += kTileColumns) {
        RowTile sum = {};
        for (int64_t k = 0; k < p.branches; ++k) {
            const float* weight = p.branch_weight + (k * p.m + channel) * 9;
            if constexpr (kStride == 0) {
                add_taps_of_rows(sum, rows + c, p.stride * plan.row_pitch, plan.offset[k], weight, 9);
            } else {
                add_branch<kStride>(sum, plan, k, rows + c, weight);
            }
            store_tile(sum, sums + (k * p.m + channel) * tile + c, plan.columns);
        }
    }
}

// d_k of one channel on one row, straight from its plane.
void sum_row(const PyramidPlan& plan, const float* x, const Place& at, int64_t channel, float* sums) {
    const SpatialPyramidParams& p = plan.p;
    float* above = nullptr;  // d_(k - 1)
    for (int64_t k = 0; k < p.branches; ++k) {
        float* to = sums + (k * p.m + channel) * plan.columns;
        for (int64_t i = 0; i < plan.columns; ++i) to[i] = above == nullptr ? 0.0f : above[i];
        above = to;
        for (int64_t t = 0; t < 9; ++t) {
            const int64_t h = at.row * p.stride + (t / 3 - 1) * p.dilation[k], shift = (t % 3 - 1) * p.dilation[k];
            if (h < 0 || h >= p.in_size[0]) continue;
            const Span span = inside(p.out_size[1], p.in_size[1], p.stride, shift);
            const float *from = x + h * p.in_size[1] + shift, w = p.branch_weight[(k * p.m + channel) * 9 + t];
            const int64_t end = least(span.end, at.column + at.columns);
            for (int64_t i = most(span.begin, at.column); i < end; ++i) to[i - at.column] += w * from[i * p.stride];
        }
    }
}

// 1 + the gate of one branch on n positions. d: (m, step apart).
void find_factors(const PyramidPlan& plan, int64_t k, const float* d, int64_t step, int64_t n, float* factor) {
    const SpatialPyramidParams& p = plan.p;
    const float bias = p.gate_bias == nullptr ? 0.0f : p.gate_bias[k];
    for (int64_t i = 0; i < n; i += kTileColumns) {
        Vec gate[kTileVecs] = {};
        for (int64_t c = 0; c < p.m; ++c)
#pragma GCC unroll 2
            for (int v = 0; v < kTileVecs; ++v)
                gate[v] += fill(p.gate_weight[k * p.m + c]) * load(d + c * step + i + v * kVecLanes);
#pragma GCC unroll 2
        for (int v = 0; v < kTileVecs; ++v) store(factor + i + v * kVecLanes, 1.0f + sigmoid_vec(gate[v] + bias));
    }
}

// kOut outputs of one branch on n positions, before their epilogue. weight: of the first of them.
template <int kOut>
void mix(const float* weight, int64_t m, const float* d, int64_t step, const float* factor, int64_t n, float* mixed) {
    for (int64_t i = 0; i < n; i += kTileColumns) {
        Vec sum[kOut][kTileVecs] = {};
        for (int64_t c = 0; c < m; ++c) {
            const Vec v[kTileVecs] = {load(d + c * step + i), load(d + c * step + i + kVecLanes)};
#pragma GCC unroll 8
            for (int j = 0; j < kOut; ++j) {
                const Vec w = fill(weight[j * m + c]);
#pragma GCC unroll 2
                for (int k = 0; k < kTileVecs; ++k) sum[j][k] += w * v[k];
            }
        }
        const Vec scale[kTileVecs] = {load(factor + i), load(factor + i + kVecLanes)};
#pragma GCC unroll 8
        for (int j = 0; j < kOut; ++j)
#pragma GCC unroll 2
            for (int k = 0; k < kTileVecs; ++k) store(mixed + j * step + i + k * kVecLanes, sum[j][k] * scale[k]);
    }
}

constexpr decltype(&mix<1>) kMix[] = {mix<1>, mix<2>, mix<3>,
                                      mix<4>,
#if defined(__AVX512F__)
                                      mix<5>, mix<6>, mix<7>,
                                      mix<8>
#endif
};
static_assert(sizeof kMix / sizeof *kMix == kMostOut);

// All outputs of branch k on a tile. d: (m, rows, columns); mixed: scratch.
void mix_branch(const PyramidPlan& plan, int64_t k, const Place& at, const float* d, float* mixed) {
    const SpatialPyramidParams& p = plan.p;
    const int64_t blocks = (p.out_per_branch + kMostOut - 1) / kMostOut, tile = plan.rows * plan.columns;
    const int64_t n = at.rows * plan.columns, plane = p.out_size[0] * p.out_size[1];
    float* factor = mixed + kMostOut * tile;  // tile <= kMostTile
    find_factors(plan, k, d, tile, n, factor);
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t first = k * p.out_per_branch + b * p.out_per_branch / blocks;
        const int64_t outputs = k * p.out_per_branch + (b + 1) * p.out_per_branch / blocks - first;
        const int64_t position = at.row * p.out_size[1] + at.column;
        for (int64_t j = 0; j < outputs; ++j)
            prefetch_operands(plane_epilogue(p.epilogue, first + j, p.y, (first + j) * plane), position, p.out_size[1],
                              at.rows, at.columns);
        kMix[outputs - 1](p.fuse_weight + first * p.m, p.m, d, tile, factor, n, mixed);
        for (int64_t j = 0; j < outputs; ++j)
            finish_tile(plane_epilogue(p.epilogue, first + j, p.y, (first + j) * plane), position, p.out_size[1],
                        mixed + j * tile, plan.columns, at.rows, at.columns);
    }
}

// Asks for what fill_rows will copy.
void prefetch_rows(const PyramidPlan& plan, const float* x, const Place& at) {
    const SpatialPyramidParams& p = plan.p;
    const int64_t first = at.row * p.stride - plan.reach, column = at.column * p.stride - plan.margin;
    for (int64_t h = most(0, first); h < least(p.in_size[0], first + plan.in_rows); ++h)
        prefetch_columns(x + h * p.in_size[1], column, column + plan.row_pitch, p.in_size[1]);
}

Place place_of(const PyramidPlan& plan, int64_t i) {
    const SpatialPyramidParams& p = plan.p;
    Place at = {i / plan.tiles_w * plan.rows, i % plan.tiles_w * plan.columns, 0, 0};
    at.rows = least(plan.rows, p.out_size[0] - at.row), at.columns = least(plan.columns, p.out_size[1] - at.column);
    return at;
}

void pyramid_range(const void* params, int64_t begin, int64_t end) {
    const PyramidPlan& plan = *static_cast<const PyramidPlan*>(params);
    const SpatialPyramidParams& p = plan.p;
    const int64_t plane = p.in_size[0] * p.in_size[1], tile = plan.rows * plan.columns;
    alignas(64) float rows[kRows + kSlack], sums[kSums], mixed[(kMostOut + 1) * kMostTile];
    for (int64_t i = begin; i < end; ++i) {
        const Place at = place_of(plan, i), next = place_of(plan, i + 1);
        for (int64_t c = 0; c < p.m; ++c) {
            if (plan.has_register_tiles) {
                fill_rows(rows, plan, p.x + c * plane, at);
                if (c + 1 < p.m) prefetch_rows(plan, p.x + (c + 1) * plane, at);
                if (c + 1 == p.m && i + 1 < end) prefetch_rows(plan, p.x, next);
                plan.sum_channel(plan, rows, c, sums);
            } else {
                sum_row(plan, p.x + c * plane, at, c, sums);
            }
        }
        for (int64_t k = 0; k < p.branches; ++k) mix_branch(plan, k, at, sums + k * p.m * tile, mixed);
    }
}

// Register tiles if they fit, else rows.
void choose_tile(PyramidPlan& plan) {
    const SpatialPyramidParams& p = plan.p;
    for (int64_t k = 0; k < p.branches; ++k) plan.reach = most(plan.reach, p.dilation[k]);
    plan.margin = whole_lines(plan.reach);
    const int64_t width = (p.out_size[1] + kTileColumns - 1) / kTileColumns * kTileColumns;
    plan.rows = kTileRows, plan.in_rows = (kTileRows - 1) * p.stride + 2 * plan.reach + 1;
    for (plan.columns = least(width, kMostColumns); plan.columns > 0; plan.columns -= kTileColumns) {
        plan.pitch = whole_lines(plan.columns + (plan.margin + plan.reach) / p.stride);
        plan.row_pitch = plan.pitch * p.stride;
        plan.has_register_tiles =
            plan.in_rows * plan.row_pitch <= kRows && p.branches * p.m * plan.rows * plan.columns <= kSums;
        if (plan.has_register_tiles) return;
    }
    const int64_t most_columns = kSums / (p.branches * p.m) / kTileColumns * kTileColumns;
    plan.rows = 1, plan.columns = least(width, least(kMostTile, most_columns));
}

PyramidPlan plan_of(const SpatialPyramidParams& p) {
    PyramidPlan plan = {};
    plan.p = p;
    choose_tile(plan);
    plan.tiles_h = (p.out_size[0] + plan.rows - 1) / plan.rows;
    plan.tiles_w = (p.out_size[1] + plan.columns - 1) / plan.columns;
    for (int64_t k = 0; k < p.branches; ++k)
        for (int64_t t = 0; t < 9; ++t) {
            const int64_t row = plan.reach + (t / 3 - 1) * p.dilation[k],
                          column = plan.margin + (t % 3 - 1) * p.dilation[k];
            plan.offset[k][t] = row * plan.row_pitch + column % p.stride * plan.pitch + column / p.stride;
        }
    plan.sum_channel = p.stride == 1 ? sum_channel<1> : p.stride == 2 ? sum_channel<2> : sum_channel<0>;
    return plan;
}

}  // namespace

void spatial_pyramid(const SpatialPyramidParams& p, const Exec& exec) {
    const PyramidPlan plan = plan_of(p);
    exec.parallel_for(pyramid_range, &plan, plan.tiles_h * plan.tiles_w, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
