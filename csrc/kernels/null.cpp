#include "kernels/null.h"

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

void null(const NullParams& params, const Context& context) {
    COVFAST_REQUIRE(params.n >= 0, SHAPE, "x: got ", params.n, " items, expected 0 or more");
    run(context, &Backend::null, "null", params);
}

}  // namespace covfast
