// One thread a column, grid-stride: for inner > 1 neighbouring threads read neighbouring x. A thread keeps no line but
// the state of the recursion upwards and four coefficients; each coefficient is the sum c[k] = sum_j z^j s[k + j], of
// which kReach terms suffice (0.268^20 < 2^-37). That is why y may be x: where the axis shrinks, output o lies before
// every value that is still to be read; where it grows, the column is walked from its end.
#include "cuda/launch.h"
#include "kernels/spline_axis_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kReach = 20;

// The coefficients of one column, in ascending order from k = -2, or descending ones of the mirrored column.
class Column {
public:
    COVFAST_HD Column(const float* x, int64_t stride, int64_t n, bool is_mirrored, bool prefilter)
        : x_(is_mirrored ? x + (n - 1) * stride : x),
          stride_(is_mirrored ? -stride : stride),
          n_(n),
          prefilter_(prefilter),
          first_(x_[0]),
          last_(x_[(n - 1) * stride_]),
          s_(kSettled * first_) {}

    COVFAST_HD float next() {
        const int64_t k = k_++;
        if (!prefilter_) return k < 0 ? first_ : k < n_ ? x_[k * stride_] : last_;
        if (k >= n_) {
            const float c = behind(last_, s_);
            return k == n_ ? c : last_ + kPole * (c - last_);
        }
        float c = sum(k < 0 ? 0 : k);
        for (int64_t i = k; i < 0; ++i) c = step_down(c, kSettled * first_);
        if (k >= 0) s_ = step_up(s_, x_[k * stride_]);
        return c;
    }

private:
    // c[k], with s[k - 1] in s_.
    COVFAST_HD float sum(int64_t k) const {
        float c = 0, power = 1, s = s_;
        const int64_t end = k + kReach < n_ ? k + kReach : n_;
        for (int64_t i = k; i < end; ++i, power *= kPole) c += power * (s = step_up(s, x_[i * stride_]));
        return end == n_ ? c + power * behind(last_, s) : c;
    }

    const float* x_;
    int64_t stride_, n_, k_ = -2;
    bool prefilter_;
    float first_, last_, s_;
};

COVFAST_HD inline void resample_column(const SplineAxisParams& p, const float* x, float* y) {
    const bool is_mirrored = p.n_out > p.n_in;
    Column column(x, p.inner, p.n_in, is_mirrored, p.prefilter);
    float tap[kSplineTaps] = {column.next(), column.next(), column.next(), column.next()};
    int64_t have = -2;
    for (int64_t i = 0; i < p.n_out; ++i) {
        const int64_t o = is_mirrored ? p.n_out - 1 - i : i;
        const int64_t first = is_mirrored ? p.n_in - kSplineTaps - p.first[o] : p.first[o];
        for (; have < first; ++have) {
            for (int k = 0; k + 1 < kSplineTaps; ++k) tap[k] = tap[k + 1];
            tap[kSplineTaps - 1] = column.next();
        }
        float sum = 0;
        for (int k = 0; k < kSplineTaps; ++k)
            sum += p.weight[o * kSplineTaps + (is_mirrored ? kSplineTaps - 1 - k : k)] * tap[k];
        y[o * p.inner] = clip(sum, p.low, p.high);
    }
}

__global__ void spline_axis_kernel(SplineAxisParams p) {
    for (int64_t i = grid_begin(); i < p.outer * p.inner; i += grid_step()) {
        const int64_t a = i / p.inner, b = i % p.inner;
        resample_column(p, p.x + a * p.x_outer_stride + b, p.y + a * p.y_outer_stride + b);
    }
}

}  // namespace

void spline_axis(const SplineAxisParams& params, const Exec& exec) {
    launch("spline_axis", spline_axis_kernel, blocks_for(params.outer * params.inner), kThreadsPerBlock, 0, exec.stream,
           params);
}

}  // namespace covfast::COVFAST_ISA
