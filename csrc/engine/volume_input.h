// From the channels of an image as their files store them to the input of a network: crop, normalise, resample.
// Per plane, in memory that does not grow with depth: a plane is read, normalised and resampled within itself, then the
// columns along D are resampled in place.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/progress.h"
#include "core/view.h"
#include "engine/raw_rows.h"
#include "kernels/backend.h"

namespace covfast {

// How a channel is normalised, of nnU-Net's schemes.
struct ChannelNorm {
    enum Kind {
        kNone,
        kClip,       // CT: (clip(x, low, high) - mean) / max(std, 1e-8)
        kZScore,     // (x - mean of x) / max(standard deviation of x, 1e-8)
        kRescale01,  // (x - min) / max(max of x - min, 1e-8)
        kDivide,     // x / 255
    };
    Kind kind = kNone;
    // kZScore, and kClip of version 1: only where the image is not 0 in all channels, holes filled.
    bool masked = false;
    float low = 0, high = 0, mean = 0, std = 1;
};

struct InputPlan {
    std::array<int64_t, 3> begin{}, end{};  // the crop box
    std::array<int64_t, 3> size{};          // after resampling
    std::array<int, 3> order{3, 3, 3};      // per axis: 0, 1 or 3
    int separate_axis = -1;       // the axis along which slices are resampled (and clipped) one by one, -1: none
    bool normalise_first = true;  // version 2; version 1: false, and NaN becomes 0
};

// Floats that prepare_input writes for one channel: max(D before, D after) planes. The channel's result lies in the
// first plan.size[0] of them.
int64_t input_channel_floats(const InputPlan& plan);
// Bytes that prepare_input holds beside `out`.
int64_t input_scratch_bytes(const std::vector<ChannelNorm>& norms, const InputPlan& plan, int threads);

// Channel c is written to out + c * input_channel_floats(plan), (size) contiguous. Polls `progress` in stage
// "resample". Order 3 is clipped to the lowest and highest value of what is resampled, as skimage does. Throws SHAPE
// where channels differ in size or the box lies outside, VALUE_RANGE for an order (along a separate axis that is
// not D only 0 is known), CANCELLED.
void prepare_input(const std::vector<RawChannel>& channels, const std::vector<ChannelNorm>& norms,
                   const InputPlan& plan, float* out, const Context& context, const Progress& progress);

// One-hot channels of a label map on the original grid (a cascade's previous stage): cropped, resampled as nnU-Net's
// resize_segmentation does (the label with the greatest linear share; of equals the nearest one's, else the lowest),
// and out[i] = 1 where the label is labels[i], else 0. Channel i is written to out + i * channel_stride (at least
// input_channel_floats(plan)). Where `channels` are given, what lies outside the image (0 in all of them, holes filled)
// is a label of its own when labels are resampled, as in nnU-Net.
void prepare_previous(const View3<const uint8_t>& previous, const std::vector<int>& labels, const InputPlan& plan,
                      float* out, int64_t channel_stride, const Context& context, const Progress& progress,
                      const std::vector<RawChannel>& channels = {});

}  // namespace covfast
