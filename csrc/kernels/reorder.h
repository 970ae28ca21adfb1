// reorder: a value from the planar layout to the blocked one (kernels/blocked.h), or back.
//
// planar   (channels, plane) f32, contiguous
// blocked  (lanes / 16, plane, 16) of `element`; lane l of the value holds channel map.channel[l], or 0 where that is
// -1 to_blocked: blocked is written whole. Else: the channels that a lane holds are written, others are not touched.
// f32 is exact, bf16 rounds to nearest even, kU8 to q = clamp(round(v / scale) + 128). The two may not overlap. No
// workspace. Throws SHAPE if the lanes are no multiple of 16 or a lane names a channel that is not there.
#pragma once
#include <cstdint>

#include "kernels/blocked.h"
#include "kernels/conv_blocked.h"  // LaneMap

namespace covfast {

struct ReorderParams {
    float* planar;  // (channels, plane); not written where to_blocked
    void* blocked;  // (map.lanes / 16, plane, 16); not written unless to_blocked
    LaneMap map;
    int64_t channels, plane;
    float scale;  // kU8 alone
    Element element;
    bool to_blocked;
};

struct Context;
// Checks the arguments and runs on the context's backend.
void reorder(const ReorderParams& params, const Context& context);

}  // namespace covfast
