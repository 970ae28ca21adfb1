// Labels on another grid, one plane at a time: the label with the greatest share among the eight voxels around, as
// nnU-Net's resize_segmentation (order 1) finds it.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/resample_argmax.h"

namespace covfast {

class LabelResizer {
public:
    // label(d, h, row): writes row h of plane d, of a volume of size `from`. orders: 1 linear, 0 nearest.
    using Rows = std::function<void(int64_t d, int64_t h, int16_t* row)>;
    LabelResizer(const std::array<int64_t, 3>& from, const std::array<int64_t, 3>& to, const std::array<int, 3>& order,
                 Rows rows);

    // Output plane d, (H, W). Safe from several threads.
    void plane(int64_t d, int16_t* labels) const;

private:
    std::array<int64_t, 3> from_;
    std::array<LerpTable, 3> table_;               // of shares
    std::array<std::vector<int64_t>, 3> nearest_;  // of each output
    Rows rows_;
};

}  // namespace covfast
