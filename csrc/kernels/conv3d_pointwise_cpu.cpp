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
constexpr int64_t kMostSpan = 768;
constexpr int64_t kMacsPerBlock = 1 << 18;

// Registers of positions beside outputs: as many as leave room for the sums, the same for all blocks of a plan, since a
// span is a multiple of them. Blocks differ by one output at most: beside more than kFewOut none has fewer than that.
constexpr int kFewOut = kVecRegisters == 32 ? 6 : 2, kFewWide = 4, kManyWide = kVecRegisters == 32 ? 3 : 2;

struct PointwisePlan {
    Conv3dParams p;
    int64_t plane, unit, span, spans, in_per_group, out_per_group, out_blocks;
    bool has_few_outputs;  // in each block
};

// Sums of kOut outputs on the n positions from `at` on, to y or, where sums is not null, to it. x: the first position
// of the group's first channel.
template <int kOut, int kWide>
void multiply(const PointwisePlan& plan, const float* x, int64_t step, const float* weight, const PlaneEpilogue* e,
              int64_t at, int64_t n, float* sums) {
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
        if (sums == nullptr) {
            finish_registers<kOut, kWide>(e, 1, at + i, 0, sum);
            continue;
        }
#pragma GCC unroll 8
        for (int j = 0; j < kOut; ++j)
#pragma GCC unroll 4
            for (int k = 0; k < kWide; ++k) store(sums + j * plan.span + i + k * kVecLanes, sum[j][k]);
    }
}

using Multiply = decltype(&multiply<1, kFewWide>);
constexpr Multiply kMultiplyFew[] = {multiply<1, kFewWide>, multiply<2, kFewWide>,
#if defined(__AVX512F__)
                                     multiply<3, kFewWide>, multiply<4, kFewWide>, multiply<5, kFewWide>,
                                     multiply<6, kFewWide>
#endif
};
constexpr Multiply kMultiplyMany[] = {multiply<kFewOut, kManyWide>, multiply<kFewOut + 1, kManyWide>,
                                      multiply<kFewOut + 2, kManyWide>};
static_assert(sizeof kMultiplyFew / sizeof(Multiply) == kFewOut && kFewOut + 2 == kMostOut);

// next: the next span of the same channels, asked for meanwhile, or nullptr.
void run_span(const PointwisePlan& plan, int64_t n, int64_t group, int64_t at, const float* next, float* scratch,
              float* sums) {
    const Conv3dParams& p = plan.p;
    const int64_t count = least(plan.span, plan.plane - at);
    const float* x = p.x + (n * p.in_channels + group * plan.in_per_group) * plan.plane + at;
    int64_t step = plan.plane;
    const bool is_whole = count % plan.unit == 0, is_now = is_whole && p.epilogue.kind != EpilogueKind::kSigmoid;
    if (plan.out_blocks > 1 || !is_whole) {  // a last register may reach beyond the span, not beyond x
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
        for (int64_t j = 0; j < end - begin; ++j) prefetch_operands(e[j], at, 0, 1, count);
        const Multiply run =
            plan.has_few_outputs ? kMultiplyFew[end - begin - 1] : kMultiplyMany[end - begin - kFewOut];
        for (int64_t c = b; next != nullptr && c < plan.in_per_group; c += plan.out_blocks)
            prefetch_columns(next + c * plan.plane, 0, plan.span, plan.plane - at - plan.span);
        run(plan, x, step, p.weight + channel * plan.in_per_group, e, at, count, is_now ? nullptr : sums);
        for (int64_t j = 0; !is_now && j < end - begin; ++j) finish_row(e[j], at, sums + j * plan.span, count);
    }
}

void pointwise_range(const void* params, int64_t begin, int64_t end) {
    const PointwisePlan& plan = *static_cast<const PointwisePlan*>(params);
    alignas(64) float scratch[kScratch + 4 * kSlack], sums[kMostOut * (kMostSpan + 4 * kSlack)];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t span = i % plan.spans, group = i / plan.spans % plan.p.groups, n = i / plan.spans / plan.p.groups;
        const bool has_next = i + 1 < end && span + 1 < plan.spans;
        const float* x = plan.p.x + (n * plan.p.in_channels + group * plan.in_per_group) * plan.plane;
        run_span(plan, n, group, span * plan.span, has_next ? x + (span + 1) * plan.span : nullptr, scratch, sums);
    }
}

}  // namespace

bool conv3d_pointwise(const Conv3dParams& p, const Exec& exec) {
    for (int a = 0; a < 3; ++a)
        if (p.kernel[a] != 1 || p.stride[a] != 1 || p.padding[a] != 0) return false;
    PointwisePlan plan = {p, p.in_size[0] * p.in_size[1] * p.in_size[2], 0, 0, 0, 0, 0, 0, false};
    plan.in_per_group = p.in_channels / p.groups, plan.out_per_group = p.out_channels / p.groups;
    plan.out_blocks = (plan.out_per_group + kMostOut - 1) / kMostOut;
    plan.has_few_outputs = plan.out_per_group <= plan.out_blocks * kFewOut;
    plan.unit = (plan.has_few_outputs ? kFewWide : kManyWide) * kVecLanes;
    if (plan.in_per_group * plan.unit > kScratch) return false;
    plan.span = most(1, least(kMostSpan, kSpanFloats / plan.in_per_group) / plan.unit) * plan.unit;
    plan.spans = (plan.plane + plan.span - 1) / plan.span;
    const int64_t macs = plan.span * plan.in_per_group * plan.out_per_group;
    exec.parallel_for(pointwise_range, &plan, p.n * p.groups * plan.spans, most(1, kMacsPerBlock / macs), exec.threads);
    return true;
}

}  // namespace covfast::COVFAST_ISA
