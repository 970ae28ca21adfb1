#include "engine/volume_input.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/arena.h"
#include "core/error.h"
#include "core/polling.h"
#include "core/threads.h"
#include "engine/resize_labels.h"
#include "kernels/spline_axis.h"

namespace covfast {
namespace {

constexpr int64_t kRowsPerBlock = 64;  // of a plane, read and resampled along W together
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLeastStd = 1e-8f;

using Axes3 = std::array<int64_t, 3>;

Axes3 box_size(const InputPlan& plan) {
    return {plan.end[0] - plan.begin[0], plan.end[1] - plan.begin[1], plan.end[2] - plan.begin[2]};
}

int thread_count(int threads) { return threads > 0 ? threads : hardware_threads(); }

template <class Body>
void polled(int64_t n, int threads, const Body& body) {
    polled_parallel_for([](const void* p, int64_t begin, int64_t end) { (*static_cast<const Body*>(p))(begin, end); },
                        &body, n, 1, threads);
}

// y = (clip(x, low, high) - mean) / std, in f32 step by step as numpy does it.
struct Scaling {
    float low = -kInfinity, high = kInfinity, mean = 0, std = 1;

    float operator()(float v) const {
        v = low > v ? low : v;  // in this order NaN stays
        v = high < v ? high : v;
        return (v - mean) / std;
    }
};

// What numbers come to, block by block in a fixed order.
struct Moments {
    double sum = 0, square = 0;  // of deviations from `centre`
    float low = kInfinity, high = -kInfinity;
    int64_t count = 0;

    void add(float v, double centre) {
        const double deviation = v - centre;
        sum += deviation, square += deviation * deviation;
        low = std::min(low, v), high = std::max(high, v);
        ++count;
    }
    void add(const Moments& other) {
        sum += other.sum, square += other.square, count += other.count;
        low = std::min(low, other.low), high = std::max(high, other.high);
    }
};

// Moments of a volume about `centre`; row(d, h, buffer) gives a row, mask(d, h) which of it count, or null.
template <class Row, class Mask>
Moments moments_of(const Axes3& size, double centre, int threads, const Row& row, const Mask& mask) {
    std::vector<Moments> planes(size[0]);
    polled(size[0], threads, [&](int64_t begin, int64_t end) {
        std::vector<float> buffer(size[2]);
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < size[1]; ++h) {
                const float* x = row(d, h, buffer.data());
                const uint8_t* inside = mask(d, h);
                for (int64_t w = 0; w < size[2]; ++w)
                    if (inside == nullptr || inside[w] != 0) planes[d].add(x[w], centre);
            }
    });
    Moments all;
    for (const Moments& plane : planes) all.add(plane);
    return all;
}

bool uses_mask(const ChannelNorm& norm, bool is_version_1) {
    return norm.masked && (norm.kind == ChannelNorm::kZScore || (is_version_1 && norm.kind == ChannelNorm::kClip));
}

std::array<int, 3> label_orders(const InputPlan& plan) {
    std::array<int, 3> order{1, 1, 1};
    if (plan.separate_axis >= 0) order[plan.separate_axis] = 0;
    return order;
}

// How a channel is scaled, from its own numbers where its scheme asks for them.
template <class Row, class Mask>
Scaling scaling_of(const ChannelNorm& norm, bool is_version_1, const Axes3& size, int threads, const Row& row,
                   const Mask& mask) {
    switch (norm.kind) {
        case ChannelNorm::kNone:
            return {};
        case ChannelNorm::kClip:
            return {norm.low, norm.high, norm.mean, is_version_1 ? norm.std : std::max(norm.std, kLeastStd)};
        case ChannelNorm::kDivide:
            return {-kInfinity, kInfinity, 0, 255};
        case ChannelNorm::kRescale01: {
            const Moments found = moments_of(size, 0, threads, row, mask);
            return {-kInfinity, kInfinity, found.low, std::max(found.high - found.low, kLeastStd)};
        }
        case ChannelNorm::kZScore:
            break;
    }
    const Moments first = moments_of(size, 0, threads, row, mask);
    const double n = static_cast<double>(std::max<int64_t>(first.count, 1)), mean = first.sum / n;
    const Moments second = moments_of(size, mean, threads, row, mask);
    const auto std = static_cast<float>(std::sqrt(second.square / n));
    return {-kInfinity, kInfinity, static_cast<float>(mean), is_version_1 ? std + kLeastStd : std::max(std, kLeastStd)};
}

// Lowest and highest number of what is resampled together: all, or each slice along the separate axis.
struct Limits {
    std::vector<float> low, high;

    explicit Limits(int64_t slices) : low(slices, kInfinity), high(slices, -kInfinity) {}
    void add(int64_t slice, const float* x, int64_t n) {
        constexpr int kLanes = 16;  // apart, so that the loop becomes vectors
        float least[kLanes], most[kLanes];
        std::fill_n(least, kLanes, low[slice]), std::fill_n(most, kLanes, high[slice]);
        int64_t i = 0;
        for (; i + kLanes <= n; i += kLanes)
            for (int lane = 0; lane < kLanes; ++lane) {
                const float v = x[i + lane];
                least[lane] = v < least[lane] ? v : least[lane];
                most[lane] = v > most[lane] ? v : most[lane];
            }
        for (; i < n; ++i) least[0] = std::min(least[0], x[i]), most[0] = std::max(most[0], x[i]);
        low[slice] = *std::min_element(least, least + kLanes);
        high[slice] = *std::max_element(most, most + kLanes);
    }
    void add(const Limits& other) {
        for (size_t i = 0; i < low.size(); ++i) {
            low[i] = std::min(low[i], other.low[i]);
            high[i] = std::max(high[i], other.high[i]);
        }
    }
};

void clip_row(float* y, int64_t n, float low, float high) {
    for (int64_t i = 0; i < n; ++i) {
        const float v = low > y[i] ? low : y[i];
        y[i] = high < v ? high : v;
    }
}

// Crops, normalises and resamples one channel.
class ChannelInput {
public:
    ChannelInput(const InputPlan& plan, const std::vector<uint8_t>& mask, const Context& context)
        : plan_(plan), mask_(mask), context_(context), in_(box_size(plan)), threads_(thread_count(context.threads)) {
        for (int axis = 0; axis < 3; ++axis) {
            changes_[axis] = in_[axis] != plan.size[axis];
            if (changes_[axis]) table_[axis] = spline_table(in_[axis], plan.size[axis], plan.order[axis]);
            is_clipped_ = is_clipped_ || (changes_[axis] && plan.order[axis] == 3 && axis != plan.separate_axis);
        }
        rows_ = arena_.plan<float>(threads_ * kRowsPerBlock * in_[2]);
        plane_ = arena_.plan<float>(changes_[1] ? threads_ * in_[1] * plan.size[2] : 0);
        arena_.commit();
    }

    void run(const RawChannel& channel, const ChannelNorm& norm, float* out) {
        Scaling scaling;
        if (plan_.normalise_first) scaling = raw_scaling(channel, norm);
        const int64_t slices = plan_.separate_axis < 0 ? 1 : in_[plan_.separate_axis];
        std::vector<Limits> limits(threads_, Limits(is_clipped_ ? slices : 0));
        polled(in_[0], context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t d = begin; d < end; ++d)
                resample_plane(channel, scaling, uses_mask(norm, false), d, out, limits[thread_slot()]);
        });
        for (int i = 1; i < threads_; ++i) limits[0].add(limits[i]);
        resample_columns(out, limits[0]);
        if (!plan_.normalise_first) normalise(norm, out);
    }

    static int64_t scratch_floats(const InputPlan& plan, int threads) {
        const Axes3 in = box_size(plan);
        return threads * (kRowsPerBlock * in[2] + (in[1] != plan.size[1] ? in[1] * plan.size[2] : 0));
    }

private:
    int64_t plane_floats() const { return plan_.size[1] * plan_.size[2]; }

    Scaling raw_scaling(const RawChannel& channel, const ChannelNorm& norm) const {
        const auto row = [&](int64_t d, int64_t h, float* buffer) {
            read_row(channel, plan_.begin[0] + d, plan_.begin[1] + h, plan_.begin[2], in_[2], buffer);
            return static_cast<const float*>(buffer);
        };
        const auto mask = [&](int64_t d, int64_t h) { return mask_row(uses_mask(norm, false), d, h); };
        return scaling_of(norm, false, in_, context_.threads, row, mask);
    }

    const uint8_t* mask_row(bool is_masked, int64_t d, int64_t h) const {
        return is_masked ? mask_.data() + (d * in_[1] + h) * in_[2] : nullptr;
    }

    // Row h of plane d, cropped and normalised.
    void read(const RawChannel& channel, const Scaling& scaling, bool is_masked, int64_t d, int64_t h,
              float* row) const {
        read_row(channel, plan_.begin[0] + d, plan_.begin[1] + h, plan_.begin[2], in_[2], row);
        if (!plan_.normalise_first) {
            for (int64_t w = 0; w < in_[2]; ++w) row[w] = std::isnan(row[w]) ? 0 : row[w];
        } else if (const uint8_t* inside = mask_row(is_masked, d, h); inside != nullptr) {
            for (int64_t w = 0; w < in_[2]; ++w) row[w] = inside[w] != 0 ? scaling(row[w]) : row[w];
        } else {
            for (int64_t w = 0; w < in_[2]; ++w) row[w] = scaling(row[w]);
        }
    }

    void note_limits(Limits& limits, int64_t d, int64_t h, const float* row) const {
        if (!is_clipped_) return;
        if (plan_.separate_axis == 2) {
            for (int64_t w = 0; w < in_[2]; ++w) limits.add(w, row + w, 1);
        } else {
            limits.add(plan_.separate_axis < 0 ? 0 : plan_.separate_axis == 0 ? d : h, row, in_[2]);
        }
    }

    // Plane d within itself, to plane d of out.
    void resample_plane(const RawChannel& channel, const Scaling& scaling, bool is_masked, int64_t d, float* out,
                        Limits& limits) const {
        const Context here{context_.backend, 1};
        const int64_t width = plan_.size[2];
        float* y = out + d * plane_floats();
        float* rows = arena_.get(rows_) + thread_slot() * kRowsPerBlock * in_[2];
        float* plane = changes_[1] ? arena_.get(plane_) + thread_slot() * in_[1] * width : y;
        for (int64_t h = 0; h < in_[1]; h += kRowsPerBlock) {
            const int64_t count = std::min(kRowsPerBlock, in_[1] - h);
            float* to = changes_[2] ? rows : plane + h * width;
            for (int64_t i = 0; i < count; ++i) {
                read(channel, scaling, is_masked, d, h + i, to + i * in_[2]);
                note_limits(limits, d, h + i, to + i * in_[2]);
            }
            if (changes_[2]) spline_axis(spline_params(table_[2], rows, count, 1, plane + h * width), here);
        }
        if (changes_[1]) spline_axis(spline_params(table_[1], plane, 1, width, y), here);
        if (is_clipped_ && plan_.separate_axis == 0) clip_row(y, plane_floats(), limits.low[d], limits.high[d]);
    }

    // Along D, in place, and what is left to clip.
    void resample_columns(float* out, const Limits& limits) const {
        const bool clips_all = is_clipped_ && plan_.separate_axis < 0;
        const float low = clips_all ? limits.low[0] : -kInfinity, high = clips_all ? limits.high[0] : kInfinity;
        if (changes_[0]) spline_axis(spline_params(table_[0], out, 1, plane_floats(), out, low, high), context_);
        if (!is_clipped_ || plan_.separate_axis == 0 || (clips_all && changes_[0])) return;
        polled(plan_.size[0], context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t d = begin; d < end; ++d) {
                float* plane = out + d * plane_floats();
                clips_all ? clip_row(plane, plane_floats(), low, high) : clip_slices(plane, limits);
            }
        });
    }

    // Slices along H or W are resampled (and clipped) by themselves and then picked by the nearest.
    void clip_slices(float* plane, const Limits& limits) const {
        const int axis = plan_.separate_axis;
        for (int64_t h = 0; h < plan_.size[1]; ++h)
            for (int64_t w = 0; w < plan_.size[2]; ++w) {
                const int64_t at = axis == 1 ? h : w, slice = changes_[axis] ? table_[axis].first[at] + 1 : at;
                clip_row(plane + h * plan_.size[2] + w, 1, limits.low[slice], limits.high[slice]);
            }
    }

    // Version 1: after resampling. What lies outside the mask becomes 0.
    void normalise(const ChannelNorm& norm, float* out) const {
        const Axes3 size = plan_.size;
        const bool is_masked = uses_mask(norm, true);
        const std::vector<uint8_t> inside = is_masked ? resampled_mask() : std::vector<uint8_t>();
        const auto row = [&](int64_t d, int64_t h, float*) -> const float* {
            return out + (d * size[1] + h) * size[2];
        };
        const auto mask = [&](int64_t d, int64_t h) -> const uint8_t* {
            return is_masked ? inside.data() + (d * size[1] + h) * size[2] : nullptr;
        };
        const Scaling scaling = scaling_of(norm, true, size, context_.threads, row, mask);
        polled(size[0], context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin * plane_floats(); i < end * plane_floats(); ++i)
                out[i] = is_masked && inside[i] == 0 ? 0 : scaling(out[i]);
        });
    }

    std::vector<uint8_t> resampled_mask() const {
        const auto row = [this](int64_t d, int64_t h, int16_t* to) {
            std::copy_n(mask_.data() + (d * in_[1] + h) * in_[2], in_[2], to);
        };
        const LabelResizer resizer(in_, plan_.size, label_orders(plan_), row);
        std::vector<uint8_t> mask(plan_.size[0] * plane_floats());
        polled(plan_.size[0], context_.threads, [&](int64_t begin, int64_t end) {
            std::vector<int16_t> plane(plane_floats());
            for (int64_t d = begin; d < end; ++d) {
                resizer.plane(d, plane.data());
                std::copy(plane.begin(), plane.end(), mask.begin() + d * plane_floats());
            }
        });
        return mask;
    }

    const InputPlan& plan_;
    const std::vector<uint8_t>& mask_;
    Context context_;
    Axes3 in_;
    int threads_;
    std::array<bool, 3> changes_{};
    std::array<SplineTable, 3> table_;
    bool is_clipped_ = false;
    Arena arena_;
    Slot<float> rows_, plane_;
};

void check_plan(const std::vector<RawChannel>& channels, const InputPlan& plan) {
    const Axes3 size = channels.front().size;
    for (const RawChannel& channel : channels)
        COVFAST_REQUIRE(channel.size == size, SHAPE, "image: got channels of different sizes, expected one size");
    for (int axis = 0; axis < 3; ++axis) {
        COVFAST_REQUIRE(plan.begin[axis] >= 0 && plan.begin[axis] < plan.end[axis] && plan.end[axis] <= size[axis],
                        SHAPE, "box: got [", plan.begin[axis], ", ", plan.end[axis], ") on axis ", axis,
                        ", expected a part of [0, ", size[axis], ")");
        COVFAST_REQUIRE(plan.size[axis] >= 1, SHAPE, "size: got ", plan.size[axis], ", expected at least 1");
    }
    const int axis = plan.separate_axis;
    COVFAST_REQUIRE(axis >= -1 && axis <= 2, VALUE_RANGE, "separate_axis: got ", axis, ", expected -1 to 2");
    COVFAST_REQUIRE(axis <= 0 || plan.order[axis] == 0 || plan.size[axis] == plan.end[axis] - plan.begin[axis],
                    VALUE_RANGE, "order: got ", plan.order[axis], " along the separate axis ", axis,
                    ", expected 0 unless that axis is the first; transpose the image");
}

}  // namespace

int64_t input_channel_floats(const InputPlan& plan) {
    return std::max(plan.size[0], plan.end[0] - plan.begin[0]) * plan.size[1] * plan.size[2];
}

int64_t input_scratch_bytes(const std::vector<ChannelNorm>& norms, const InputPlan& plan, int threads) {
    const Axes3 in = box_size(plan);
    bool is_masked = false;
    for (const ChannelNorm& norm : norms) is_masked = is_masked || uses_mask(norm, !plan.normalise_first);
    const int64_t mask = in[0] * in[1] * in[2] + (plan.normalise_first ? 0 : input_channel_floats(plan));
    return ChannelInput::scratch_floats(plan, thread_count(threads)) * static_cast<int64_t>(sizeof(float)) +
           (is_masked ? mask : 0);
}

void prepare_input(const std::vector<RawChannel>& channels, const std::vector<ChannelNorm>& norms,
                   const InputPlan& plan, float* out, const Context& context, const Progress& progress) {
    COVFAST_REQUIRE(!channels.empty() && channels.size() == norms.size(), SHAPE, "image: got ", channels.size(),
                    " channels, expected ", norms.size());
    check_plan(channels, plan);
    std::vector<uint8_t> mask;
    for (const ChannelNorm& norm : norms)
        if (mask.empty() && uses_mask(norm, !plan.normalise_first))
            mask = nonzero_mask(channels, {plan.begin, plan.end}, context.threads);
    ChannelInput input(plan, mask, context);
    const auto count = static_cast<int64_t>(channels.size());
    for (int64_t c = 0; c < count; ++c) {
        const PollScope scope(progress, "resample", c, count);
        scope.poll();
        input.run(channels[c], norms[c], out + c * input_channel_floats(plan));
    }
}

void prepare_previous(const View3<const uint8_t>& previous, const std::vector<int>& labels, const InputPlan& plan,
                      float* out, int64_t channel_stride, const Context& context, const Progress& progress,
                      const std::vector<RawChannel>& channels) {
    check_plan({{previous.data, false, previous.size, previous.stride}}, plan);
    std::vector<uint8_t> mask;
    if (!channels.empty()) mask = nonzero_mask(channels, {plan.begin, plan.end}, context.threads);
    const Axes3 in = box_size(plan);
    const auto row = [&](int64_t d, int64_t h, int16_t* to) {
        const uint8_t* inside = mask.empty() ? nullptr : mask.data() + (d * in[1] + h) * in[2];
        for (int64_t w = 0; w < in[2]; ++w) {
            to[w] = previous.at(plan.begin[0] + d, plan.begin[1] + h, plan.begin[2] + w);
            if (to[w] == 0 && inside != nullptr && inside[w] == 0) to[w] = -1;
        }
    };
    const LabelResizer resizer(in, plan.size, label_orders(plan), row);
    const int64_t plane_floats = plan.size[1] * plan.size[2];
    const PollScope scope(progress, "resample", 0, 1);
    polled(plan.size[0], context.threads, [&](int64_t begin, int64_t end) {
        std::vector<int16_t> plane(plane_floats);
        for (int64_t d = begin; d < end; ++d) {
            resizer.plane(d, plane.data());
            for (size_t i = 0; i < labels.size(); ++i) {
                float* y = out + i * channel_stride + d * plane_floats;
                for (int64_t k = 0; k < plane_floats; ++k) y[k] = plane[k] == labels[i] ? 1.0f : 0.0f;
            }
        }
    });
}

}  // namespace covfast
