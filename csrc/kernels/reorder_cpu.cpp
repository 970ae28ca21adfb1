// One item is a tile of kTile voxels of one block. Squares of kVecLanes voxels by kVecLanes channels are transposed in
// registers, log2(kVecLanes) exchanges of growing distance, so that both sides are read and written by whole registers:
//
//     channel rows  a0 a1 a2 a3      a0 b0 c0 d0   voxels
//                   b0 b1 b2 b3  ->  a1 b1 c1 d1
//                   ...              ...
//
// A tile's rows stay within a page each, and the 16 streams of a block run in step: bound by memory, not by shuffles.
#include "kernels/reorder.h"

#include <cstddef>

#include "kernels/block_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kTile = 512;  // voxels: 32 KiB on either side in f32

// Order<0, 1, ..., n - 1> as Count<n>::Type; <utility> is not for files compiled per instruction set.
template <size_t... kLane>
struct Order {};
template <size_t n, size_t... kLane>
struct Count : Count<n - 1, n - 1, kLane...> {};
template <size_t... kLane>
struct Count<0, kLane...> {
    using Type = Order<kLane...>;
};

// Exchanges the lanes j of `a` with bit kBit set for the lanes j - kBit of `b`.
template <size_t kBit, size_t... kLane>
inline void exchange(Vec& a, Vec& b, Order<kLane...>) {
    const Vec low = __builtin_shufflevector(a, b, ((kLane & kBit) != 0 ? kVecLanes + kLane - kBit : kLane)...);
    b = __builtin_shufflevector(a, b, ((kLane & kBit) != 0 ? kVecLanes + kLane : kLane + kBit)...);
    a = low;
}

template <size_t kBit>
inline void exchange_all(Vec (&square)[kVecLanes]) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kVecLanes; ++i)
        if ((i & kBit) == 0) exchange<kBit>(square[i], square[i + kBit], typename Count<kVecLanes>::Type());
    if constexpr (2 * kBit < kVecLanes) exchange_all<2 * kBit>(square);
}

// Voxels [at, at + kVecLanes) of a block from its 16 rows; a null row holds zeros.
template <Element kElement>
inline void block_square(const float* const* row, int64_t at, void* y, float inverse_scale) {
    Lanes voxel[kVecLanes];
#pragma GCC unroll 4
    for (int part = 0; part < kLaneVecs; ++part) {
        Vec square[kVecLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kVecLanes; ++i) {
            const float* from = row[part * kVecLanes + i];
            square[i] = from == nullptr ? Vec{} : load(from + at);
        }
        exchange_all<1>(square);
#pragma GCC unroll 16
        for (int i = 0; i < kVecLanes; ++i) voxel[i].part[part] = square[i];
    }
    for (int i = 0; i < kVecLanes; ++i) store_lanes<kElement>(y, at + i, voxel[i], inverse_scale);
}

// The inverse; a null row is not written.
template <Element kElement>
inline void plane_square(const void* x, int64_t at, float* const* row, float scale) {
    Lanes voxel[kVecLanes];
    for (int i = 0; i < kVecLanes; ++i) voxel[i] = load_lanes<kElement>(x, at + i, scale);
#pragma GCC unroll 4
    for (int part = 0; part < kLaneVecs; ++part) {
        Vec square[kVecLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kVecLanes; ++i) square[i] = voxel[i].part[part];
        exchange_all<1>(square);
#pragma GCC unroll 16
        for (int i = 0; i < kVecLanes; ++i)
            if (float* to = row[part * kVecLanes + i]) store(to + at, square[i]);
    }
}

template <Element kElement>
void reorder_tile(const ReorderParams& p, int64_t block, int64_t begin, int64_t end) {
    const int32_t* channel = p.map.channel + block * kLanes;
    float* row[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) row[l] = channel[l] < 0 ? nullptr : p.planar + channel[l] * p.plane;
    char* blocked = static_cast<char*>(p.blocked) + block * p.plane * kLanes * element_bytes(kElement);
    int64_t at = begin;
    for (; at + kVecLanes <= end; at += kVecLanes) {
        if (p.to_blocked) {
            block_square<kElement>(row, at, blocked, 1 / p.scale);
        } else {
            plane_square<kElement>(blocked, at, row, p.scale);
        }
    }
    for (; at < end; ++at) {
        alignas(64) float lane[kLanes] = {};
        if (p.to_blocked) {
            for (int64_t l = 0; l < kLanes; ++l) lane[l] = row[l] == nullptr ? 0.0f : row[l][at];
            store_lanes<kElement>(blocked, at, load_floats(lane), 1 / p.scale);
            continue;
        }
        store_floats(lane, load_lanes<kElement>(blocked, at, p.scale));
        for (int64_t l = 0; l < kLanes; ++l)
            if (row[l] != nullptr) row[l][at] = lane[l];
    }
}

void reorder_range(const void* params, int64_t begin, int64_t end) {
    const ReorderParams& p = *static_cast<const ReorderParams*>(params);
    const int64_t tiles = (p.plane + kTile - 1) / kTile;
    const auto tile = p.element == Element::kF32    ? reorder_tile<Element::kF32>
                      : p.element == Element::kBf16 ? reorder_tile<Element::kBf16>
                                                    : reorder_tile<Element::kU8>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % tiles * kTile;
        tile(p, i / tiles, at, at + kTile < p.plane ? at + kTile : p.plane);
    }
}

}  // namespace

void reorder(const ReorderParams& p, const Exec& exec) {
    const int64_t tiles = (p.plane + kTile - 1) / kTile;
    exec.parallel_for(reorder_range, &p, p.map.lanes / kLanes * tiles, 4, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
