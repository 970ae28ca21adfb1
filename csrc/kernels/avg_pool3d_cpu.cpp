// One item is a tile of kTile columns of one output row: a convolution with weights of 1, divided by each column's
// count.
#include "kernels/avg_pool3d.h"
#include "kernels/row_taps.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kTapsPerBlock = 1 << 17;
constexpr float kOnes[kTaps] = {1, 1, 1, 1, 1, 1, 1, 1};

// Number of x that the window at output o of one axis averages over.
int64_t count_at(const AvgPool3dParams& p, int axis, int64_t o) {
    const int64_t begin = o * p.stride[axis] - p.padding[axis], end = begin + p.kernel[axis];
    if (p.count_include_pad) return least(end, p.in_size[axis] + p.padding[axis]) - begin;
    return least(end, p.in_size[axis]) - most(begin, 0);
}

void sum_window(float (*sum)[kTile], const AvgPool3dParams& p, const float* x, int64_t od, int64_t oh,
                const RowTaps& taps) {
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
        const int64_t d = od * p.stride[0] - p.padding[0] + kd;
        if (d < 0 || d >= p.in_size[0]) continue;
        for (int64_t kh = 0; kh < p.kernel[1]; ++kh) {
            const int64_t h = oh * p.stride[1] - p.padding[1] + kh;
            if (h < 0 || h >= p.in_size[1]) continue;
            add_row<1>(sum, x + (d * p.in_size[1] + h) * p.in_size[2], taps, kOnes, 0);
        }
    }
}

void avg_pool3d_range(const void* params, int64_t begin, int64_t end) {
    const AvgPool3dParams& p = *static_cast<const AvgPool3dParams*>(params);
    const int64_t tiles = (p.out_size[2] + kTile - 1) / kTile;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % tiles * kTile, row = i / tiles;
        const int64_t oh = row % p.out_size[1], od = row / p.out_size[1] % p.out_size[0];
        const int64_t plane = row / p.out_size[1] / p.out_size[0];
        const int64_t n = least(kTile, p.out_size[2] - column);
        alignas(64) float sum[1][kTile];
        for (int64_t w = 0; w < n; ++w) sum[0][w] = 0.0f;
        const float* x = p.x + plane * p.in_size[0] * p.in_size[1] * p.in_size[2];
        for (int64_t kw = 0; kw < p.kernel[2]; kw += kTaps)
            sum_window(sum, p, x, od, oh,
                       row_taps(p.in_size[2], p.out_size[2], p.stride[2], 1, p.padding[2], kw, p.kernel[2], column, n));
        const int64_t rows = count_at(p, 0, od) * count_at(p, 1, oh);
        float* y = p.y + row * p.out_size[2] + column;
        for (int64_t w = 0; w < n; ++w) y[w] = sum[0][w] / static_cast<float>(rows * count_at(p, 2, column + w));
    }
}

}  // namespace

void avg_pool3d(const AvgPool3dParams& p, const Exec& exec) {
    const int64_t tiles = (p.out_size[2] + kTile - 1) / kTile;
    const int64_t taps = least(kTile, p.out_size[2]) * p.kernel[0] * p.kernel[1] * p.kernel[2];
    exec.parallel_for(avg_pool3d_range, &p, p.planes * p.out_size[0] * p.out_size[1] * tiles,
                      most(1, kTapsPerBlock / taps), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
