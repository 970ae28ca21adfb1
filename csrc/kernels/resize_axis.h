// The tables of resize3d: where the outputs of one axis lie between its samples.
#pragma once
#include <cstdint>
#include <vector>

namespace covfast {

enum class ResizeKind : int32_t { kLinear, kLinearCorners, kNearest, kNearestExact };  // kLinearCorners: align_corners

// One axis: the sample at or below each output, and how far the output lies beyond it. left[o] + 1 is read only where
// it exists.
struct ResizeAxis {
    std::vector<int64_t> left;    // (n_out)
    std::vector<float> fraction;  // (n_out) in [0, 1); empty where one sample is copied
};

// factor: 0 where the output's size was given.
ResizeAxis resize_axis(int64_t n_in, int64_t n_out, ResizeKind kind, double factor);

}  // namespace covfast
