#include "engine/window_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.h"

namespace covfast {
namespace {

constexpr int64_t kMostWindows = 1 << 20;  // along an axis: as many as the longest has voxels

// compute_importance_map of MONAI 1.6.1: with less, corners of windows would hardly count beside their neighbours.
constexpr float kMonaiFloor = 1e-3f;

double gaussian(int64_t i, double centre, double sigma) {
    const double distance = (i - centre) / sigma;
    return std::exp(-0.5 * distance * distance);
}

std::vector<float> axis_weight(int64_t window, Importance importance) {
    std::vector<float> weight(window, 1.0f);
    if (importance == Importance::kConstant) return weight;
    const double centre = importance == Importance::kGaussian ? static_cast<double>(window / 2) : (window - 1) / 2.0;
    for (int64_t i = 0; i < window; ++i) weight[i] = static_cast<float>(gaussian(i, centre, window / 8.0));
    return weight;
}

// Bits of the nearest float16, ties to even, of a number from 0 to 65504.
uint16_t half_bits(float value) {
    const float scaled = value * 0x1p24f;  // in units of the smallest float16
    if (scaled < 0x1p10f) return static_cast<uint16_t>(std::nearbyint(scaled));
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
    return static_cast<uint16_t>((rounded >> 13) - (112u << 10));  // the exponent's bias falls from 127 to 15
}

}  // namespace

std::vector<int64_t> window_starts(int64_t size, int64_t window, double step, Placement placement) {
    std::vector<int64_t> starts{0};
    if (size <= window) return starts;
    if (placement == Placement::kEven) {
        const auto steps = static_cast<int64_t>(std::ceil((size - window) / (window * step)));
        const double actual = static_cast<double>(size - window) / steps;
        for (int64_t i = 1; i <= steps; ++i) starts.push_back(static_cast<int64_t>(std::nearbyint(actual * i)));
        return starts;
    }
    const int64_t interval = std::max<int64_t>(1, static_cast<int64_t>(window * step));
    for (int64_t at = interval; starts.back() < size - window; at += interval)
        starts.push_back(std::min(at, size - window));
    return starts;
}

WindowPlan WindowPlan::create(std::array<int64_t, 3> size, const WindowOptions& options) {
    WindowPlan plan;
    plan.size = size;
    plan.window = options.window;
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t window = options.window[axis], padded = std::max(size[axis], window);
        COVFAST_REQUIRE(window >= 1 && size[axis] >= 1, SHAPE, "window: got ", window, " of a volume of ", size[axis],
                        ", expected at least 1");
        COVFAST_REQUIRE(options.step[axis] > 0 && options.step[axis] <= 1, VALUE_RANGE, "step: got ",
                        options.step[axis], ", expected more than 0 and at most 1");
        const double most = (static_cast<double>(padded) - window) / (window * options.step[axis]);
        COVFAST_REQUIRE(most < kMostWindows, VALUE_RANGE, "step: got ", options.step[axis], " of a window of ", window,
                        ", which makes ", most, " windows along an axis, expected fewer than ", kMostWindows);
        plan.starts[axis] = window_starts(padded, window, options.step[axis], options.placement);
        for (int64_t& start : plan.starts[axis]) start -= (padded - size[axis]) / 2;
    }
    const bool is_plain = options.plain_if_single && plan.count() == 1;
    if (options.importance == Importance::kGaussianCentred && !is_plain) plan.floor = kMonaiFloor;
    for (int axis = 0; axis < 3; ++axis) {
        plan.weight[axis] = axis_weight(plan.window[axis], is_plain ? Importance::kConstant : options.importance);
        plan.total[axis].assign(size[axis], 0.0f);
        for (const int64_t start : plan.starts[axis])
            for (int64_t at = std::max<int64_t>(0, start); at < std::min(size[axis], start + plan.window[axis]); ++at)
                plan.total[axis][at] += plan.weight[axis][at - start];
    }
    return plan;
}

std::array<int64_t, 3> WindowPlan::origin(int64_t index) const {
    const auto w = static_cast<int64_t>(starts[2].size()), h = static_cast<int64_t>(starts[1].size());
    return {starts[0][index / (w * h)], starts[1][index / w % h], starts[2][index % w]};
}

std::vector<uint16_t> nnunet_importance(const std::array<int64_t, 3>& window) {
    std::array<std::vector<double>, 3> axes;  // as the filter has them: a sum of 1
    double greatest = 1;
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t n = window[axis];
        if (n == 1) {
            axes[axis] = {1.0};
            continue;
        }
        const double sigma = n / 8.0;
        const auto radius = static_cast<int64_t>(4.0 * sigma + 0.5);
        double sum = 0;
        for (int64_t i = -radius; i <= radius; ++i) sum += gaussian(i, 0, sigma);
        for (int64_t i = 0; i < n; ++i)
            axes[axis].push_back(std::abs(i - n / 2) <= radius ? gaussian(i, n / 2, sigma) / sum : 0.0);
        greatest *= 1.0 / sum;
    }
    std::vector<uint16_t> importance;
    importance.reserve(window[0] * window[1] * window[2]);
    for (const double d : axes[0])
        for (const double h : axes[1])
            for (const double w : axes[2])
                importance.push_back(half_bits(static_cast<float>(d * h * w / (greatest / 10.0))));
    uint16_t smallest = 0xffff;
    for (const uint16_t bits : importance)
        if (bits != 0) smallest = std::min(smallest, bits);
    std::replace(importance.begin(), importance.end(), uint16_t{0}, smallest);
    return importance;
}

}  // namespace covfast
