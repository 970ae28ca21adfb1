#include "kernels/resample_argmax.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {
namespace {

void check_taps(const int64_t* first, int64_t n_out, int64_t n_in, const char* name) {
    for (int64_t o = 0; o < n_out; ++o)
        COVFAST_REQUIRE(first[o] >= (o == 0 ? 0 : first[o - 1]) && first[o] < n_in, VALUE_RANGE, name, ": got ",
                        first[o], " at ", o, ", expected 0 to ", n_in - 1, ", not falling");
}

}  // namespace

void resample_argmax(const ResampleArgmaxParams& params, const Context& context) {
    COVFAST_REQUIRE(params.channels >= 1 && params.channels <= 256, SHAPE, "x: got ", params.channels,
                    " channels, expected 1 to 256");
    COVFAST_REQUIRE(params.height >= 0 && params.width >= 0 && params.out_rows >= 0 && params.out_width >= 0, SHAPE,
                    "x: got (", params.height, ", ", params.width, ") to (", params.out_rows, ", ", params.out_width,
                    "), expected sizes of 0 or more");
    const bool readable =
        std::string_view(context.backend->device) == "cpu";  // a device's tables were checked before upload
    if (readable) {
        check_taps(params.row, params.out_rows, params.height, "row");
        check_taps(params.column, params.out_width, params.width, "column");
    }
    run(context, &Backend::resample_argmax, "resample_argmax", params);
}

LerpTable lerp_table(int64_t n_in, int64_t n_out, int order) {
    COVFAST_REQUIRE(n_in >= 1 && n_out >= 1, SHAPE, "size: got ", n_in, " to ", n_out, ", expected at least 1");
    COVFAST_REQUIRE(order == 0 || order == 1, VALUE_RANGE, "order: got ", order, ", expected 0 or 1");
    LerpTable table{n_in, n_out, {}, {}};
    const double scale = static_cast<double>(n_in) / n_out;
    for (int64_t o = 0; o < n_out; ++o) {
        const double t = std::clamp((o + 0.5) * scale - 0.5, 0.0, n_in - 1.0);
        const double first = std::floor(order == 0 ? t + 0.5 : t);
        table.first.push_back(static_cast<int64_t>(first));
        table.mix.push_back(order == 0 ? 0.0f : static_cast<float>(t - first));
    }
    return table;
}

}  // namespace covfast
