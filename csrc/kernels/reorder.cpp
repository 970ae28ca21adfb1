#include "kernels/reorder.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void reorder(const ReorderParams& p, const Context& context) {
    COVFAST_REQUIRE(p.channels >= 0 && p.plane >= 0, SHAPE, "planar: got (", p.channels, ", ", p.plane,
                    "), expected sizes of 0 or more");
    COVFAST_REQUIRE(p.map.lanes >= 0 && p.map.lanes % kLanes == 0, SHAPE, "map: got ", p.map.lanes,
                    " lanes, expected a multiple of ", kLanes);
    for (int64_t l = 0; l < p.map.lanes; ++l)
        COVFAST_REQUIRE(p.map.channel[l] >= -1 && p.map.channel[l] < p.channels, SHAPE, "map: got channel ",
                        p.map.channel[l], " in lane ", l, ", expected -1 to ", p.channels - 1);
    COVFAST_REQUIRE(p.element != Element::kU8 || p.scale > 0, VALUE_RANGE, "scale: got ", p.scale,
                    ", expected a number above 0");
    run(context, &Backend::reorder, "reorder", p);
}

}  // namespace covfast
