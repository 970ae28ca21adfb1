// From averaged logits to labels on the grid that the image came on, one plane after the other: resampling in three
// axes, argmax or regions, and pasting in one step, so that no float volume of the output's size exists unless
// probabilities are asked for.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/arena.h"
#include "core/view.h"
#include "engine/stitcher.h"
#include "kernels/backend.h"
#include "kernels/resample_argmax.h"
#include "kernels/spline_axis.h"

namespace covfast {

struct LabelRule {
    std::vector<uint8_t> values;  // of each channel
    bool is_regions = false;      // where logit c is above 0, in this order, values[c]; else argmax
    bool is_probability = false;  // the channels are probabilities, not logits; no regions then
    bool rounds_to_half = false;  // resampled logits are compared in float16, as nnU-Net v2 stores them
};

struct LogitsGrid {
    int64_t channels = 1;
    std::array<int64_t, 3> size{};  // of the logits
    std::array<int64_t, 3> out{};   // after resampling
    std::array<int, 3> order{};     // 1: linear, 0: nearest, both with half-sample centres and edges that continue
};

struct LabelOutput {
    View3<uint8_t> labels;            // of size `out`
    float* probabilities = nullptr;   // (C, out), or null: not asked for
    std::array<int64_t, 4> stride{};  // of it, in elements
};

class LabelWriter {
public:
    // Throws SHAPE if the output is not of size `out`.
    LabelWriter(const LogitsGrid& grid, const LabelRule& rule, const LabelOutput& output, const Context& context);

    bool is_plain() const { return is_plain_; }                       // nothing to resample
    int64_t first_plane(int64_t o) const { return depth_.first[o]; }  // which output plane o begins with
    // Output plane o from planes first_plane(o) and the next (at the last plane: that one), each (C, H, W) with
    // `channel_stride` elements from channel to channel. Throws FORMAT where a winning logit is NaN or infinite.
    void write(int64_t o, const float* plane, const float* next, int64_t channel_stride);

    static size_t workspace_bytes(const LogitsGrid& grid, bool has_probabilities);

private:
    ResampleArgmaxParams label_params(int64_t o, const float* plane, const float* next, int64_t channel_stride) const;
    void write_probabilities(int64_t o, const float* plane, const float* next, int64_t channel_stride);
    void require_finite(int64_t o) const;

    LogitsGrid grid_;
    LabelRule rule_;
    LabelOutput output_;
    Context context_;
    LerpTable depth_, rows_, columns_;
    SplineTable row_weights_, column_weights_;  // the same, of probabilities
    bool is_plain_;
    std::vector<uint8_t> bad_;  // of each output row
    Arena arena_;
    Slot<float> mixed_, wide_, values_;  // (C, H, W), (C, H, out W), (C, out H, out W), of probabilities
};

// Hands the planes of a sliding window to a LabelWriter; keeps the two that an output plane lies between.
class LabelSink : public PlaneSink {
public:
    LabelSink(const LogitsGrid& grid, const LabelRule& rule, const LabelOutput& output, const Context& context);
    float* destination(int64_t d) override;
    void plane(int64_t d, const float* values) override;

    static size_t workspace_bytes(const LogitsGrid& grid, bool has_probabilities);

private:
    int64_t plane_floats() const { return grid_.channels * grid_.size[1] * grid_.size[2]; }

    LogitsGrid grid_;
    LabelWriter writer_;
    bool takes_sums_;  // an argmax on the planes' own grid
    int64_t next_out_ = 0;
    Arena arena_;
    Slot<float> planes_;  // two of them, in turns
};

}  // namespace covfast
