#include "kernels/resample_axis.h"

#include <string_view>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void resample_axis(const ResampleAxisParams& params, const Context& context) {
    COVFAST_REQUIRE(params.outer >= 0 && params.inner >= 0 && params.n_out >= 0 && params.taps >= 1, SHAPE, "x: got (",
                    params.outer, ", ", params.n_in, ", ", params.inner, ") to ", params.n_out, " with ", params.taps,
                    " taps, expected sizes of 0 or more and at least one tap");
    const bool readable =
        std::string_view(context.backend->device) == "cpu";  // a device's table was checked before upload
    for (int64_t o = 0; readable && o < params.n_out; ++o)
        COVFAST_REQUIRE(params.first[o] >= 0 && params.first[o] <= params.n_in - params.taps, VALUE_RANGE,
                        "first: got ", params.first[o], ", expected 0 to ", params.n_in - params.taps);
    run(context, &Backend::resample_axis, "resample_axis", params);
}

}  // namespace covfast
