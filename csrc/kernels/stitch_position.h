// Which part of a window lies in the volume, and where: for stitch and stitch_half, on any backend.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

namespace covfast::COVFAST_ISA {
namespace {

// Positions [begin, end) of the window along one axis are inside a volume of `size`.
struct Inside {
    int64_t begin, end;
};

COVFAST_HD inline Inside stitch_inside(int64_t origin, int64_t window, int64_t size) {
    const int64_t begin = origin < 0 ? -origin : 0, end = size - origin < window ? size - origin : window;
    return {begin, end > begin ? end : begin};
}

// Offset in x of window position (d, h, w), mirrored along flipped axes.
template <class Params>
COVFAST_HD inline int64_t stitch_source(const Params& p, int64_t c, int64_t d, int64_t h, int64_t w) {
    const int64_t at[3] = {p.flip[0] ? p.window[0] - 1 - d : d, p.flip[1] ? p.window[1] - 1 - h : h,
                           p.flip[2] ? p.window[2] - 1 - w : w};
    return c * p.stride[0] + at[0] * p.stride[1] + at[1] * p.stride[2] + at[2] * p.stride[3];
}

// The whole box of rows that a call changes, as (channel, plane, row) from a running number.
struct StitchBox {
    Inside d, h, w;
    int64_t planes, rows, columns;
};

template <class Params>
COVFAST_HD inline StitchBox stitch_box(const Params& p) {
    const Inside d = stitch_inside(p.origin[0], p.window[0], p.depth);
    const Inside h = stitch_inside(p.origin[1], p.window[1], p.height);
    const Inside w = stitch_inside(p.origin[2], p.window[2], p.width);
    return {d, h, w, d.end - d.begin, h.end - h.begin, w.end - w.begin};
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
