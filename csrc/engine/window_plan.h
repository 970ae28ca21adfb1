// Where the windows of a sliding window lie, and how much each of their voxels counts.
//
// Both are separable: the starts are the product of one list an axis, and the importance of a voxel is the product of
// one weight an axis. So is the sum of the importances over all windows, which is why it is never stored as a volume.
// A volume shorter than the window is as if padded on both sides, the odd voxel behind: windows then begin outside it.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace covfast {

enum class Placement {
    kEven,   // as few windows as the step allows, spread evenly: nnU-Net
    kFixed,  // one every step, the last moved back to the end: MONAI
};

enum class Importance {
    kConstant,
    kGaussian,         // around voxel window / 2, standard deviation window / 8: nnU-Net
    kGaussianCentred,  // the same around the middle, (window - 1) / 2, but no less than 1e-3: MONAI
};

struct WindowOptions {
    std::array<int64_t, 3> window{};  // D, H, W
    std::array<double, 3> step{};     // of the window, in (0, 1]
    Placement placement = Placement::kEven;
    Importance importance = Importance::kGaussian;
    bool plain_if_single = false;  // one window alone counts everywhere the same: nnU-Net v1
};

struct WindowPlan {
    std::array<int64_t, 3> size;                 // of the volume
    std::array<int64_t, 3> window;               // D, H, W
    std::array<std::vector<int64_t>, 3> starts;  // ascending; below 0 and beyond where the volume is padded
    std::array<std::vector<float>, 3> weight;    // window[axis] each; the greatest of a Gaussian one is 1
    std::array<std::vector<float>, 3> total;     // size[axis] each: sum of the weights that cover it
    float floor = 0;  // least importance of a voxel; above 0, `total` does not say how much a voxel counts in all

    // Throws SHAPE for sizes below 1, VALUE_RANGE for a step outside (0, 1].
    static WindowPlan create(std::array<int64_t, 3> size, const WindowOptions& options);

    int64_t count() const { return static_cast<int64_t>(starts[0].size() * starts[1].size() * starts[2].size()); }
    // First voxel of window `index`; D is the slowest axis: windows of one D follow each other.
    std::array<int64_t, 3> origin(int64_t index) const;
};

// Starts of the windows along one axis. kEven: ceil((size - window) / (window * step)) + 1 of them, each rounded half
// to even; kFixed: every floor(window * step), at least 1.
std::vector<int64_t> window_starts(int64_t size, int64_t window, double step, Placement placement);

// nnU-Net's importance as it stores it: float16 bits, the greatest 10, what vanishes replaced by the smallest that does
// not. Source: nnunetv2 2.8.1, inference/sliding_window_prediction.py (a Gaussian filter of a single voxel).
std::vector<uint16_t> nnunet_importance(const std::array<int64_t, 3>& window);

}  // namespace covfast
