// What stitch and stitch_half check alike.
#pragma once
#include <algorithm>

#include "core/error.h"

namespace covfast {

template <class Params>
void check_stitch(const Params& p) {
    COVFAST_REQUIRE(p.channels >= 0 && p.depth >= 0 && p.height >= 0 && p.width >= 0, SHAPE, "sum: got ", p.channels,
                    " channels of (", p.depth, ", ", p.height, ", ", p.width, "), expected sizes of 0 or more");
    for (const int64_t n : p.window)
        COVFAST_REQUIRE(n >= 0, SHAPE, "window: got a size of ", n, ", expected 0 or more");
    const int64_t first = std::max<int64_t>(0, p.origin[0]), last = std::min(p.depth, p.origin[0] + p.window[0]);
    COVFAST_REQUIRE(p.ring >= last - first && p.ring >= 1, SHAPE, "sum: got a ring of ", p.ring,
                    " planes, expected as many as the window has in the volume, ", std::max<int64_t>(1, last - first));
}

template <class Params>
void check_stitch_plane(const Params& p) {
    COVFAST_REQUIRE(p.channels >= 0 && p.height >= 0 && p.width >= 0, SHAPE, "sum: got ", p.channels, " channels of (",
                    p.height, ", ", p.width, "), expected sizes of 0 or more");
}

}  // namespace covfast
