// One item is a part of x, kPartPixels pixels in memory order, for a pair of output blocks. Its pixels are cut into
// tiles that fill the registers (block_product.h). A tile lies at a constant step in x whatever rows it crosses, as
// there is no window, and each tap is a product of it with that tap's weights:
//
//     x   a b c ...      tap (0, 0)  a . b . c .    tap (0, 1)  . a . b . c    tap (1, 0)  next row of y
//
// A tile stays in L1 while all taps pass over it, so each line of y is completed soon after it was begun (of bf16 two
// voxels share one); weights of a pair stream from L2, about 9 bytes a cycle.
#include "kernels/conv_transpose_blocked.h"

#include "kernels/block_epilogue.h"
#include "kernels/block_product.h"
#include "kernels/conv_blocked_parts.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPartOfX = 168;  // pixels: whole tiles of 14, 12, 6, 4, 3 and 2

struct Plan {
    ConvTransposeBlockedParams p;
    const float* live;    // (16 out_blocks) words: which lanes are written
    const float* offset;  // (taps, 16 out_blocks) i32, kU8 only
    int64_t in_plane, out_plane, taps, pairs, parts;
};

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Sums of one tap for the pixels from `first` on, (kPixels, kRow, 16); `weight` is the pair's.
template <Element kElement, int kRow>
__attribute__((noinline)) void sum_tile(const Plan& plan, int64_t first, int64_t tap, const uint8_t* weight,
                                        float* sums) {
    constexpr int kPixels = tile_pixels(kElement), kBlocks = kTileBlocks < kRow ? kTileBlocks : kRow;
    constexpr int64_t kPixelBytes = kLanes * element_bytes(kElement), kWeightBytes = kPixelBytes * kRow * kLanes;
    const uint8_t* x = static_cast<const uint8_t*>(plan.p.x) + first * kPixelBytes;
    weight += tap * kWeightBytes;
    for (int block = 0; block < kRow; block += kBlocks) {
        Sums<kElement, kPixels, kBlocks> s;
        clear(s);
        for (int64_t b = 0; b < plan.p.in_blocks; ++b)
            add_block<kPixelBytes, kRow>(s, x + b * plan.in_plane * kPixelBytes,
                                         weight + b * plan.taps * kWeightBytes + block * kLanes * 4);
        store(s, sums + block * kLanes, kRow);
    }
}

// The same where x has fewer pixels than a tile: its last stands for those that are not there.
template <Element kElement, int kRow>
__attribute__((noinline)) void sum_few(const Plan& plan, int64_t tap, const uint8_t* weight, float* sums) {
    constexpr int kPixels = tile_pixels(kElement);
    constexpr int64_t kPixelBytes = kLanes * element_bytes(kElement), kWeightBytes = kPixelBytes * kRow * kLanes;
    weight += tap * kWeightBytes;
    for (int block = 0; block < kRow; ++block) {
        Sums<kElement, kPixels, 1> s;
        clear(s);
        for (int64_t b = 0; b < plan.p.in_blocks; ++b) {
            const uint8_t* x[kPixels];
            for (int64_t i = 0; i < kPixels; ++i)
                x[i] = static_cast<const uint8_t*>(plan.p.x) +
                       (b * plan.in_plane + least(i, plan.in_plane - 1)) * kPixelBytes;
            add_block<kRow>(s, x, weight + b * plan.taps * kWeightBytes + block * kLanes * 4);
        }
        store(s, sums + block * kLanes, kRow);
    }
}

// Integer sums become floats, less what 128 in every input adds.
template <int kRow>
void scale_sums(float* sums, const float* offset, const float* scale, int64_t pixels) {
    for (int64_t i = 0; i < pixels * kRow * kLanes; i += kVecLanes) {
        const int64_t lane = i % (kRow * kLanes);
        const IntVec exact = load_words(sums + i) - load_words(offset + lane);
        store(sums + i, __builtin_convertvector(exact, Vec) * load(scale + lane));
    }
}

// The sums of pixels [first, first + count) of x and the tap's row (d, h) become values of y, row by row of x.
template <Element kTo, int kRow>
void finish_tile(const Plan& plan, const BlockEpilogue* epilogues, int64_t d, int64_t h, int64_t first, int64_t count,
                 const float* sums) {
    const ConvTransposeBlockedParams& p = plan.p;
    const int64_t width = p.in_size[2], height = p.in_size[1];
    while (count > 0) {
        const int64_t row = first / width, w = first % width, run = least(count, width - w);
        const int64_t in_d = row / height, in_h = row % height;
        const int64_t to = ((in_d * p.stride[0] + d) * height * p.stride[1] + in_h * p.stride[1] + h) * width + w;
        for (int block = 0; block < kRow; ++block)
            finish_pixels<kTo>(epilogues[block], sums + block * kLanes, kRow * kLanes, run, to, nullptr);
        first += run, count -= run, sums += run * kRow * kLanes;
    }
}

// The same epilogue one voxel of y further.
template <Element kTo>
BlockEpilogue moved(BlockEpilogue e) {
    constexpr int64_t kBytes = kLanes * element_bytes(kTo);
    const auto next = [](const void* p) { return p == nullptr ? nullptr : static_cast<const char*>(p) + kBytes; };
    e.before = next(e.before), e.after = next(e.after), e.other = next(e.other);
    e.total = e.total == nullptr ? nullptr : static_cast<char*>(e.total) + kBytes;
    e.y = static_cast<char*>(e.y) + kBytes;
    return e;
}

template <Element kElement, Element kTo, int kRow>
void run_item(const Plan& plan, int64_t part, int64_t pair) {
    constexpr int64_t kPixels = tile_pixels(kElement), kWeightBytes = kLanes * element_bytes(kElement) * kLanes;
    const ConvTransposeBlockedParams& p = plan.p;
    const uint8_t* weight =
        static_cast<const uint8_t*>(p.weight) + pair * kPair * p.in_blocks * plan.taps * kWeightBytes;
    const int64_t end = least(plan.in_plane, (part + 1) * kPartOfX);
    BlockEpilogue first_column[kRow];
    for (int block = 0; block < kRow; ++block) {
        const int64_t of_y = pair * kPair + block;
        first_column[block] = block_epilogue<kTo>(p.epilogue, of_y, plan.out_plane, plan.live + of_y * kLanes, p.y);
        first_column[block].pixel_step = p.stride[2];
    }
    alignas(64) float sums[kPixels * kRow * kLanes];
    for (int64_t first = part * kPartOfX; first < end; first += kPixels) {
        const int64_t count = least(kPixels, end - first);
        const int64_t from = least(first, plan.in_plane - kPixels);  // a tile at the end takes pixels before it too
        BlockEpilogue epilogues[kRow];
        for (int block = 0; block < kRow; ++block) epilogues[block] = first_column[block];
        for (int64_t w = 0; w < p.stride[2]; ++w) {
            for (int64_t d = 0; d < p.stride[0]; ++d)
                for (int64_t h = 0; h < p.stride[1]; ++h) {
                    const int64_t tap = (d * p.stride[1] + h) * p.stride[2] + w;
                    if (from < 0) {
                        sum_few<kElement, kRow>(plan, tap, weight, sums);
                    } else {
                        sum_tile<kElement, kRow>(plan, from, tap, weight, sums);
                    }
                    if (kElement == Element::kU8) {
                        const int64_t lane = pair * kPair * kLanes;
                        const float* offset = plan.offset + tap * p.out_blocks * kLanes + lane;
                        scale_sums<kRow>(sums, offset, p.scale + lane, kPixels);
                    }
                    const int64_t skipped = from < 0 ? 0 : first - from;
                    finish_tile<kTo, kRow>(plan, epilogues, d, h, first, count, sums + skipped * kRow * kLanes);
                }
            for (int block = 0; block < kRow; ++block) epilogues[block] = moved<kTo>(epilogues[block]);
        }
    }
}

template <Element kElement, Element kTo>
void conv_transpose_range(const void* params, int64_t begin, int64_t end) {
    const Plan& plan = *static_cast<const Plan*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t part = i / plan.pairs, pair = i % plan.pairs;
        if (plan.p.out_blocks - pair * kPair >= kPair) {
            run_item<kElement, kTo, kPair>(plan, part, pair);
        } else {
            run_item<kElement, kTo, 1>(plan, part, pair);
        }
    }
}

template <Element kElement>
RangeFn range_of(Element y) {
    return y == Element::kF32 ? conv_transpose_range<kElement, Element::kF32>
                              : conv_transpose_range<kElement, Element::kBf16>;
}

}  // namespace

void conv_transpose_blocked(const ConvTransposeBlockedParams& p, const Exec& exec) {
    Plan plan = {};
    plan.p = p, plan.taps = p.stride[0] * p.stride[1] * p.stride[2];
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2], plan.out_plane = plan.in_plane * plan.taps;
    plan.pairs = (p.out_blocks + kPair - 1) / kPair, plan.parts = (plan.in_plane + kPartOfX - 1) / kPartOfX;
    plan.live = static_cast<const float*>(p.weight) +
                p.out_blocks * p.in_blocks * plan.taps * block_words(p.x_element, false) * kLanes;
    plan.offset = plan.live + p.out_blocks * kLanes;
    const RangeFn range = p.x_element == Element::kF32    ? range_of<Element::kF32>(p.y_element)
                          : p.x_element == Element::kBf16 ? range_of<Element::kBf16>(p.y_element)
                                                          : range_of<Element::kU8>(p.y_element);
    exec.parallel_for(range, &plan, plan.parts * plan.pairs, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
