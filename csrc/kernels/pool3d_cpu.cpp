// One item is a tile of kTile columns of one output row. A mean is a convolution with weights of 1, divided by each
// column's count; a maximum goes tap by tap. Means over large windows have few outputs: each is summed by itself.
#include "kernels/pool3d.h"
#include "kernels/row_taps.h"
#include "kernels/sum_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kTapsPerBlock = 1 << 17;
constexpr int64_t kLargeWindow = 1 << 8;
constexpr float kOnes[kTaps] = {1, 1, 1, 1, 1, 1, 1, 1};

// Number of x that the window at output o of one axis averages over.
int64_t count_at(const Pool3dParams& p, int axis, int64_t o) {
    const int64_t begin = o * p.stride[axis] - p.padding[axis], end = begin + p.kernel[axis];
    if (p.count_include_pad) return least(end, p.in_size[axis] + p.padding[axis]) - begin;
    return least(end, p.in_size[axis]) - most(begin, 0);
}

// best[i] = the greater of best[i] and x[i * stride]; NaN stays and wins.
void keep_greatest(float* best, const float* x, int64_t stride, Span span) {
    for (int64_t i = span.begin; i < span.end; ++i) {
        const float value = x[i * stride];
        best[i] = value > best[i] || value != value ? value : best[i];
    }
}

void pool_row(PoolKind kind, float (*tile)[kTile], const float* row, const RowTaps& taps) {
    if (kind == PoolKind::kMean) return add_row<1>(tile, row, taps, kOnes, 0);
    const int64_t origin = taps.first * taps.stride - taps.padding;
    for (int64_t k = 0; k < taps.taps; ++k)
        keep_greatest(tile[0], row + origin + k * taps.dilation, taps.stride, taps.tap[k]);
}

void pool_window(float (*tile)[kTile], const Pool3dParams& p, const float* x, int64_t od, int64_t oh,
                 const RowTaps& taps) {
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd) {
        const int64_t d = od * p.stride[0] - p.padding[0] + kd * p.dilation[0];
        if (d < 0 || d >= p.in_size[0]) continue;
        for (int64_t kh = 0; kh < p.kernel[1]; ++kh) {
            const int64_t h = oh * p.stride[1] - p.padding[1] + kh * p.dilation[1];
            if (h < 0 || h >= p.in_size[1]) continue;
            pool_row(p.kind, tile, x + (d * p.in_size[1] + h) * p.in_size[2], taps);
        }
    }
}

// Sum of x over the window at one output; the mean's dilation is 1.
double sum_window(const Pool3dParams& p, const float* x, const int64_t* out) {
    int64_t begin[3], end[3];
    for (int a = 0; a < 3; ++a) {
        const int64_t first = out[a] * p.stride[a] - p.padding[a];
        begin[a] = most(0, first), end[a] = least(p.in_size[a], first + p.kernel[a]);
    }
    double sum = 0;
    for (int64_t d = begin[0]; d < end[0]; ++d)
        for (int64_t h = begin[1]; h < end[1]; ++h)
            sum += sum_f64<1>(x + (d * p.in_size[1] + h) * p.in_size[2] + begin[2], end[2] - begin[2], 0);
    return sum;
}

bool has_large_windows(const Pool3dParams& p) {
    return p.kind == PoolKind::kMean && p.kernel[0] * p.kernel[1] * p.kernel[2] >= kLargeWindow;
}

void pool_tile(const Pool3dParams& p, const float* x, float* y, int64_t od, int64_t oh, int64_t column, int64_t n) {
    alignas(64) float tile[1][kTile];
    for (int64_t w = 0; w < n; ++w) tile[0][w] = p.kind == PoolKind::kMean ? 0.0f : -__builtin_inff();
    for (int64_t kw = 0; kw < p.kernel[2]; kw += kTaps)
        pool_window(tile, p, x, od, oh,
                    row_taps(p.in_size[2], p.out_size[2], p.stride[2], p.dilation[2], p.padding[2], kw, p.kernel[2],
                             column, n));
    if (p.kind == PoolKind::kMax) {
        for (int64_t w = 0; w < n; ++w) y[w] = tile[0][w];
        return;
    }
    const int64_t rows = count_at(p, 0, od) * count_at(p, 1, oh);
    for (int64_t w = 0; w < n; ++w) y[w] = tile[0][w] / static_cast<float>(rows * count_at(p, 2, column + w));
}

void sum_tile(const Pool3dParams& p, const float* x, float* y, int64_t od, int64_t oh, int64_t column, int64_t n) {
    const int64_t rows = count_at(p, 0, od) * count_at(p, 1, oh);
    for (int64_t w = 0; w < n; ++w) {
        const int64_t out[3] = {od, oh, column + w};
        y[w] = static_cast<float>(sum_window(p, x, out) / static_cast<double>(rows * count_at(p, 2, column + w)));
    }
}

void pool3d_range(const void* params, int64_t begin, int64_t end) {
    const Pool3dParams& p = *static_cast<const Pool3dParams*>(params);
    const int64_t tiles = (p.out_size[2] + kTile - 1) / kTile;
    const bool is_large = has_large_windows(p);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % tiles * kTile, row = i / tiles;
        const int64_t oh = row % p.out_size[1], od = row / p.out_size[1] % p.out_size[0];
        const int64_t plane = row / p.out_size[1] / p.out_size[0];
        const float* x = p.x + plane * p.in_size[0] * p.in_size[1] * p.in_size[2];
        const auto fill = is_large ? sum_tile : pool_tile;
        fill(p, x, p.y + row * p.out_size[2] + column, od, oh, column, least(kTile, p.out_size[2] - column));
    }
}

}  // namespace

void pool3d(const Pool3dParams& p, const Exec& exec) {
    const int64_t tiles = (p.out_size[2] + kTile - 1) / kTile;
    const int64_t taps = least(kTile, p.out_size[2]) * p.kernel[0] * p.kernel[1] * p.kernel[2];
    exec.parallel_for(pool3d_range, &p, p.planes * p.out_size[0] * p.out_size[1] * tiles, most(1, kTapsPerBlock / taps),
                      exec.threads);
}

}  // namespace covfast::COVFAST_ISA
