#include "kernels/stitch_half.h"

#include "kernels/backend.h"
#include "kernels/check_stitch.h"

namespace covfast {

void stitch_half(const StitchHalfParams& params, const Context& context) {
    check_stitch(params);
    run(context, &Backend::stitch_half, "stitch_half", params);
}

void stitch_half_plane(const StitchHalfPlaneParams& params, const Context& context) {
    check_stitch_plane(params);
    COVFAST_REQUIRE(params.folds >= 1, SHAPE, "sum: got ", params.folds, " folds, expected at least 1");
    run(context, &Backend::stitch_half_plane, "stitch_half_plane", params);
}

}  // namespace covfast
