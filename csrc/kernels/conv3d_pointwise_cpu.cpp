// conv3d with a kernel of 1 and stride 1: for each group a product of its weights with the matrix channels x positions.
// One item is a span of positions for all outputs of a group, so that x is read once. Up to 8 outputs x 2 to 4
// registers of positions are summed in registers over all input channels. Where there are more outputs, the span is
// copied first: its channels lie a plane apart, often a power of two, and would fall into few sets of L1.
#include "kernels/conv3d_paths.h"
#include "kernels/padded_rows.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMostOut = kVecRegisters == 32 ? 8 : 4;  // outputs summed at a time
constexpr int64_t kSpanFloats = 6 << 10;               // of the copied span: most of L1
constexpr int64_t kMostSpan = 1536;
constexpr int64_t kMacsPerBlock = 1 << 18;

// Registers of positions beside so many outputs.
constexpr int wide(int out) { return kVecRegisters == 32 ? (out > 6 ? 3 : 4) : (out > 2 ? 2 : 4); }

struct PointwisePlan {
    Conv3dParams p;
    int64_t plane, unit, span, spans, in_per_group, out_per_group, out_blocks;
};

// Sums of kOut outputs on the n positions from `at` on. x: the first position of the group's first channel.
template <int kOut>
void multiply(const PointwisePlan& plan, const float* x, int64_t step, const float* weight, const PlaneEpilogue* e,
              int64_t at, int64_t n) {
    constexpr int kWide = wide(kOut);
    const int64_t channels = plan.in_per_group;
    for (int64_t i = 0; i < n; i += kWide * kVecLanes) {
        Vec sum[kOut][kWide] = {};
        const float* from = x + i;
        for (int64_t c = 0; c < channels; ++c, from += step) {
            Vec v[kWide];
#pragma GCC unroll 4
            for (int k = 0; k < kWide; ++k) v[k] = load(from + k * kVecLanes);
#pragma GCC unroll 8
            for (int j = 0; j < kOut; ++j) {
                const Vec w = fill(weight[j * channels + c]);
#pragma GCC unroll 4
                for (int k = 0; k < kWide; ++k) sum[j][k] += w * v[k];
            }
        }
#pragma GCC unroll 8
        for (int j = 0; j < kOut; ++j) finish<kWide>(e[j], at + i, sum[j], n - i);
    }
}

void multiply_any(const PointwisePlan& plan, const float* x, int64_t step, const float* weight, const PlaneEpilogue* e,
                  int64_t at, int64_t n, int64_t outputs) {
    switch (outputs) {
        case 1:
            return multiply<1>(plan, x, step, weight, e, at, n);
        case 2:
            return multiply<2>(plan, x, step, weight, e, at, n);
        case 3:
            return multiply<3>(plan, x, step, weight, e, at, n);
#if defined(__AVX512F__)
        case 4:
            return multiply<4>(plan, x, step, weight, e, at, n);
        case 5:
            return multiply<5>(plan, x, step, weight, e, at, n);
        case 6:
            return multiply<6>(plan, x, step, weight, e, at, n);
        case 7:
            return multiply<7>(plan, x, step, weight, e, at, n);
#endif
        default:
            return multiply<kMostOut>(plan, x, step, weight, e, at, n);
    }
}

void run_span(const PointwisePlan& plan, int64_t n, int64_t group, int64_t at, float* scratch) {
    const Conv3dParams& p = plan.p;
    const int64_t count = least(plan.span, plan.plane - at);
    const float* x = p.x + (n * p.in_channels + group * plan.in_per_group) * plan.plane + at;
    int64_t step = plan.plane;
    if (plan.out_blocks > 1 || count % plan.unit != 0) {  // a last register may reach beyond the span, not beyond x
        for (int64_t c = 0; c < plan.in_per_group; ++c) copy_row(scratch + c * plan.span, x + c * plan.plane, count);
        x = scratch, step = plan.span;
    }
    for (int64_t b = 0; b < plan.out_blocks; ++b) {
        const int64_t begin = b * plan.out_per_group / plan.out_blocks,
                      end = (b + 1) * plan.out_per_group / plan.out_blocks;
        const int64_t channel = group * plan.out_per_group + begin;
        PlaneEpilogue e[kMostOut];
        for (int64_t j = 0; j < end - begin; ++j)
            e[j] = plane_epilogue(p.epilogue, channel + j, p.y, (n * p.out_channels + channel + j) * plan.plane);
        multiply_any(plan, x, step, p.weight + channel * plan.in_per_group, e, at, count, end - begin);
    }
}

void pointwise_range(const void* params, int64_t begin, int64_t end) {
    const PointwisePlan& plan = *static_cast<const PointwisePlan*>(params);
    alignas(64) float scratch[kScratch + 4 * kSlack];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t span = i % plan.spans, group = i / plan.spans % plan.p.groups, n = i / plan.spans / plan.p.groups;
        run_span(plan, n, group, span * plan.span, scratch);
    }
}

}  // namespace

bool conv3d_pointwise(const Conv3dParams& p, const Exec& exec) {
    for (int a = 0; a < 3; ++a)
        if (p.kernel[a] != 1 || p.stride[a] != 1 || p.padding[a] != 0) return false;
    PointwisePlan plan = {p, p.in_size[0] * p.in_size[1] * p.in_size[2], 0, 0, 0, 0, 0, 0};
    plan.in_per_group = p.in_channels / p.groups, plan.out_per_group = p.out_channels / p.groups;
    plan.out_blocks = (plan.out_per_group + kMostOut - 1) / kMostOut;
    plan.unit = wide(static_cast<int>((plan.out_per_group + plan.out_blocks - 1) / plan.out_blocks)) * kVecLanes;
    if (plan.in_per_group * plan.unit > kScratch) return false;
    plan.span = most(1, least(kMostSpan, kSpanFloats / plan.in_per_group) / plan.unit) * plan.unit;
    plan.spans = (plan.plane + plan.span - 1) / plan.span;
    const int64_t macs = plan.span * plan.in_per_group * plan.out_per_group;
    exec.parallel_for(pointwise_range, &plan, p.n * p.groups * plan.spans, most(1, kMacsPerBlock / macs), exec.threads);
    return true;
}

}  // namespace covfast::COVFAST_ISA
