// A row of the window at a time: what lies before the volume, what lies in it, what lies behind it. Rows of stride 1
// are copied, mirrored ones reversed; memory bound.
#include "kernels/gather_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 64;
constexpr int64_t kLine = 16;       // floats of a cache line
constexpr int64_t kRowsAhead = 12;  // rows are short and far apart: the hardware does not foresee them

void fill_row(float* y, int64_t n, float value) {
    for (int64_t i = 0; i < n; ++i) y[i] = value;
}

void copy_row(const float* x, int64_t step, float* y, int64_t n) {
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) y[i] = x[i];
    } else if (step == -1) {
        for (int64_t i = 0; i < n; ++i) y[i] = x[-i];
    } else {
        for (int64_t i = 0; i < n; ++i) y[i] = x[i * step];
    }
}

void gather_rows(const void* params, int64_t begin, int64_t end) {
    const GatherParams& p = *static_cast<const GatherParams*>(params);
    const int64_t width = p.window[2], last = p.origin[2] + width;
    // Columns of the window that lie in the volume, counted from its low end.
    const int64_t low = p.origin[2] < 0 ? (-p.origin[2] < width ? -p.origin[2] : width) : 0;
    const int64_t behind = last > p.size[2] ? (last - p.size[2] < width ? last - p.size[2] : width) : 0;
    const int64_t inside = width - low - behind > 0 ? width - low - behind : 0;
    const int64_t first = p.flip[2] ? behind : low;  // of y
    for (int64_t r = begin; r < end; ++r) {
        const int64_t c = r / p.window[1] / p.window[0];
        const int64_t d = gather_position(p, 0, r / p.window[1] % p.window[0]);
        const int64_t h = gather_position(p, 1, r % p.window[1]);
        float* y = p.y + r * width;
        if (inside == 0 || !gather_is_inside(p, 0, d) || !gather_is_inside(p, 1, h)) {
            fill_row(y, width, p.fill);
            continue;
        }
        const float* x = p.x + c * p.stride[0] + d * p.stride[1] + h * p.stride[2];
        const float* from = x + gather_position(p, 2, first) * p.stride[3];
        if (p.stride[3] == 1)
            for (int64_t w = 0; w < inside; w += kLine) __builtin_prefetch(from + kRowsAhead * p.stride[2] + w, 0, 2);
        fill_row(y, first, p.fill);
        copy_row(from, p.flip[2] ? -p.stride[3] : p.stride[3], y + first, inside);
        fill_row(y + first + inside, width - first - inside, p.fill);
    }
}

}  // namespace

void gather(const GatherParams& params, const Exec& exec) {
    const int64_t rows = params.channels * params.window[0] * params.window[1];
    if (params.window[2] > 0) exec.parallel_for(gather_rows, &params, rows, kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
