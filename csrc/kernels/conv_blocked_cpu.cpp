// One item is a part of the output plane, kPartPixels pixels in memory order, for a pair of output blocks
// (conv_blocked_parts.h). Its pixels are cut into tiles that fill the registers (block_product.h), across the ends of
// rows, so small planes waste nothing. For each tile all taps of all input blocks are added before anything is stored.
//
// Weights of a pair stream from L2, about 9 bytes a cycle, and serve every tile of the part; where they are larger than
// kPassBytes, input blocks are taken in passes that are not, and the tiles' sums wait on the stack between passes.
// Input comes from L1: the tap next along W finds its pixels there, the pair next finds the part's rows in L2.
//
// Most tiles are steady, those at the ends of rows gather (conv_blocked_taps.h), which costs a few scalar instructions
// a tap that the multiply-adds hide.
#include "kernels/block_epilogue.h"
#include "kernels/block_product.h"
#include "kernels/conv_blocked_parts.h"
#include "kernels/conv_blocked_taps.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kMacsPerBlock = 1 << 22;  // some tens of microseconds: long beside waking a thread
constexpr int64_t kPassBytes = 320 << 10;   // of weights: they share L2 with input rows

// sums: (kPixels, kRow, 16). x: the pass's first block at the tile's first column; w: the pass's first weight.
template <Element kElement, int kWords, int kPixels, int kBlocks, int kRow, int kStride>
__attribute__((noinline)) void add_steady(const Plan& plan, const SteadyTaps& taps, int64_t blocks, const uint8_t* x,
                                          const uint8_t* w, float* sums) {
    const int64_t weight_step = plan.taps * kWords * kRow * kLanes * 4;
    Sums<kElement, kPixels, kBlocks> s;
    clear(s);
    for (int64_t b = 0; b < blocks; ++b, x += plan.plane_bytes, w += weight_step)
        for (int64_t i = 0; i < taps.count; ++i) {
            const uint8_t* tap = x + taps.offset[i];
            if constexpr (kStride > 1)  // the processor itself foresees the lines of stride 1
                for (int64_t line = 0; line < taps.lines_ahead; ++line)
                    __builtin_prefetch(tap + taps.ahead[i] + line * 64);
            add_block<4 * kWords * kStride, kRow, kWords>(s, tap, w + taps.weight[i]);
        }
    store(s, sums, kRow);
}

template <Element kElement, int kWords, int kPixels, int kBlocks, int kRow>
__attribute__((noinline)) void add_gathered(const Plan& plan, const GatheredTaps& taps, int64_t blocks,
                                            const uint8_t* w, float* sums) {
    const int64_t weight_step = plan.taps * kWords * kRow * kLanes * 4;
    Sums<kElement, kPixels, kBlocks> s;
    clear(s);
    for (int64_t b = 0; b < blocks; ++b, w += weight_step)
        for (int64_t i = 0; i < taps.count; ++i) {
            const uint8_t* x[kPixels];
#pragma GCC unroll 16
            for (int p = 0; p < kPixels; ++p)
                x[p] = reinterpret_cast<const uint8_t*>(taps.pixel[i][p] +
                                                        (taps.is_inside[i][p] & (b * plan.plane_bytes)));
            add_block<kRow, kWords>(s, x, w + taps.weight[i]);
        }
    store(s, sums, kRow);
}

struct TapLists {
    SteadyTaps steady;
    GatheredTaps gathered;
};

// The sums of a tile of `count` pixels from `first` on in a pass, to memory (kPixels, kRow, 16).
template <Element kElement, int kWords, int kPixels, int kRow>
void sum_tile(const Plan& plan, const Pass& pass, const Pixel& first, int64_t count, const uint8_t* weight,
              TapLists& taps, float* sums) {
    constexpr int kBlocks = kTileBlocks < kRow ? kTileBlocks : kRow;
    constexpr int64_t kWeightBytes = kWords * kRow * kLanes * 4;
    const uint8_t* x = static_cast<const uint8_t*>(plan.p.x) + pass.first_block * plan.plane_bytes;
    const uint8_t* w = weight + (pass.first_block * plan.taps + pass.first_tap) * kWeightBytes;
    const bool steady = kPixels == tile_pixels(kElement) && count == kPixels && is_steady(plan.p, first, kPixels);
    if (steady)
        steady_taps(plan, pass, first, kPixels, kWeightBytes, taps.steady);
    else
        gathered_taps(plan, pass, first, count, x, kWeightBytes, taps.gathered);
    x += first.w * plan.p.stride[2] * 4 * kWords;
    for (int block = 0; block < kRow; block += kBlocks, sums += kBlocks * kLanes, w += kBlocks * kLanes * 4) {
        if (!steady)
            add_gathered<kElement, kWords, kPixels, kBlocks, kRow>(plan, taps.gathered, pass.blocks, w, sums);
        else if (plan.p.stride[2] == 1)
            add_steady<kElement, kWords, kPixels, kBlocks, kRow, 1>(plan, taps.steady, pass.blocks, x, w, sums);
        else
            add_steady<kElement, kWords, kPixels, kBlocks, kRow, 2>(plan, taps.steady, pass.blocks, x, w, sums);
    }
}

// sums += those of one more pass.
template <Element kElement>
void add_sums(float* sums, const float* more, int64_t count) {
    for (int64_t i = 0; i < count; i += kVecLanes) {
        if (kElement == Element::kU8)
            store(sums + i, reinterpret_cast<Vec>(load_words(sums + i) + load_words(more + i)));
        else
            store(sums + i, load(sums + i) + load(more + i));
    }
}

// An item of the work and what waits in it.
template <Element kTo, int kRow>
struct Item {
    int64_t part, pair, begin, end;
    const uint8_t* weight;
    BlockEpilogue epilogues[kRow];
    BlockStats stats[kRow];
    alignas(64) float waiting[kPartPixels * kRow * kLanes];  // sums of earlier passes
};

// The sums of `count` pixels from `first` on, (count, kRow, 16), become values of y.
template <Element kElement, Element kTo, int kRow>
void finish_tile(const Plan& plan, Item<kTo, kRow>& item, int64_t first, int64_t count, float* sums) {
    if (kElement == Element::kU8)
        for (int64_t lane = 0; lane < kRow * kLanes; lane += kVecLanes) {
            const Vec scale = load(plan.p.scale + item.pair * kPair * kLanes + lane);
            for (float* at = sums + lane; at < sums + count * kRow * kLanes; at += kRow * kLanes)
                store(at, __builtin_convertvector(load_words(at), Vec) * scale);
        }
    for (int i = 0; i < kRow; ++i)
        finish_pixels<kTo>(item.epilogues[i], sums + i * kLanes, kRow * kLanes, count, first,
                           plan.p.stats == nullptr ? nullptr : item.stats + i);
}

void write_stats(const Plan& plan, const BlockStats& stats, int64_t part, int64_t block) {
    float sum[kLanes], square[kLanes];
    store_floats(sum, stats.sum), store_floats(square, stats.square);
    float* to = plan.p.stats + (part * plan.p.out_blocks + block) * kLanes * 2;
    for (int64_t lane = 0; lane < kLanes; ++lane) to[2 * lane] = sum[lane], to[2 * lane + 1] = square[lane];
}

template <Element kElement, int kWords, Element kTo, int kRow>
void run_pass(const Plan& plan, const Pass& pass, bool is_first, bool is_last, Item<kTo, kRow>& item) {
    constexpr int kPixels = tile_pixels(kElement), kFew = kPixels > 3 ? kPixels / 3 : 1;
    alignas(64) float sums[kPixels * kRow * kLanes];
    TapLists taps;
    Pixel pixel = pixel_at(plan.p, item.begin);
    for (int64_t first = item.begin, count; first < item.end; first += count, advance(plan.p, pixel, count)) {
        const int64_t left = item.end - first;
        count = left < kPixels ? left : kPixels;
        float* kept = item.waiting + (first - item.begin) * kRow * kLanes;
        if (left <= kFew)
            sum_tile<kElement, kWords, kFew, kRow>(plan, pass, pixel, count, item.weight, taps, sums);
        else
            sum_tile<kElement, kWords, kPixels, kRow>(plan, pass, pixel, count, item.weight, taps, sums);
        if (!is_first) add_sums<kElement>(sums, kept, count * kRow * kLanes);
        if (is_last)
            finish_tile<kElement, kTo, kRow>(plan, item, first, count, sums);
        else
            for (int64_t i = 0; i < count * kRow * kLanes; i += kVecLanes) store(kept + i, load(sums + i));
    }
}

template <Element kElement, int kWords, Element kTo, int kRow>
void run_item(const Plan& plan, int64_t part, int64_t pair) {
    Item<kTo, kRow> item;
    item.part = part, item.pair = pair, item.begin = part * kPartPixels;
    item.end = item.begin + kPartPixels < plan.out_plane ? item.begin + kPartPixels : plan.out_plane;
    item.weight =
        static_cast<const uint8_t*>(plan.p.weight) + pair * plan.x_blocks * plan.taps * kWords * kPair * kLanes * 4;
    for (int i = 0; i < kRow; ++i) {
        const int64_t block = pair * kPair + i;
        item.epilogues[i] =
            block_epilogue<kTo>(plan.p.epilogue, block, plan.out_plane, plan.live + block * kLanes, plan.p.y);
        item.stats[i] = {};
    }
    for (int64_t block = 0; block < plan.x_blocks; block += plan.pass_blocks)
        for (int64_t tap = 0; tap < plan.taps; tap += plan.pass_taps) {
            const int64_t blocks_left = plan.x_blocks - block, taps_left = plan.taps - tap;
            const Pass pass = {block, plan.pass_blocks < blocks_left ? plan.pass_blocks : blocks_left, tap,
                               plan.pass_taps < taps_left ? plan.pass_taps : taps_left};
            const bool is_last = pass.blocks == blocks_left && pass.taps == taps_left;
            run_pass<kElement, kWords, kTo, kRow>(plan, pass, block == 0 && tap == 0, is_last, item);
        }
    if (plan.p.stats != nullptr)
        for (int i = 0; i < kRow; ++i) write_stats(plan, item.stats[i], part, pair * kPair + i);
}

template <Element kElement, int kWords, Element kTo>
void conv_blocked_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t part = i / plan.pairs, pair = i % plan.pairs;
        if (plan.p.out_blocks - pair * kPair >= kPair)
            run_item<kElement, kWords, kTo, 2>(plan, part, pair);
        else
            run_item<kElement, kWords, kTo, 1>(plan, part, pair);
    }
}

Plan plan_of(const ConvBlockedParams& p) {
    Plan plan = {};
    plan.p = p;
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    plan.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    plan.words = block_words(p.x_element, p.x_is_planar);
    plan.x_blocks = p.x_is_planar ? p.in_channels : p.in_blocks;
    plan.pairs = (p.out_blocks + kPair - 1) / kPair;
    plan.pixel_bytes = 4 * plan.words, plan.plane_bytes = plan.in_plane * plan.pixel_bytes;
    plan.live = static_cast<const float*>(p.weight) + p.out_blocks * plan.x_blocks * plan.taps * plan.words * kLanes;
    plan.pass_taps = plan.taps < kMaxTaps ? plan.taps : kMaxTaps;
    const int64_t most = kPassBytes / (plan.pass_taps * plan.words * kPair * kLanes * 4);
    const int64_t passes = most < 1 ? plan.x_blocks : (plan.x_blocks + most - 1) / most;
    plan.pass_blocks = (plan.x_blocks + passes - 1) / passes;
    return plan;
}

template <Element kTo>
RangeFn range_of(const ConvBlockedParams& p) {
    if (p.x_is_planar) return conv_blocked_range<Element::kF32, 1, kTo>;
    if (p.x_element == Element::kF32) return conv_blocked_range<Element::kF32, 16, kTo>;
    if (p.x_element == Element::kBf16) return conv_blocked_range<Element::kBf16, 8, kTo>;
    return conv_blocked_range<Element::kU8, 4, kTo>;
}

}  // namespace

void conv_blocked(const ConvBlockedParams& params, const Exec& exec) {
    const Plan plan = plan_of(params);
    const int64_t parts = (plan.out_plane + kPartPixels - 1) / kPartPixels;
    const RangeFn range =
        params.y_element == Element::kF32 ? range_of<Element::kF32>(params) : range_of<Element::kBf16>(params);
    const int64_t macs = kPartPixels * kPair * kLanes * plan.x_blocks * plan.taps * plan.words;
    exec.parallel_for(range, &plan, parts * plan.pairs, macs < kMacsPerBlock ? kMacsPerBlock / macs : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
