#include "engine/label_sink.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads.h"
#include "kernels/argmax.h"
#include "kernels/softmax.h"

namespace covfast {
namespace {

bool is_same_grid(const LogitsGrid& grid) { return grid.size == grid.out; }

int64_t area(const std::array<int64_t, 3>& size) { return size[1] * size[2]; }

}  // namespace

LabelWriter::LabelWriter(const LogitsGrid& grid, const LabelRule& rule, const LabelOutput& output,
                         const Context& context)
    : grid_(grid),
      rule_(rule),
      output_(output),
      context_(context),
      depth_(lerp_table(grid.size[0], grid.out[0], grid.order[0])),
      rows_(lerp_table(grid.size[1], grid.out[1], grid.order[1])),
      columns_(lerp_table(grid.size[2], grid.out[2], grid.order[2])),
      is_plain_(is_same_grid(grid)),
      bad_(grid.out[1]) {
    COVFAST_REQUIRE(output.labels.size == grid.out, SHAPE, "labels: got (", output.labels.size[0], ", ",
                    output.labels.size[1], ", ", output.labels.size[2], "), expected (", grid.out[0], ", ", grid.out[1],
                    ", ", grid.out[2], ")");
    COVFAST_REQUIRE(static_cast<int64_t>(rule.values.size()) == grid.channels, SHAPE, "values: got ",
                    rule.values.size(), ", expected ", grid.channels, ", one for each channel of the logits");
    if (output_.probabilities != nullptr) {
        row_weights_ = spline_table(grid.size[1], grid.out[1], grid.order[1]);
        column_weights_ = spline_table(grid.size[2], grid.out[2], grid.order[2]);
        mixed_ = arena_.plan<float>(grid.channels * area(grid.size));
        wide_ = arena_.plan<float>(grid.channels * grid.size[1] * grid.out[2]);
        values_ = arena_.plan<float>(grid.channels * area(grid.out));
    }
    arena_.commit();
}

size_t LabelWriter::workspace_bytes(const LogitsGrid& grid, bool has_probabilities) {
    if (!has_probabilities) return 0;
    return grid.channels * (area(grid.size) + grid.size[1] * grid.out[2] + area(grid.out)) * sizeof(float);
}

void LabelWriter::write(int64_t o, const float* plane, const float* next, int64_t channel_stride) {
    if (is_plain_) {
        const View3<uint8_t>& labels = output_.labels;
        argmax({plane, grid_.channels, grid_.out[1], grid_.out[2], channel_stride, grid_.size[2], rule_.values.data(),
                rule_.is_regions, labels.data + o * labels.stride[0], labels.stride[1], labels.stride[2], bad_.data()},
               context_);
    } else {
        resample_argmax(label_params(o, plane, next, channel_stride), context_);
    }
    require_finite(o);
    if (output_.probabilities != nullptr) write_probabilities(o, plane, next, channel_stride);
}

ResampleArgmaxParams LabelWriter::label_params(int64_t o, const float* plane, const float* next,
                                               int64_t channel_stride) const {
    const View3<uint8_t>& labels = output_.labels;
    ResampleArgmaxParams params{};
    params.below = plane, params.above = next, params.mix = depth_.mix[o];
    params.channels = grid_.channels, params.height = grid_.size[1], params.width = grid_.size[2];
    params.channel_stride = channel_stride, params.row_stride = grid_.size[2];
    params.out_rows = grid_.out[1], params.out_width = grid_.out[2];
    params.row = rows_.first.data(), params.row_mix = rows_.mix.data();
    params.column = columns_.first.data(), params.column_mix = columns_.mix.data();
    params.values = rule_.values.data();
    params.regions = rule_.is_regions, params.round_to_half = rule_.rounds_to_half;
    params.y = labels.data + o * labels.stride[0];
    params.y_row_stride = labels.stride[1], params.y_stride = labels.stride[2];
    params.bad = const_cast<uint8_t*>(bad_.data());
    return params;
}

void LabelWriter::write_probabilities(int64_t o, const float* plane, const float* next, int64_t channel_stride) {
    const int64_t channels = grid_.channels, height = grid_.size[1], width = grid_.size[2];
    const int64_t out_height = grid_.out[1], out_width = grid_.out[2], inside = area(grid_.out);
    const float mix = depth_.mix[o];
    float *mixed = arena_.get(mixed_), *wide = arena_.get(wide_), *values = arena_.get(values_);
    parallel_for(channels * height, 16, context_.threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row / height * channel_stride + row % height * width;
            for (int64_t w = 0; w < width; ++w)
                mixed[row * width + w] = plane[at + w] + mix * (next[at + w] - plane[at + w]);
        }
    });
    spline_axis(spline_params(column_weights_, mixed, channels * height, 1, wide), context_);
    spline_axis(spline_params(row_weights_, wide, channels, out_width, values), context_);
    if (!rule_.is_regions && !rule_.is_probability) softmax({values, values, 1, channels, inside, false}, context_);
    const std::array<int64_t, 4>& stride = output_.stride;
    parallel_for(channels * out_height, 16, context_.threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            float* to =
                output_.probabilities + row / out_height * stride[0] + o * stride[1] + row % out_height * stride[2];
            for (int64_t w = 0; w < out_width; ++w) {
                const float v = values[row * out_width + w];
                to[w * stride[3]] = rule_.is_regions ? 1.0f / (1.0f + std::exp(-v)) : v;
            }
        }
    });
}

void LabelWriter::require_finite(int64_t o) const {
    const bool is_bad = std::any_of(bad_.begin(), bad_.end(), [](uint8_t flag) { return flag != 0; });
    COVFAST_REQUIRE(!is_bad, FORMAT, "network: got NaN or infinity at plane ", o,
                    ", expected finite outputs; the input or the model's weights are broken");
}

LabelSink::LabelSink(const LogitsGrid& grid, const LabelRule& rule, const LabelOutput& output, const Context& context)
    : grid_(grid),
      writer_(grid, rule, output, context),
      takes_sums_(is_same_grid(grid) && output.probabilities == nullptr) {
    if (!takes_sums_) planes_ = arena_.plan<float>(2 * plane_floats());
    arena_.commit();
}

size_t LabelSink::workspace_bytes(const LogitsGrid& grid, bool has_probabilities) {
    const bool keeps_planes = !is_same_grid(grid) || has_probabilities;
    return LabelWriter::workspace_bytes(grid, has_probabilities) +
           (keeps_planes ? 2 * grid.channels * area(grid.size) * sizeof(float) : 0);
}

float* LabelSink::destination(int64_t d) {
    return takes_sums_ ? nullptr : arena_.get(planes_) + d % 2 * plane_floats();
}

void LabelSink::plane(int64_t d, const float* values) {
    const int64_t last = grid_.size[0] - 1, channel_stride = area(grid_.size);
    if (takes_sums_) {
        writer_.write(d, values, values, channel_stride);
        return;
    }
    // All output planes that begin with the plane before, or with this one where none follows.
    for (; next_out_ < grid_.out[0]; ++next_out_) {
        const int64_t first = writer_.first_plane(next_out_), next = std::min(first + 1, last);
        if (next > d) break;
        const float* planes = arena_.get(planes_);
        writer_.write(next_out_, planes + first % 2 * plane_floats(), planes + next % 2 * plane_floats(),
                      channel_stride);
    }
}

}  // namespace covfast
