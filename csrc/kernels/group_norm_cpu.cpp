// Three passes over fixed pieces: mean and squared deviations of each piece; those of a group's pieces merged in order;
// then each value scaled. A piece stays in L2 between its two sums.
#include "cpu/isa.h"
#include "kernels/group_norm.h"
#include "kernels/sum_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kGroupsPerBlock = 64;

// Of a piece: mean and sum of squared deviations from it. In the end a group's first piece has the group's mean and
// 1 / sqrt(v + eps).
struct Moments {
    double mean, spread;
};

Moments* moments_of(const GroupNormParams& p) { return reinterpret_cast<Moments*>(p.workspace); }
int64_t pieces_of(const GroupNormParams& p) { return group_norm_pieces(p.channels, p.groups, p.plane); }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Items of one block where an item has `values`, or a piece of them.
int64_t grain_of(int64_t values) { return kGroupNormPiece / smaller(kGroupNormPiece, values); }

void piece_range(const void* params, int64_t begin, int64_t end) {
    const GroupNormParams& p = *static_cast<const GroupNormParams*>(params);
    const int64_t pieces = pieces_of(p), count = p.channels / p.groups * p.plane;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % pieces * kGroupNormPiece, n = smaller(kGroupNormPiece, count - at);
        const float* x = p.x + i / pieces * count + at;
        const double mean = sum_f64<1>(x, n, 0) / static_cast<double>(n);
        moments_of(p)[i] = {mean, sum_f64<2>(x, n, mean)};
    }
}

// Source: Chan, Golub and LeVeque 1983, The American Statistician 37(3): merging two samples' moments.
void merge_range(const void* params, int64_t begin, int64_t end) {
    const GroupNormParams& p = *static_cast<const GroupNormParams*>(params);
    const int64_t pieces = pieces_of(p), count = p.channels / p.groups * p.plane;
    for (int64_t g = begin; g < end; ++g) {
        Moments* moments = moments_of(p) + g * pieces;
        Moments all = moments[0];
        for (int64_t i = 1; i < pieces; ++i) {
            const double before = static_cast<double>(i * kGroupNormPiece);
            const double n = static_cast<double>(smaller(kGroupNormPiece, count - i * kGroupNormPiece));
            const double step = moments[i].mean - all.mean, share = n / (before + n);
            all.mean += step * share;
            all.spread += moments[i].spread + step * step * before * share;
        }
        moments[0] = {all.mean, 1 / __builtin_sqrt(all.spread / static_cast<double>(count) + p.eps)};
    }
}

void scale_range(const void* params, int64_t begin, int64_t end) {
    const GroupNormParams& p = *static_cast<const GroupNormParams*>(params);
    const int64_t per_channel = (p.plane + kGroupNormPiece - 1) / kGroupNormPiece, pieces = pieces_of(p);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / per_channel, at = i % per_channel * kGroupNormPiece, c = row % p.channels;
        const Moments& group = moments_of(p)[row / (p.channels / p.groups) * pieces];
        const double scale = group.spread * (p.a == nullptr ? 1.0 : p.a[c]);
        const float a = static_cast<float>(scale), mean = static_cast<float>(group.mean);
        const double rest = (mean - group.mean) * scale;  // of the mean's rounding
        const float b = static_cast<float>(rest + (p.b == nullptr ? 0.0 : p.b[c]));
        const float* x = p.x + row * p.plane + at;
        float* y = p.y + row * p.plane + at;
        const int64_t n = smaller(kGroupNormPiece, p.plane - at);
        for (int64_t k = 0; k < n; ++k) y[k] = (x[k] - mean) * a + b;
    }
}

}  // namespace

void group_norm(const GroupNormParams& p, const Exec& exec) {
    if (p.n * p.plane == 0) return;
    const int64_t per_channel = (p.plane + kGroupNormPiece - 1) / kGroupNormPiece,
                  count = p.channels / p.groups * p.plane;
    exec.parallel_for(piece_range, &p, p.n * p.groups * pieces_of(p), grain_of(count), exec.threads);
    exec.parallel_for(merge_range, &p, p.n * p.groups, kGroupsPerBlock, exec.threads);
    exec.parallel_for(scale_range, &p, p.n * p.channels * per_channel, grain_of(p.plane), exec.threads);
}

}  // namespace covfast::COVFAST_ISA
