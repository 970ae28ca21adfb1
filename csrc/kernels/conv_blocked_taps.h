// Where the taps of a tile of conv_blocked lie in x. Only for files compiled per instruction set.
//
// A tile is steady where it lies in one row of y and no tap leaves the row of x: its pixels are at a constant step,
// taps that leave along D or H are skipped, and all tiles of the row share one list. All other tiles gather: each tap
// has an address for each pixel, that of a line of zeros where the tap lies outside (of u8, of 128, which stands for
// 0).
#pragma once
#include "kernels/block_product.h"
#include "kernels/conv_blocked_parts.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kMaxTaps = 64;  // of one pass

struct Plan {
    ConvBlockedParams p;
    const float* live;
    int64_t in_plane, out_plane, taps, words, x_blocks, pairs;
    int64_t pixel_bytes, plane_bytes;  // of x
    int64_t pass_blocks, pass_taps;    // of one pass
};

// Input blocks and taps whose weights are used before those of the next pass are touched.
struct Pass {
    int64_t first_block, blocks, first_tap, taps;
};

// A tap of the window.
struct Tap {
    int64_t d, h, w;
};

inline Tap tap_at(const ConvBlockedParams& p, int64_t i) {
    return {i / (p.kernel[1] * p.kernel[2]), i / p.kernel[2] % p.kernel[1], i % p.kernel[2]};
}

inline void advance(const ConvBlockedParams& p, Tap& tap) {
    if (++tap.w < p.kernel[2]) return;
    tap.w = 0;
    if (++tap.h == p.kernel[1]) tap.h = 0, ++tap.d;
}

// A pixel of y.
struct Pixel {
    int64_t d, h, w;
};

inline Pixel pixel_at(const ConvBlockedParams& p, int64_t i) {
    return {i / (p.out_size[1] * p.out_size[2]), i / p.out_size[2] % p.out_size[1], i % p.out_size[2]};
}

inline void advance(const ConvBlockedParams& p, Pixel& pixel, int64_t count) {
    pixel.w += count;
    while (pixel.w >= p.out_size[2]) {
        pixel.w -= p.out_size[2];
        if (++pixel.h == p.out_size[1]) pixel.h = 0, ++pixel.d;
    }
}

inline bool is_inside(int64_t at, int64_t size) { return static_cast<uint64_t>(at) < static_cast<uint64_t>(size); }

struct SteadyTaps {
    int64_t d = -1, h = -1;  // the row of y that they are for
    int64_t count;
    int64_t weight[kMaxTaps];  // bytes from the pass's first weight of a block
    int64_t offset[kMaxTaps];  // bytes from a block of x to the tap of pixel w = 0 of y, where that lies in x or not
    int64_t ahead[kMaxTaps];   // bytes from the tap to what it fetches for the next tile,
    int64_t lines_ahead;       // so many lines
};

// Whether `pixels` pixels from `first` on are a steady tile.
inline bool is_steady(const ConvBlockedParams& p, const Pixel& first, int64_t pixels) {
    const int64_t begin = first.w * p.stride[2] - p.padding[2];
    const int64_t end = begin + (pixels - 1) * p.stride[2] + (p.kernel[2] - 1) * p.dilation[2];
    if (p.stride[2] > 2 || first.w + pixels > p.out_size[2] || begin < 0 || end >= p.in_size[2]) return false;
    if (p.x_element != Element::kU8) return true;
    const int64_t d = first.d * p.stride[0] - p.padding[0], h = first.h * p.stride[1] - p.padding[1];
    return d >= 0 && d + (p.kernel[0] - 1) * p.dilation[0] < p.in_size[0] && h >= 0 &&
           h + (p.kernel[1] - 1) * p.dilation[1] < p.in_size[1];
}

inline void steady_taps(const Plan& plan, const Pass& pass, const Pixel& first, int64_t pixels, int64_t weight_bytes,
                        SteadyTaps& taps) {
    if (taps.d == first.d && taps.h == first.h) return;
    const ConvBlockedParams& p = plan.p;
    const int64_t tile_bytes = pixels * p.stride[2] * plan.pixel_bytes;
    taps.lines_ahead = (tile_bytes / 64 + p.kernel[2] - 1) / p.kernel[2];
    taps.d = first.d, taps.h = first.h, taps.count = 0;
    Tap tap = tap_at(p, pass.first_tap);
    for (int64_t i = 0; i < pass.taps; ++i, advance(p, tap)) {
        const int64_t d = first.d * p.stride[0] - p.padding[0] + tap.d * p.dilation[0];
        const int64_t h = first.h * p.stride[1] - p.padding[1] + tap.h * p.dilation[1];
        if (!is_inside(d, p.in_size[0]) || !is_inside(h, p.in_size[1])) continue;
        const int64_t w = tap.w * p.dilation[2] - p.padding[2];
        taps.weight[taps.count] = i * weight_bytes;
        taps.offset[taps.count] = ((d * p.in_size[1] + h) * p.in_size[2] + w) * plan.pixel_bytes;
        taps.ahead[taps.count++] =
            tile_bytes - tap.w * p.dilation[2] * plan.pixel_bytes + tap.w * taps.lines_ahead * 64;
    }
}

typedef int64_t Longs __attribute__((vector_size(64), may_alias));
typedef uint64_t Sizes __attribute__((vector_size(64)));

struct GatheredTaps {
    static constexpr int kLongs = (kTilePixels + 7) / 8;
    int64_t count;
    int64_t weight[kMaxTaps];                             // bytes from the pass's first weight of a block
    alignas(64) int64_t pixel[kMaxTaps][8 * kLongs];      // address of each pixel's tap in the pass's first block of x
    alignas(64) int64_t is_inside[kMaxTaps][8 * kLongs];  // all ones where that is in x, else 0
};

alignas(64) constexpr uint8_t kZeros[64] = {};
#define COVFAST_EIGHT(v) v, v, v, v, v, v, v, v
alignas(64) constexpr uint8_t kMiddles[16] = {COVFAST_EIGHT(128), COVFAST_EIGHT(128)};  // 0 in u8
#undef COVFAST_EIGHT

// `count` pixels from `first` on; the last of them stands for those up to the tile's end. x: the pass's first block.
inline void gathered_taps(const Plan& plan, const Pass& pass, const Pixel& first, int64_t count, const uint8_t* x,
                          int64_t weight_bytes, GatheredTaps& taps) {
    constexpr int kLongs = GatheredTaps::kLongs;
    const ConvBlockedParams& p = plan.p;
    Longs d[kLongs], h[kLongs], w[kLongs], base[kLongs];  // where the window of each pixel begins
    Pixel pixel = first;
    for (int64_t i = 0; i < 8 * kLongs; ++i) {
        d[i / 8][i % 8] = pixel.d * p.stride[0] - p.padding[0];
        h[i / 8][i % 8] = pixel.h * p.stride[1] - p.padding[1];
        w[i / 8][i % 8] = pixel.w * p.stride[2] - p.padding[2];
        if (i + 1 < count) advance(p, pixel, 1);
    }
    const int64_t begin = reinterpret_cast<int64_t>(x);
    for (int v = 0; v < kLongs; ++v)
        base[v] = ((d[v] * p.in_size[1] + h[v]) * p.in_size[2] + w[v]) * plan.pixel_bytes + begin;
    const int64_t outside = reinterpret_cast<int64_t>(p.x_element == Element::kU8 ? kMiddles : kZeros);
    taps.count = 0;
    Tap tap = tap_at(p, pass.first_tap);
    for (int64_t t = 0; t < pass.taps; ++t, advance(p, tap)) {
        const int64_t at_d = tap.d * p.dilation[0], at_h = tap.h * p.dilation[1], at_w = tap.w * p.dilation[2];
        const int64_t offset = ((at_d * p.in_size[1] + at_h) * p.in_size[2] + at_w) * plan.pixel_bytes;
        Longs any = {};
        for (int v = 0; v < kLongs; ++v) {
            const Longs inside = (reinterpret_cast<Sizes>(d[v] + at_d) < static_cast<uint64_t>(p.in_size[0])) &
                                 (reinterpret_cast<Sizes>(h[v] + at_h) < static_cast<uint64_t>(p.in_size[1])) &
                                 (reinterpret_cast<Sizes>(w[v] + at_w) < static_cast<uint64_t>(p.in_size[2]));
            *reinterpret_cast<Longs*>(taps.pixel[taps.count] + 8 * v) =
                ((base[v] + offset) & inside) | (outside & ~inside);
            *reinterpret_cast<Longs*>(taps.is_inside[taps.count] + 8 * v) = inside;
            any |= inside;
        }
        bool is_used = p.x_element == Element::kU8;  // a tap outside counts as 128
        for (int i = 0; i < 8; ++i) is_used |= any[i] != 0;
        taps.weight[taps.count] = t * weight_bytes;
        taps.count += is_used;
    }
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
