// Every stride-th output of a row sees the same taps, and sees them as a convolution of stride 1 does: with
// p = r + stride j, tap k reads x[j + (r + padding - k dilation) / stride] where that divides. One item is such a phase
// r of one output row, kTile outputs j of it, for up to 4 output channels of one group, which share each read of x.
#include "kernels/conv_transpose3d.h"
#include "kernels/row_taps.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kOutBlock = 4;
constexpr int64_t kMacsPerBlock = 1 << 18;

struct Plan {
    ConvTranspose3dParams p;
    int64_t in_plane, out_plane, tiles, out_blocks, in_per_group, out_per_group, taps;
};

struct Item {
    int64_t n, group, out_block, d, h, phase, first;  // first: of the outputs j
};

Item item_at(const Plan& plan, int64_t i) {
    const ConvTranspose3dParams& p = plan.p;
    Item item;
    item.out_block = i % plan.out_blocks, i /= plan.out_blocks;
    item.first = i % plan.tiles * kTile, i /= plan.tiles;
    item.phase = i % p.stride[2], i /= p.stride[2];
    item.h = i % p.out_size[1], i /= p.out_size[1];
    item.d = i % p.out_size[0], i /= p.out_size[0];
    item.group = i % p.groups;
    item.n = i / p.groups;
    return item;
}

// The sample that tap k puts on output o of one axis, or -1.
int64_t source_of(const ConvTranspose3dParams& p, int axis, int64_t o, int64_t k) {
    const int64_t at = o + p.padding[axis] - k * p.dilation[axis];
    return at < 0 || at % p.stride[axis] != 0 || at / p.stride[axis] >= p.in_size[axis] ? -1 : at / p.stride[axis];
}

// x: one channel's row; weight: the row of taps.
template <int kOut>
void add_phase(float (*sum)[kTile], const Plan& plan, const Item& item, const float* x, const float* weight,
               int64_t n) {
    const ConvTranspose3dParams& p = plan.p;
    for (int64_t k = 0; k < p.kernel[2]; ++k) {
        const int64_t at = item.phase + p.padding[2] - k * p.dilation[2];
        if (at % p.stride[2] != 0) continue;
        const int64_t shift = item.first + at / p.stride[2];  // exact, also below 0
        const Span span = {most(0, -shift), least(n, p.in_size[2] - shift)};
        if (span.begin < span.end) add_taps<kOut, 1>(sum, x + shift, 1, 0, weight + k, plan.taps, span);
    }
}

template <int kOut>
void run_channels(const Plan& plan, const Item& item, int64_t channel, int64_t n) {
    const ConvTranspose3dParams& p = plan.p;
    alignas(64) float sum[kOut][kTile];
    for (int j = 0; j < kOut; ++j) {
        const float start = p.bias == nullptr ? 0.0f : p.bias[item.group * plan.out_per_group + channel + j];
        for (int64_t i = 0; i < n; ++i) sum[j][i] = start;
    }
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
        const int64_t d = source_of(p, 0, item.d, kd);
        for (int64_t kh = 0; d >= 0 && kh < p.kernel[1]; ++kh) {
            const int64_t h = source_of(p, 1, item.h, kh);
            for (int64_t c = 0; h >= 0 && c < plan.in_per_group; ++c) {
                const int64_t from = item.group * plan.in_per_group + c;
                const float* x =
                    p.x + (item.n * p.in_channels + from) * plan.in_plane + (d * p.in_size[1] + h) * p.in_size[2];
                const float* weight = p.weight + (from * plan.out_per_group + channel) * plan.taps;
                add_phase<kOut>(sum, plan, item, x, weight + (kd * p.kernel[1] + kh) * p.kernel[2], n);
            }
        }
    }
    const int64_t row = (item.d * p.out_size[1] + item.h) * p.out_size[2] + item.phase + item.first * p.stride[2];
    for (int j = 0; j < kOut; ++j) {
        const int64_t to = item.group * plan.out_per_group + channel + j;
        float* y = p.y + (item.n * p.out_channels + to) * plan.out_plane + row;
        for (int64_t i = 0; i < n; ++i) y[i * p.stride[2]] = sum[j][i];
    }
}

void conv_transpose3d_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const Item item = item_at(plan, i);
        const int64_t outputs = (plan.p.out_size[2] - item.phase + plan.p.stride[2] - 1) / plan.p.stride[2];
        const int64_t n = least(kTile, outputs - item.first);
        if (n <= 0) continue;  // a later phase may have one output less
        int64_t channel = item.out_block * kOutBlock;
        int64_t left = least(kOutBlock, plan.out_per_group - channel);
        if (left == 4) {
            run_channels<4>(plan, item, channel, n);
            continue;
        }
        if (left >= 2) run_channels<2>(plan, item, channel, n), channel += 2, left -= 2;
        if (left == 1) run_channels<1>(plan, item, channel, n);
    }
}

}  // namespace

void conv_transpose3d(const ConvTranspose3dParams& p, const Exec& exec) {
    Plan plan = {p, 0, 0, 0, 0, p.in_channels / p.groups, p.out_channels / p.groups, 0};
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    const int64_t outputs = (p.out_size[2] + p.stride[2] - 1) / p.stride[2];
    plan.tiles = (outputs + kTile - 1) / kTile;
    plan.out_blocks = (plan.out_per_group + kOutBlock - 1) / kOutBlock;
    plan.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    const int64_t items = p.n * p.groups * p.out_size[0] * p.out_size[1] * p.stride[2] * plan.tiles * plan.out_blocks;
    const int64_t strides = p.stride[0] * p.stride[1] * p.stride[2];
    const int64_t macs = least(kTile, outputs) * least(kOutBlock, plan.out_per_group) * plan.in_per_group *
                         ((plan.taps + strides - 1) / strides);
    exec.parallel_for(conv_transpose3d_range, &plan, items, most(1, kMacsPerBlock / macs), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
