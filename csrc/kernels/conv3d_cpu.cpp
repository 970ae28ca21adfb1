// One item is a tile of kTile columns of one output row for up to 4 output channels of one group: 4 channels share each
// read of x. Items run channels fastest, then columns, rows, planes, then groups: a dense convolution finds its input
// rows in L2 for the next channels, a depthwise one streams down one plane. A 1x1x1 kernel without stride has no rows
// to respect: the whole plane is one row and its taps are 4 input channels, one plane apart.
#include "kernels/conv3d.h"
#include "kernels/conv3d_paths.h"
#include "kernels/planar_epilogue.h"
#include "kernels/row_taps.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kOutBlock = 4;
constexpr int64_t kMacsPerBlock = 1 << 18;  // some ten microseconds: long beside waking a thread

struct Plan {
    Conv3dParams p;
    int64_t in_plane, out_plane, tiles, out_blocks, in_per_group, out_per_group, taps;
    bool is_pointwise;
};

struct Item {
    int64_t n, group, out_block, d, h, column;
};

Item item_at(const Plan& plan, int64_t i) {
    Item item;
    item.out_block = i % plan.out_blocks, i /= plan.out_blocks;
    item.column = i % plan.tiles * kTile, i /= plan.tiles;
    item.h = i % plan.p.out_size[1], i /= plan.p.out_size[1];
    item.d = i % plan.p.out_size[0], i /= plan.p.out_size[0];
    item.group = i % plan.p.groups;
    item.n = i / plan.p.groups;
    return item;
}

// x: the group's channels at the tile's first column.
template <int kOut>
void sum_channels(float (*sum)[kTile], const Plan& plan, const float* x, const float* weight, int64_t n) {
    int64_t c = 0;
    for (; c + 4 <= plan.in_per_group; c += 4)
        add_taps<kOut, 4>(sum, x + c * plan.in_plane, 1, plan.in_plane, weight + c, plan.in_per_group, {0, n});
    for (; c < plan.in_per_group; ++c)
        add_taps<kOut, 1>(sum, x + c * plan.in_plane, 1, 0, weight + c, plan.in_per_group, {0, n});
}

// x: the group's channels.
template <int kOut>
void sum_window(float (*sum)[kTile], const Plan& plan, const Item& item, const float* x, const float* weight,
                const RowTaps& row, int64_t kw) {
    const Conv3dParams& p = plan.p;
    const int64_t weight_step = plan.in_per_group * plan.taps;
    for (int64_t c = 0; c < plan.in_per_group; ++c)
        for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
            const int64_t d = item.d * p.stride[0] - p.padding[0] + kd * p.dilation[0];
            if (d < 0 || d >= p.in_size[0]) continue;
            for (int64_t kh = 0; kh < p.kernel[1]; ++kh) {
                const int64_t h = item.h * p.stride[1] - p.padding[1] + kh * p.dilation[1];
                if (h < 0 || h >= p.in_size[1]) continue;
                const float* at = x + c * plan.in_plane + (d * p.in_size[1] + h) * p.in_size[2];
                const float* w = weight + c * plan.taps + (kd * p.kernel[1] + kh) * p.kernel[2] + kw;
                add_row<kOut>(sum, at, row, w, weight_step);
            }
        }
}

template <int kOut>
void run_channels(const Plan& plan, const Item& item, int64_t channel) {
    const Conv3dParams& p = plan.p;
    const int64_t n = least(kTile, p.out_size[2] - item.column);
    const float* x = p.x + (item.n * p.in_channels + item.group * plan.in_per_group) * plan.in_plane;
    const float* weight = p.weight + channel * plan.in_per_group * plan.taps;
    alignas(64) float sum[kOut][kTile];
    for (int j = 0; j < kOut; ++j)
        for (int64_t i = 0; i < n; ++i) sum[j][i] = 0.0f;
    if (plan.is_pointwise) {
        sum_channels<kOut>(sum, plan, x + item.column, weight, n);
    }
    for (int64_t kw = 0; !plan.is_pointwise && kw < p.kernel[2]; kw += kTaps) {
        const RowTaps row = row_taps(p.in_size[2], p.out_size[2], p.stride[2], p.dilation[2], p.padding[2], kw,
                                     p.kernel[2], item.column, n);
        sum_window<kOut>(sum, plan, item, x, weight, row, kw);
    }
    const int64_t at = (item.d * p.out_size[1] + item.h) * p.out_size[2] + item.column;
    for (int j = 0; j < kOut; ++j) {
        const int64_t plane = (item.n * p.out_channels + channel + j) * plan.out_plane;
        finish_row(plane_epilogue(p.epilogue, channel + j, p.y, plane), at, sum[j], n);
    }
}

void conv3d_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const Item item = item_at(plan, i);
        int64_t channel = item.group * plan.out_per_group + item.out_block * kOutBlock;
        int64_t left = least(kOutBlock, plan.out_per_group - item.out_block * kOutBlock);
        if (left == 4) {
            run_channels<4>(plan, item, channel);
            continue;
        }
        if (left >= 2) run_channels<2>(plan, item, channel), channel += 2, left -= 2;
        if (left == 1) run_channels<1>(plan, item, channel);
    }
}

Plan plan_of(const Conv3dParams& params) {
    Plan plan = {params, 0, 0, 0, 0, 0, 0, 0, true};
    Conv3dParams& p = plan.p;
    for (int a = 0; a < 3; ++a)
        plan.is_pointwise = plan.is_pointwise && p.kernel[a] == 1 && p.stride[a] == 1 && p.padding[a] == 0;
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    if (plan.is_pointwise) {
        p.in_size[0] = p.in_size[1] = p.out_size[0] = p.out_size[1] = 1;
        p.in_size[2] = p.out_size[2] = plan.in_plane;
    }
    plan.in_per_group = p.in_channels / p.groups;
    plan.out_per_group = p.out_channels / p.groups;
    plan.out_blocks = (plan.out_per_group + kOutBlock - 1) / kOutBlock;
    plan.tiles = (p.out_size[2] + kTile - 1) / kTile;
    plan.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    return plan;
}

}  // namespace

void conv3d(const Conv3dParams& params, const Exec& exec) {
    if (conv3d_pointwise(params, exec) || conv3d_depthwise(params, exec) || conv3d_dense(params, exec)) return;
    const Plan plan = plan_of(params);
    const Conv3dParams& p = plan.p;
    const int64_t items = p.n * p.groups * p.out_size[0] * p.out_size[1] * plan.tiles * plan.out_blocks;
    const int64_t macs =
        least(kTile, p.out_size[2]) * least(kOutBlock, plan.out_per_group) * plan.in_per_group * plan.taps;
    exec.parallel_for(conv3d_range, &plan, items, most(1, kMacsPerBlock / macs), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
