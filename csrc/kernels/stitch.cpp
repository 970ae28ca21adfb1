#include "kernels/stitch.h"

#include "kernels/backend.h"
#include "kernels/check_stitch.h"

namespace covfast {

void stitch(const StitchParams& params, const Context& context) {
    check_stitch(params);
    run(context, &Backend::stitch, "stitch", params);
}

void stitch_plane(const StitchPlaneParams& params, const Context& context) {
    check_stitch_plane(params);
    run(context, &Backend::stitch_plane, "stitch_plane", params);
}

}  // namespace covfast
