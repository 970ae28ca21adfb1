// One item is a tile of 8 rows x up to 64 columns for all channels. First the sums d_k of every branch and channel: a
// channel's input rows are copied with their zeros (kernels/padded_rows.h), then a register tile collects the taps of
// branch after branch and is stored after each, so that d_k costs no addition. Then the mix, branch by branch: up to 8
// outputs x 2 registers of positions are summed over the channels together with the gate, whose factor 1 + sigmoid
// comes after the sums, so that neither d_k nor the gates are written a second time. Where the d_k of such a tile or
// the rows around it do not fit into scratch, a tile is one row, its taps straight from x.
#include "kernels/depthwise_rows.h"
#include "kernels/padded_rows.h"
#include "kernels/spatial_pyramid.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMostOut = kVecRegisters == 32 ? 8 : 4;
constexpr int64_t kMostColumns = 64;
constexpr int64_t kRows = 8 << 10, kSums = 24 << 10;  // floats of the stack: rows of a channel of x; d_k
static_assert(kPyramidBranches * kPyramidChannels * kTileColumns <= kSums, "a row of d_k fits");

struct PyramidPlan {
    SpatialPyramidParams p;
    bool has_register_tiles;
    int64_t rows, columns, tiles_h, tiles_w;  // of a tile; tiles
    int64_t reach, in_rows;                   // greatest dilation; rows of x that a tile needs
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
    for (int64_t i = 0; i < plan.in_rows; ++i, to += plan.row_pitch) {
        if (first + i < 0 || first + i >= p.in_size[0]) {
            zero_row(to, plan.row_pitch);
        } else {
            copy_padded_row(to, plan.pitch, p.stride, x + (first + i) * p.in_size[1], p.in_size[1],
                            at.column * p.stride - plan.reach);
        }
    }
}

// Adds the taps of branch k.
template <int kStride>
inline __attribute__((always_inline)) void add_branch(RowTile& sum, const PyramidPlan& plan, int64_t k, const float* x,
                                                      const float* weight) {
    const int64_t *offset = plan.offset[k], column[3] = {0, offset[1] - offset[0], offset[2] - offset[0]};
    if (plan.p.dilation[k] == 1) {
        add_window<3, kStride, 1>(sum, x + offset[0], plan.row_pitch, column, weight);
    } else if (plan.p.dilation[k] == 2) {
        add_window<3, kStride, 2>(sum, x + offset[0], plan.row_pitch, column, weight);
    } else if (plan.p.dilation[k] == 4) {
        add_window<3, kStride, 4>(sum, x + offset[0], plan.row_pitch, column, weight);
    } else {
        add_taps_of_rows(sum, x, plan.p.stride * plan.row_pitch, offset, weight, 9);
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
            float* to = sums + (k * p.m + channel) * tile + c;
#pragma GCC unroll 8
            for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < kTileVecs; ++v) store(to + r * plan.columns + v * kVecLanes, sum[r][v]);
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

// kOut outputs of one branch on two registers of positions. d: (m, step apart); the first block finds the gate.
template <int kOut>
void mix(const PyramidPlan& plan, int64_t k, int64_t first, const float* d, int64_t step, Vec* factor, int64_t at,
         int64_t n) {
    const SpatialPyramidParams& p = plan.p;
    const float* weight = p.fuse_weight + (k * p.out_per_branch + first) * p.m;
    const float* gate_weight = p.gate_weight + k * p.m;
    Vec sum[kOut][kTileVecs] = {}, gate[kTileVecs] = {};
    for (int64_t c = 0; c < p.m; ++c) {
        Vec v[kTileVecs];
        const Vec g = fill(gate_weight[c]);
#pragma GCC unroll 2
        for (int i = 0; i < kTileVecs; ++i) v[i] = load(d + c * step + i * kVecLanes), gate[i] += g * v[i];
#pragma GCC unroll 8
        for (int j = 0; j < kOut; ++j) {
            const Vec w = fill(weight[j * p.m + c]);
#pragma GCC unroll 2
            for (int i = 0; i < kTileVecs; ++i) sum[j][i] += w * v[i];
        }
    }
    if (first == 0) {
        const float bias = p.gate_bias == nullptr ? 0.0f : p.gate_bias[k];
        for (int i = 0; i < kTileVecs; ++i) factor[i] = 1.0f + sigmoid_vec(gate[i] + bias);
    }
    const int64_t plane = p.out_size[0] * p.out_size[1];
#pragma GCC unroll 8
    for (int j = 0; j < kOut; ++j) {
        for (int i = 0; i < kTileVecs; ++i) sum[j][i] *= factor[i];
        const int64_t channel = k * p.out_per_branch + first + j;
        finish<kTileVecs>(plane_epilogue(p.epilogue, channel, p.y, channel * plane), at, sum[j], n);
    }
}

void mix_branch(const PyramidPlan& plan, int64_t k, const float* d, int64_t step, int64_t at, int64_t n) {
    const int64_t outputs = plan.p.out_per_branch, blocks = (outputs + kMostOut - 1) / kMostOut;
    Vec factor[kTileVecs] = {};
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t first = b * outputs / blocks;
        switch ((b + 1) * outputs / blocks - first) {
            case 1:
                mix<1>(plan, k, first, d, step, factor, at, n);
                break;
            case 2:
                mix<2>(plan, k, first, d, step, factor, at, n);
                break;
            case 3:
                mix<3>(plan, k, first, d, step, factor, at, n);
                break;
#if defined(__AVX512F__)
            case 4:
                mix<4>(plan, k, first, d, step, factor, at, n);
                break;
            case 5:
                mix<5>(plan, k, first, d, step, factor, at, n);
                break;
            case 6:
                mix<6>(plan, k, first, d, step, factor, at, n);
                break;
            case 7:
                mix<7>(plan, k, first, d, step, factor, at, n);
                break;
#endif
            default:
                mix<kMostOut>(plan, k, first, d, step, factor, at, n);
        }
    }
}

void pyramid_range(const void* params, int64_t begin, int64_t end) {
    const PyramidPlan& plan = *static_cast<const PyramidPlan*>(params);
    const SpatialPyramidParams& p = plan.p;
    const int64_t plane = p.in_size[0] * p.in_size[1], tile = plan.rows * plan.columns;
    alignas(64) float rows[kRows + kSlack], sums[kSums];
    for (int64_t i = begin; i < end; ++i) {
        Place at = {i / plan.tiles_w * plan.rows, i % plan.tiles_w * plan.columns, 0, 0};
        at.rows = least(plan.rows, p.out_size[0] - at.row), at.columns = least(plan.columns, p.out_size[1] - at.column);
        for (int64_t c = 0; c < p.m; ++c) {
            if (plan.has_register_tiles) {
                fill_rows(rows, plan, p.x + c * plane, at);
                plan.sum_channel(plan, rows, c, sums);
            } else {
                sum_row(plan, p.x + c * plane, at, c, sums);
            }
        }
        for (int64_t k = 0; k < p.branches; ++k)
            for (int64_t r = 0; r < at.rows; ++r)
                for (int64_t c = 0; c < at.columns; c += kTileColumns)
                    mix_branch(plan, k, sums + k * p.m * tile + r * plan.columns + c, tile,
                               (at.row + r) * p.out_size[1] + at.column + c, at.columns - c);
    }
}

// Register tiles if they fit, else rows.
void choose_tile(PyramidPlan& plan) {
    const SpatialPyramidParams& p = plan.p;
    for (int64_t k = 0; k < p.branches; ++k) plan.reach = most(plan.reach, p.dilation[k]);
    const int64_t width = (p.out_size[1] + kTileColumns - 1) / kTileColumns * kTileColumns;
    plan.rows = kTileRows, plan.in_rows = (kTileRows - 1) * p.stride + 2 * plan.reach + 1;
    for (plan.columns = least(width, kMostColumns); plan.columns > 0; plan.columns -= kTileColumns) {
        plan.pitch = whole_lines(plan.columns + 2 * plan.reach / p.stride);
        plan.row_pitch = plan.pitch * p.stride;
        plan.has_register_tiles =
            plan.in_rows * plan.row_pitch <= kRows && p.branches * p.m * plan.rows * plan.columns <= kSums;
        if (plan.has_register_tiles) return;
    }
    plan.rows = 1, plan.columns = least(width, kSums / (p.branches * p.m) / kTileColumns * kTileColumns);
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
                          column = plan.reach + (t % 3 - 1) * p.dilation[k];
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
