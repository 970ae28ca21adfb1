// What the passes of surface ask of one voxel, one word or one element.
#pragma once
#include "cpu/isa.h"
#include "kernels/surface_pass.h"

namespace covfast::COVFAST_ISA {
namespace {

// A value as T; false where T cannot hold it.
template <class T>
COVFAST_HD inline bool as_label(int64_t value, T& typed) {
    typed = static_cast<T>(value);
    if constexpr (sizeof(T) == 8 && static_cast<T>(-1) > static_cast<T>(0)) return value >= 0;
    return static_cast<int64_t>(typed) == value;
}

// Beyond 2^63 every float is whole, but no label is.
template <class T>
COVFAST_HD inline bool is_whole(T v) {
    return v > T(-9.2e18) && v < T(9.2e18) && static_cast<T>(static_cast<int64_t>(v)) == v;
}

COVFAST_HD inline int64_t label_bytes(LabelType type) {
    switch (type) {
        case LabelType::kU8:
        case LabelType::kI8:
            return 1;
        case LabelType::kU16:
        case LabelType::kI16:
            return 2;
        case LabelType::kU32:
        case LabelType::kI32:
        case LabelType::kF32:
            return 4;
        default:
            return 8;
    }
}

// The word at an index of a stack of bit-planes.
struct WordPlace {
    int64_t x, word, y;
    bool is_inside;  // else it is one of the zero words around the rows
};

COVFAST_HD inline WordPlace word_place(const PlaneGrid& grid, int64_t index) {
    const int64_t x = index / grid.plane, in_plane = index - x * grid.plane, row = in_plane / grid.pitch;
    const int64_t word = row - 1, y = in_plane - row * grid.pitch - kPad;
    return {x, word, y, x < grid.size[0] && word >= 0 && y >= 0 && y < grid.size[1]};
}

// Squared length of steps along x, y, z, summed in the order of the map's axes: the first two may change places.
COVFAST_HD inline double squared_length(const SurfaceSearchParams& p, int64_t dx, int64_t dy, int64_t dz) {
    const double x = p.square[0][dx < 0 ? -dx : dx], y = p.square[1][dy < 0 ? -dy : dy];
    const double z = p.square[2][dz < 0 ? -dz : dz];
    if (p.last_axis == 2) return (x + y) + z;
    return p.last_axis == 1 ? (x + z) + y : (y + z) + x;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
