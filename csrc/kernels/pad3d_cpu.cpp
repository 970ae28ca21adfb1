// A copy between two fills: one item is one output row.
#include <cstring>

#include "cpu/isa.h"
#include "kernels/pad3d.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kValuesPerBlock = 1 << 14;

void fill(float* y, float value, int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; ++w) y[w] = value;
}

void pad3d_range(const void* params, int64_t begin, int64_t end) {
    const Pad3dParams& p = *static_cast<const Pad3dParams*>(params);
    const int64_t width = p.out_size[2], from = p.before[2] > 0 ? p.before[2] : 0;
    const int64_t stop = p.before[2] + p.in_size[2] < width ? p.before[2] + p.in_size[2] : width;
    for (int64_t r = begin; r < end; ++r) {
        const int64_t h = r % p.out_size[1] - p.before[1], d = r / p.out_size[1] % p.out_size[0] - p.before[0];
        const int64_t plane = r / p.out_size[1] / p.out_size[0];
        float* y = p.y + r * width;
        if (h < 0 || h >= p.in_size[1] || d < 0 || d >= p.in_size[0] || stop <= from) {
            fill(y, p.value, 0, width);
            continue;
        }
        const float* x = p.x + ((plane * p.in_size[0] + d) * p.in_size[1] + h) * p.in_size[2];
        fill(y, p.value, 0, from);
        std::memcpy(y + from, x + (from - p.before[2]), (stop - from) * sizeof(float));
        fill(y, p.value, stop, width);
    }
}

}  // namespace

void pad3d(const Pad3dParams& p, const Exec& exec) {
    const int64_t rows = p.planes * p.out_size[0] * p.out_size[1], grain = kValuesPerBlock / p.out_size[2];
    exec.parallel_for(pad3d_range, &p, rows, grain > 0 ? grain : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
