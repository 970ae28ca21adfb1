// One item is kRows output rows of one slice of one block, tile by tile along W. A tile takes what outputs lie between
// kSpan columns of x:
//
//     x at (d, h), (d + 1, h)  -> slab[h % 2]   mixed along D, kept while output rows lie between h and h + 1
//     slab[0], slab[1]         -> mixed         along H, once an output row
//     mixed[l], mixed[l + 1]   -> y             along W
//
// So each mix is done once; slabs and mixed are 24 KiB of L1. y is written once and x read once per kRows.
#include "kernels/resize_blocked.h"

#include "kernels/block_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kSpan = 128;  // columns of x in a tile
constexpr int64_t kRows = 8;    // output rows of one item

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// a + f (b - a)
inline Lanes mix(Lanes a, Lanes b, Lanes f) { return multiply_add(f, b - a, a); }

inline int64_t right_of(const ResizeBlockedParams& p, int axis, int64_t left) {
    return least(left + 1, p.in_size[axis] - 1);
}

struct Tile {
    alignas(64) float slab[2][kSpan * kLanes];
    alignas(64) float mixed[kSpan * kLanes];
    int64_t row[2];          // of x, in each slab; -1: none
    int64_t first, columns;  // of x
    int64_t begin, end;      // outputs
};

// The outputs from `begin` on whose columns of x fit.
void open_tile(const ResizeBlockedParams& p, Tile& t, int64_t begin) {
    const int64_t* left = p.left[2];
    t.begin = begin, t.end = begin, t.first = left[begin], t.row[0] = t.row[1] = -1;
    while (t.end < p.out_size[2] && right_of(p, 2, left[t.end]) - t.first < kSpan) ++t.end;
    t.columns = right_of(p, 2, left[t.end - 1]) - t.first + 1;
}

// Row h of x, mixed along D, in its slab.
template <Element kElement>
const float* slab_of(const ResizeBlockedParams& p, Tile& t, int64_t block, int64_t od, int64_t h) {
    float* slab = t.slab[h % 2];
    if (t.row[h % 2] == h) return slab;
    t.row[h % 2] = h;
    const int64_t plane = p.in_size[1] * p.in_size[2], d = p.left[0][od];
    const int64_t at = (block * p.in_size[0] + d) * plane + h * p.in_size[2] + t.first;
    const int64_t back = (right_of(p, 0, d) - d) * plane;
    const void* x = p.x;
    if (back == 0) {
        for (int64_t w = 0; w < t.columns; ++w) store_floats(slab + w * kLanes, load_lanes<kElement>(x, at + w));
        return slab;
    }
    const Lanes f = fill_lanes(p.fraction[0][od]);
    for (int64_t w = 0; w < t.columns; ++w)
        store_floats(slab + w * kLanes,
                     mix(load_lanes<kElement>(x, at + w), load_lanes<kElement>(x, at + back + w), f));
    return slab;
}

template <Element kElement>
void mix_rows(const ResizeBlockedParams& p, int64_t block, int64_t od, int64_t begin, int64_t end) {
    Tile t;
    const int64_t *left = p.left[2], last = p.in_size[2] - 1;
    const float* fraction = p.fraction[2];
    void* y = p.y;
    for (int64_t from = 0; from < p.out_size[2]; from = t.end) {
        open_tile(p, t, from);
        for (int64_t oh = begin; oh < end; ++oh) {
            const int64_t h = p.left[1][oh];
            const float* above = slab_of<kElement>(p, t, block, od, h);
            const float* below = slab_of<kElement>(p, t, block, od, right_of(p, 1, h));
            const Lanes f = fill_lanes(p.fraction[1][oh]);
            for (int64_t w = 0; w < t.columns * kLanes; w += kLanes)
                store_floats(t.mixed + w, mix(load_floats(above + w), load_floats(below + w), f));
            const int64_t row = ((block * p.out_size[0] + od) * p.out_size[1] + oh) * p.out_size[2];
            for (int64_t o = t.begin; o < t.end; ++o) {
                const float* l = t.mixed + (left[o] - t.first) * kLanes;
                const Lanes a = load_floats(l), b = load_floats(l + (left[o] < last ? kLanes : 0));
                store_lanes<kElement>(y, row + o, mix(a, b, fill_lanes(fraction[o])));
            }
        }
    }
}

template <Element kElement>
void copy_rows(const ResizeBlockedParams& p, int64_t block, int64_t od, int64_t begin, int64_t end) {
    constexpr int64_t kBytes = kLanes * element_bytes(kElement);
    const int64_t slice = (block * p.in_size[0] + p.left[0][od]) * p.in_size[1], *left = p.left[2];
    for (int64_t oh = begin; oh < end; ++oh) {
        const char* x = static_cast<const char*>(p.x) + (slice + p.left[1][oh]) * p.in_size[2] * kBytes;
        const int64_t row = (block * p.out_size[0] + od) * p.out_size[1] + oh;
        char* y = static_cast<char*>(p.y) + row * p.out_size[2] * kBytes;
        for (int64_t o = 0; o < p.out_size[2]; ++o) __builtin_memcpy(y + o * kBytes, x + left[o] * kBytes, kBytes);
    }
}

template <Element kElement>
void resize_rows(const ResizeBlockedParams& p, int64_t block, int64_t od, int64_t begin, int64_t end) {
    const auto rows = p.fraction[2] == nullptr ? copy_rows<kElement> : mix_rows<kElement>;
    rows(p, block, od, begin, end);
}

void resize_range(const void* params, int64_t begin, int64_t end) {
    const ResizeBlockedParams& p = *static_cast<const ResizeBlockedParams*>(params);
    const int64_t groups = (p.out_size[1] + kRows - 1) / kRows;
    const auto rows = p.element == Element::kF32    ? resize_rows<Element::kF32>
                      : p.element == Element::kBf16 ? resize_rows<Element::kBf16>
                                                    : resize_rows<Element::kU8>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t slice = i / groups, oh = i % groups * kRows;
        rows(p, slice / p.out_size[0], slice % p.out_size[0], oh, least(p.out_size[1], oh + kRows));
    }
}

}  // namespace

void resize_blocked(const ResizeBlockedParams& p, const Exec& exec) {
    const int64_t groups = (p.out_size[1] + kRows - 1) / kRows;
    exec.parallel_for(resize_range, &p, p.blocks * p.out_size[0] * groups, 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
