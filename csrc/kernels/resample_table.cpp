#include "kernels/resample_table.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace covfast {

ResampleTable linear_table(int64_t n_in, int64_t n_out, bool antialias) {
    COVFAST_REQUIRE(n_in >= 1 && n_out >= 1, SHAPE, "size: got ", n_in, " to ", n_out, ", expected at least 1");
    const double scale = static_cast<double>(n_in) / n_out;
    const double support = antialias ? std::max(1.0, scale) : 1.0;
    ResampleTable table{n_in, n_out, std::min<int64_t>(n_in, 2 * static_cast<int64_t>(std::ceil(support)) + 1), {}, {}};
    table.first.resize(n_out);
    table.weight.assign(n_out * table.taps, 0.0f);
    std::vector<double> row(table.taps);
    for (int64_t o = 0; o < n_out; ++o) {
        double centre = (o + 0.5) * scale - 0.5;
        if (!antialias) centre = std::clamp(centre, 0.0, n_in - 1.0);  // edge values continue outside
        const int64_t first =
            std::clamp<int64_t>(static_cast<int64_t>(std::ceil(centre - support)), 0, n_in - table.taps);
        double sum = 0;
        for (int64_t k = 0; k < table.taps; ++k) {
            row[k] = std::max(0.0, 1.0 - std::abs(first + k - centre) / support);
            sum += row[k];
        }
        table.first[o] = first;
        for (int64_t k = 0; k < table.taps; ++k) table.weight[o * table.taps + k] = static_cast<float>(row[k] / sum);
    }
    return table;
}

}  // namespace covfast
