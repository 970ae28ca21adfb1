// The epilogue (kernels/epilogue.h) of blocked outputs: sums of consecutive pixels of one block of 16 channels, which
// the product has left in L1, become values of y. Only for files compiled per instruction set.
#pragma once
#include "kernels/block_lanes.h"
#include "kernels/epilogue.h"

namespace covfast::COVFAST_ISA {
namespace {

// One block's part of an epilogue. Pointers are those of the block's first pixel, or null. Pixel p of them all lies
// p * pixel_step pixels on: 1, or the stride of a transposed convolution.
struct BlockEpilogue {
    Lanes bias, slope, live;  // live: the bits of lanes that hold a channel; the others become 0
    EpilogueKind kind;
    const void *before, *after, *other;
    void *total, *y;
    int64_t pixel_step;
};

// Sums of the values before the activation, as they are stored, and of their squares: a norm that takes the mean of
// other numbers than it reads would blow up their difference where a channel is constant.
struct BlockStats {
    Lanes sum, square;
};

// block: which block of y; plane: its pixels; live: (16) words of ones or zeros, or null where all lanes are channels.
template <Element kElement>
inline BlockEpilogue block_epilogue(const Epilogue& e, int64_t block, int64_t plane, const float* live, void* y) {
    const int64_t skip = block * plane * kLanes * element_bytes(kElement), channel = block * kLanes;
    const auto at = [skip](const void* p) { return p == nullptr ? nullptr : static_cast<const char*>(p) + skip; };
    BlockEpilogue b = {};
    if (e.bias != nullptr) b.bias = load_floats(e.bias + channel);
    if (e.slope != nullptr) b.slope = load_floats(e.slope + channel);
    for (int i = 0; i < kLaneVecs; ++i)
        b.live.part[i] = live == nullptr ? reinterpret_cast<Vec>(VecInts{} - 1) : load(live + i * kVecLanes);
    b.kind = e.kind, b.pixel_step = 1;
    b.before = at(e.before), b.after = at(e.after), b.other = at(e.other);
    b.total = e.total == nullptr ? nullptr : static_cast<char*>(e.total) + skip;
    b.y = static_cast<char*>(y) + skip;
    return b;
}

inline Lanes keep_live(Lanes v, Lanes live) {
    for (int i = 0; i < kLaneVecs; ++i)
        v.part[i] =
            reinterpret_cast<Vec>(reinterpret_cast<VecInts>(v.part[i]) & reinterpret_cast<VecInts>(live.part[i]));
    return v;
}

template <Element kElement>
inline Lanes rounded(Lanes v) {
    if constexpr (kElement == Element::kF32) return v;
    alignas(64) uint16_t memory[kLanes];
    store_lanes<kElement>(memory, 0, v);
    return load_lanes<kElement>(memory, 0);
}

// sums: `count` pixels, sum_step floats from one to the next; `first`: the first of them in y; stats may be null.
template <Element kElement>
inline void finish_pixels(const BlockEpilogue& e, const float* sums, int64_t sum_step, int64_t count, int64_t first,
                          BlockStats* stats) {
    Lanes sum = {}, square = {};
    for (int64_t p = 0; p < count; ++p) {
        const int64_t at = (first + p) * e.pixel_step;
        Lanes v = load_floats(sums + p * sum_step) + e.bias;
        if (stats != nullptr) {
            v = rounded<kElement>(keep_live(v, e.live));
            sum = sum + v, square = multiply_add(v, v, square);
        }
        if (e.before != nullptr) v = v + load_lanes<kElement>(e.before, at);
        if (e.kind == EpilogueKind::kLeaky) v = leaky(v, e.slope);
        if (e.kind == EpilogueKind::kSigmoid) v = sigmoid(v);
        if (e.after != nullptr) v = v + load_lanes<kElement>(e.after, at);
        v = keep_live(v, e.live);
        store_lanes<kElement>(e.y, at, v);
        if (e.total != nullptr) store_lanes<kElement>(e.total, at, v + load_lanes<kElement>(e.other, at));
    }
    if (stats != nullptr) stats->sum = stats->sum + sum, stats->square = stats->square + square;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
