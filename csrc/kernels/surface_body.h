// What the passes of surface ask of one voxel, one word or one element.
#pragma once
#include "cpu/isa.h"
#include "kernels/surface_pass.h"

namespace covfast::COVFAST_ISA {
namespace {

// A byte of a bool map: any but 0 is true, as NumPy takes it.
struct BoolByte {
    uint8_t byte;

    COVFAST_HD friend bool operator==(BoolByte a, BoolByte b) { return (a.byte != 0) == (b.byte != 0); }
};

// A value as T; false where T cannot hold it.
template <class T>
COVFAST_HD inline bool as_label(int64_t value, T& typed) {
    typed = static_cast<T>(value);
    if constexpr (sizeof(T) == 8 && static_cast<T>(-1) > static_cast<T>(0)) return value >= 0;
    if constexpr (static_cast<T>(0.5) != static_cast<T>(0))  // a float, which may round to 2^63
        return typed < T(9.2e18) && typed > T(-9.2e18) && static_cast<int64_t>(typed) == value;
    return static_cast<int64_t>(typed) == value;
}

COVFAST_HD inline bool as_label(int64_t value, BoolByte& typed) {
    typed.byte = static_cast<uint8_t>(value);
    return value == 0 || value == 1;
}

// Beyond 2^63 every float is whole, but no label is.
template <class T>
COVFAST_HD inline bool is_whole(T v) {
    return v > T(-9.2e18) && v < T(9.2e18) && static_cast<T>(static_cast<int64_t>(v)) == v;
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

// The plane of voxels at x, or one without any.
COVFAST_HD inline const uint64_t* voxel_plane(const SurfaceBorderParams& p, int side, int64_t x) {
    return x >= 0 && x < p.voxel_size[0] ? p.voxels[side] + x * p.grid.plane : p.empty_plane;
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
