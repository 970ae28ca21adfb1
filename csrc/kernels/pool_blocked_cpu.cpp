// One item is an output row of one block. Taps outside x are left out once per row (D, H) and voxel (W), so nothing is
// padded; a voxel's 16 lanes stay in registers while its taps pass. With stride 2 and kernel 2 each x is read once:
// bound by memory. A mean over a large window is one item a voxel, its sums of 16 values added up in f64.
#include "kernels/pool_blocked.h"

#include "kernels/block_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kTapsPerBlock = 1 << 13;  // voxels read by one block of items: 512 KiB of f32
constexpr int64_t kLargeWindow = 1 << 8;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The taps of one output along one axis that lie inside x: `count` of them from `first` on, `step` apart; and what a
// mean divides by along this axis.
struct Taps {
    int64_t first, count, step, weight;
};

inline Taps taps_at(const PoolBlockedParams& p, int axis, int64_t o) {
    const int64_t step = p.dilation[axis], size = p.in_size[axis];
    const int64_t origin = o * p.stride[axis] - p.padding[axis], kernel = p.kernel[axis];
    if (origin >= 0 && origin + (kernel - 1) * step < size) return {origin, kernel, step, kernel};  // without divisions
    const int64_t begin = origin >= 0 ? 0 : (-origin + step - 1) / step;
    const int64_t end = origin >= size ? 0 : least(kernel, (size - 1 - origin) / step + 1);
    const int64_t padded = least(origin + kernel, size + p.padding[axis]) - origin;
    const int64_t count = most(0, end - begin);
    return {origin + begin * step, count, step, p.count_include_pad ? padded : count};
}

inline int64_t row_of(const PoolBlockedParams& p, int64_t block, int64_t d, int64_t h) {
    return ((block * p.in_size[0] + d) * p.in_size[1] + h) * p.in_size[2];
}

template <Element kElement, PoolKind kKind>
void pool_row(const PoolBlockedParams& p, int64_t block, int64_t od, int64_t oh) {
    const Taps depth = taps_at(p, 0, od), height = taps_at(p, 1, oh);
    const int64_t width = p.out_size[2], row = ((block * p.out_size[0] + od) * p.out_size[1] + oh) * width;
    const void* x = p.x;
    void* y = p.y;
    for (int64_t ow = 0; ow < width; ++ow) {
        const Taps column = taps_at(p, 2, ow);
        Lanes best = fill_lanes(kKind == PoolKind::kMean ? 0.0f : -__builtin_inff());
        for (int64_t kd = 0; kd < depth.count; ++kd)
            for (int64_t kh = 0; kh < height.count; ++kh) {
                const int64_t d = depth.first + kd * depth.step, h = height.first + kh * height.step;
                int64_t at = row_of(p, block, d, h) + column.first;
                for (int64_t kw = 0; kw < column.count; ++kw, at += column.step) {
                    const Lanes v = load_lanes<kElement>(x, at);
                    best = kKind == PoolKind::kMean ? best + v : greatest(best, v);
                }
            }
        if (kKind == PoolKind::kMean)
            best = best / fill_lanes(static_cast<float>(depth.weight * height.weight * column.weight));
        store_lanes<kElement>(y, row + ow, best);
    }
}

// Adds the sums of n neighbours to `sum`, 16 at a time in f32.
template <Element kElement>
void add_run(const void* x, int64_t at, int64_t n, double* sum) {
    for (int64_t i = 0; i < n; i += 16) {
        Lanes part = load_lanes<kElement>(x, at + i);
        for (int64_t k = i + 1; k < least(n, i + 16); ++k) part = part + load_lanes<kElement>(x, at + k);
        alignas(64) float lane[kLanes];
        store_floats(lane, part);
        for (int64_t l = 0; l < kLanes; ++l) sum[l] += lane[l];
    }
}

template <Element kElement>
void mean_voxel(const PoolBlockedParams& p, int64_t voxel) {
    const int64_t ow = voxel % p.out_size[2], oh = voxel / p.out_size[2] % p.out_size[1];
    const int64_t plane = voxel / p.out_size[2] / p.out_size[1], od = plane % p.out_size[0];
    const Taps depth = taps_at(p, 0, od), height = taps_at(p, 1, oh), column = taps_at(p, 2, ow);
    double sum[kLanes] = {};
    for (int64_t d = depth.first; d < depth.first + depth.count; ++d)
        for (int64_t h = height.first; h < height.first + height.count; ++h)
            add_run<kElement>(p.x, row_of(p, plane / p.out_size[0], d, h) + column.first, column.count, sum);
    const double weight = static_cast<double>(depth.weight * height.weight * column.weight);
    alignas(64) float lane[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) lane[l] = static_cast<float>(sum[l] / weight);
    store_lanes<kElement>(p.y, voxel, load_floats(lane));
}

template <PoolKind kKind>
void row_range(const void* params, int64_t begin, int64_t end) {
    const PoolBlockedParams& p = *static_cast<const PoolBlockedParams*>(params);
    const auto row = p.element == Element::kF32    ? pool_row<Element::kF32, kKind>
                     : p.element == Element::kBf16 ? pool_row<Element::kBf16, kKind>
                                                   : pool_row<Element::kU8, kKind>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / p.out_size[1];
        row(p, plane / p.out_size[0], plane % p.out_size[0], i % p.out_size[1]);
    }
}

void mean_range(const void* params, int64_t begin, int64_t end) {
    const PoolBlockedParams& p = *static_cast<const PoolBlockedParams*>(params);
    const auto mean = p.element == Element::kF32    ? mean_voxel<Element::kF32>
                      : p.element == Element::kBf16 ? mean_voxel<Element::kBf16>
                                                    : mean_voxel<Element::kU8>;
    for (int64_t i = begin; i < end; ++i) mean(p, i);
}

}  // namespace

void pool_blocked(const PoolBlockedParams& p, const Exec& exec) {
    const int64_t window = p.kernel[0] * p.kernel[1] * p.kernel[2];
    const int64_t rows = p.blocks * p.out_size[0] * p.out_size[1];
    if (p.kind == PoolKind::kMean && window >= kLargeWindow) {
        exec.parallel_for(mean_range, &p, rows * p.out_size[2], most(1, kTapsPerBlock / window), exec.threads);
        return;
    }
    const auto range = p.kind == PoolKind::kMean ? row_range<PoolKind::kMean> : row_range<PoolKind::kMax>;
    exec.parallel_for(range, &p, rows, most(1, kTapsPerBlock / (window * p.out_size[2])), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
