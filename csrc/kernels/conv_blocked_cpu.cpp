// One item is a part of the output plane, kPartPixels pixels in memory order, for a pair of output blocks
// (conv_blocked_parts.h). Its pixels are cut into tiles that fill the registers (block_product.h), across the ends of
// rows, so small planes waste nothing. For each tile all taps of all input blocks are added before anything is stored.
//
// Weights of a pair stream from L2, about 9 bytes a cycle, and serve every tile of the part; where they are larger than
// kPassBytes, input blocks are taken in passes that are not, and the tiles' sums wait on the stack between passes.
// Input comes from L1: the tap next along W finds its pixels there, the pair next finds the part's rows in L2.
//
// A tile is steady where it lies in one row and no tap leaves the row: pixel p is at a constant step, taps that leave
// along D or H are skipped. All other tiles gather: each tap has a pointer for each pixel, to a line of zeros where it
// lies outside (of u8, 128). Gathering costs a few scalar instructions a tap, which the multiply-adds hide.
#include "kernels/block_epilogue.h"
#include "kernels/block_product.h"
#include "kernels/conv_blocked_parts.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPassBytes = 320 << 10;  // of weights: they share L2 with input rows
constexpr int kMaxTaps = 64;               // of one pass
constexpr int kMaxPixels = kTilePixels;
constexpr int64_t kPartSums = kPartPixels * kPair * kLanes;

struct Plan {
    ConvBlockedParams p;
    const float* live;
    int64_t in_plane, out_plane, taps, words, x_blocks, pairs;
    int64_t pixel_bytes, plane_bytes;  // of x
    int64_t pass_blocks, pass_taps;    // of one pass
};

struct Pass {
    int64_t first_block, blocks, first_tap, taps;
};

alignas(64) constexpr uint8_t kZeros[64] = {};
#define COVFAST_EIGHT(v) v, v, v, v, v, v, v, v
alignas(64) constexpr uint8_t kMiddles[16] = {COVFAST_EIGHT(128), COVFAST_EIGHT(128)};  // what stands for 0 in u8
#undef COVFAST_EIGHT

// The pixels of a tile: where the window of each begins in x, outside it too.
struct Tile {
    int64_t d[kMaxPixels], h[kMaxPixels], w[kMaxPixels];
    int64_t count;
    bool is_row;  // all in one row of y
};

// Taps that a tile uses in a pass, and where they lie.
struct Taps {
    int64_t count;
    int64_t weight[kMaxTaps];                    // bytes from the pass's first weight of a block
    int64_t offset[kMaxTaps];                    // steady: bytes from a block of x to the tap of pixel 0
    const uint8_t* pixel[kMaxTaps][kMaxPixels];  // gathered: the tap of each pixel in the pass's first block of x
    int64_t inside[kMaxTaps][kMaxPixels];        // all ones where that is in x, else 0
};

Tile tile_at(const ConvBlockedParams& p, int64_t first, int64_t count, int64_t pixels) {
    Tile tile;
    int64_t w = first % p.out_size[2], h = first / p.out_size[2] % p.out_size[1];
    int64_t d = first / (p.out_size[2] * p.out_size[1]);
    tile.count = count, tile.is_row = count == pixels && w + count <= p.out_size[2];
    for (int64_t i = 0; i < pixels; ++i) {
        tile.d[i] = d * p.stride[0] - p.padding[0];
        tile.h[i] = h * p.stride[1] - p.padding[1];
        tile.w[i] = w * p.stride[2] - p.padding[2];
        if (i + 1 >= count) continue;  // the last pixel stands for those that are not there
        if (++w == p.out_size[2]) {
            w = 0;
            if (++h == p.out_size[1]) h = 0, ++d;
        }
    }
    return tile;
}

bool is_inside(int64_t at, int64_t size) { return static_cast<uint64_t>(at) < static_cast<uint64_t>(size); }

// Whether the tile is steady; then its taps.
bool steady_taps(const Plan& plan, const Pass& pass, const Tile& tile, int64_t weight_bytes, int64_t pixels,
                 Taps& taps) {
    const ConvBlockedParams& p = plan.p;
    const int64_t last = (p.kernel[2] - 1) * p.dilation[2];
    if (!tile.is_row || p.stride[2] > 2 || tile.w[0] < 0 || tile.w[pixels - 1] + last >= p.in_size[2]) return false;
    taps.count = 0;
    int64_t kd = pass.first_tap / (p.kernel[1] * p.kernel[2]), kh = pass.first_tap / p.kernel[2] % p.kernel[1];
    int64_t kw = pass.first_tap % p.kernel[2];
    for (int64_t i = 0; i < pass.taps; ++i) {
        const int64_t d = tile.d[0] + kd * p.dilation[0], h = tile.h[0] + kh * p.dilation[1];
        if (is_inside(d, p.in_size[0]) && is_inside(h, p.in_size[1])) {
            const int64_t w = tile.w[0] + kw * p.dilation[2];
            taps.weight[taps.count] = i * weight_bytes;
            taps.offset[taps.count++] = ((d * p.in_size[1] + h) * p.in_size[2] + w) * plan.pixel_bytes;
        } else if (p.x_element == Element::kU8) {
            return false;  // a tap outside counts as 128
        }
        if (++kw == p.kernel[2]) {
            kw = 0;
            if (++kh == p.kernel[1]) kh = 0, ++kd;
        }
    }
    return true;
}

template <int kPixels>
void gathered_taps(const Plan& plan, const Pass& pass, const Tile& tile, int64_t weight_bytes, const uint8_t* x,
                   Taps& taps) {
    const ConvBlockedParams& p = plan.p;
    const uint8_t* outside = p.x_element == Element::kU8 ? kMiddles : kZeros;
    taps.count = 0;
    int64_t kd = pass.first_tap / (p.kernel[1] * p.kernel[2]), kh = pass.first_tap / p.kernel[2] % p.kernel[1];
    int64_t kw = pass.first_tap % p.kernel[2];
    int64_t base[kPixels];
    for (int i = 0; i < kPixels; ++i)
        base[i] = ((tile.d[i] * p.in_size[1] + tile.h[i]) * p.in_size[2] + tile.w[i]) * plan.pixel_bytes;
    for (int64_t t = 0; t < pass.taps; ++t) {
        const int64_t d = kd * p.dilation[0], h = kh * p.dilation[1], w = kw * p.dilation[2];
        const int64_t offset = ((d * p.in_size[1] + h) * p.in_size[2] + w) * plan.pixel_bytes;
        int64_t any = p.x_element == Element::kU8;
        int64_t* inside = taps.inside[taps.count];
        const uint8_t** pixel = taps.pixel[taps.count];
        for (int i = 0; i < kPixels; ++i) {
            inside[i] =
                -static_cast<int64_t>(is_inside(tile.d[i] + d, p.in_size[0]) & is_inside(tile.h[i] + h, p.in_size[1]) &
                                      is_inside(tile.w[i] + w, p.in_size[2]));
            any |= inside[i];
            pixel[i] = inside[i] ? x + base[i] + offset : outside;
        }
        taps.weight[taps.count] = t * weight_bytes;
        taps.count += any != 0;
        if (++kw == p.kernel[2]) {
            kw = 0;
            if (++kh == p.kernel[1]) kh = 0, ++kd;
        }
    }
}

// sums: (kPixels, kRow, 16). x and w: the pass's first block.
template <Element kElement, int kWords, int kPixels, int kBlocks, int kRow, int64_t kStep>
__attribute__((noinline)) void add_steady(const Plan& plan, const Taps& taps, int64_t blocks, const uint8_t* x,
                                          const uint8_t* w, float* sums) {
    const int64_t weight_step = plan.taps * kWords * kRow * kLanes * 4;
    Sums<kElement, kPixels, kBlocks> s;
    clear(s);
    for (int64_t b = 0; b < blocks; ++b, x += plan.plane_bytes, w += weight_step)
        for (int64_t i = 0; i < taps.count; ++i)
            add_block<kStep, kRow, kWords>(s, x + taps.offset[i], w + taps.weight[i]);
    store(s, sums, kRow);
}

template <Element kElement, int kWords, int kPixels, int kBlocks, int kRow>
__attribute__((noinline)) void add_gathered(const Plan& plan, const Taps& taps, int64_t blocks, const uint8_t* w,
                                            float* sums) {
    const int64_t weight_step = plan.taps * kWords * kRow * kLanes * 4;
    Sums<kElement, kPixels, kBlocks> s;
    clear(s);
    for (int64_t b = 0; b < blocks; ++b, w += weight_step)
        for (int64_t i = 0; i < taps.count; ++i) {
            const uint8_t* x[kPixels];
#pragma GCC unroll 16
            for (int p = 0; p < kPixels; ++p) x[p] = taps.pixel[i][p] + (taps.inside[i][p] & (b * plan.plane_bytes));
            add_block<kRow, kWords>(s, x, w + taps.weight[i]);
        }
    store(s, sums, kRow);
}

// The sums of a tile in a pass, to memory (kPixels, kRow, 16).
template <Element kElement, int kWords, int kPixels, int kRow>
void sum_tile(const Plan& plan, const Pass& pass, const Tile& tile, const uint8_t* weight, float* sums) {
    constexpr int kBlocks = kTileBlocks < kRow ? kTileBlocks : kRow;
    constexpr int64_t kPixelBytes = 4 * kWords, kWeightBytes = kWords * kRow * kLanes * 4;
    const uint8_t* x = static_cast<const uint8_t*>(plan.p.x) + pass.first_block * plan.plane_bytes;
    const uint8_t* w = weight + (pass.first_block * plan.taps + pass.first_tap) * kWeightBytes;
    Taps taps;
    const bool is_steady =
        kPixels == tile_pixels(kElement) && steady_taps(plan, pass, tile, kWeightBytes, kPixels, taps);
    if (!is_steady) gathered_taps<kPixels>(plan, pass, tile, kWeightBytes, x, taps);
    for (int block = 0; block < kRow; block += kBlocks, sums += kBlocks * kLanes, w += kBlocks * kLanes * 4) {
        if (!is_steady)
            add_gathered<kElement, kWords, kPixels, kBlocks, kRow>(plan, taps, pass.blocks, w, sums);
        else if (plan.p.stride[2] == 1)
            add_steady<kElement, kWords, kPixels, kBlocks, kRow, kPixelBytes>(plan, taps, pass.blocks, x, w, sums);
        else
            add_steady<kElement, kWords, kPixels, kBlocks, kRow, 2 * kPixelBytes>(plan, taps, pass.blocks, x, w, sums);
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

// The sums of `count` pixels from `first` on, (kPixels, kRow, 16), become values of y.
template <Element kElement, Element kTo, int kRow>
void finish_tile(const Plan& plan, const BlockEpilogue* epilogues, BlockStats* stats, int64_t pair, int64_t first,
                 int64_t count, float* sums) {
    if (kElement == Element::kU8)
        for (int64_t p = 0; p < count; ++p)
            for (int64_t lane = 0; lane < kRow * kLanes; lane += kVecLanes) {
                float* at = sums + p * kRow * kLanes + lane;
                const Vec scale = load(plan.p.scale + pair * kPair * kLanes + lane);
                store(at, __builtin_convertvector(load_words(at), Vec) * scale);
            }
    for (int block = 0; block < kRow; ++block)
        finish_pixels<kTo>(epilogues[block], sums + block * kLanes, kRow * kLanes, count, first,
                           stats == nullptr ? nullptr : stats + block);
}

void write_stats(const Plan& plan, const BlockStats& stats, int64_t part, int64_t block) {
    float sum[kLanes], square[kLanes];
    store_floats(sum, stats.sum), store_floats(square, stats.square);
    float* to = plan.p.stats + (part * plan.p.out_blocks + block) * kLanes * 2;
    for (int64_t lane = 0; lane < kLanes; ++lane) to[2 * lane] = sum[lane], to[2 * lane + 1] = square[lane];
}

template <Element kElement, int kWords, Element kTo, int kRow>
void run_item(const Plan& plan, int64_t part, int64_t pair) {
    constexpr int kPixels = tile_pixels(kElement), kFew = kPixels > 3 ? kPixels / 3 : 1;
    const uint8_t* weight =
        static_cast<const uint8_t*>(plan.p.weight) + pair * plan.x_blocks * plan.taps * kWords * kPair * kLanes * 4;
    const int64_t begin = part * kPartPixels;
    const int64_t end = begin + kPartPixels < plan.out_plane ? begin + kPartPixels : plan.out_plane;
    BlockEpilogue epilogues[kRow];
    BlockStats stats[kRow] = {};
    for (int block = 0; block < kRow; ++block)
        epilogues[block] = block_epilogue<kTo>(plan.p.epilogue, pair * kPair + block, plan.out_plane,
                                               plan.live + (pair * kPair + block) * kLanes, plan.p.y);
    alignas(64) float waiting[kPartSums];
    alignas(64) float sums[kPixels * kRow * kLanes];
    for (int64_t block = 0; block < plan.x_blocks; block += plan.pass_blocks)
        for (int64_t tap = 0; tap < plan.taps; tap += plan.pass_taps) {
            const int64_t blocks_left = plan.x_blocks - block, taps_left = plan.taps - tap;
            const Pass pass = {block, plan.pass_blocks < blocks_left ? plan.pass_blocks : blocks_left, tap,
                               plan.pass_taps < taps_left ? plan.pass_taps : taps_left};
            const bool is_first = block == 0 && tap == 0;
            const bool is_last = pass.blocks == blocks_left && pass.taps == taps_left;
            for (int64_t first = begin; first < end;) {
                const bool is_few = end - first <= kFew;
                const int64_t pixels = is_few ? kFew : kPixels;
                const int64_t count = pixels < end - first ? pixels : end - first;
                const Tile tile = tile_at(plan.p, first, count, pixels);
                float* kept = waiting + (first - begin) * kRow * kLanes;
                if (is_few)
                    sum_tile<kElement, kWords, kFew, kRow>(plan, pass, tile, weight, sums);
                else
                    sum_tile<kElement, kWords, kPixels, kRow>(plan, pass, tile, weight, sums);
                if (!is_first) add_sums<kElement>(sums, kept, count * kRow * kLanes);
                if (is_last)
                    finish_tile<kElement, kTo, kRow>(plan, epilogues, plan.p.stats == nullptr ? nullptr : stats, pair,
                                                     first, count, sums);
                else
                    for (int64_t i = 0; i < count * kRow * kLanes; i += kVecLanes) store(kept + i, load(sums + i));
                first += count;
            }
        }
    if (plan.p.stats != nullptr)
        for (int block = 0; block < kRow; ++block) write_stats(plan, stats[block], part, pair * kPair + block);
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
    exec.parallel_for(range, &plan, parts * plan.pairs, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
