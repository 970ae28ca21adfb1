#include "engine/resize_labels.h"

#include <algorithm>
#include <utility>

namespace covfast {
namespace {

// The labels around one output, in ascending order, and the weight of each.
class Shares {
public:
    void add(int16_t label, double weight) {
        int i = 0;
        while (i < count_ && label_[i] < label) ++i;
        if (i == count_ || label_[i] != label) {
            for (int k = count_++; k > i; --k) label_[k] = label_[k - 1], weight_[k] = weight_[k - 1];
            label_[i] = label, weight_[i] = 0;
        }
        weight_[i] += weight;
    }

    // The label of greatest weight; of equals `nearest` if it is one of them, else the lowest.
    int16_t winner(int16_t nearest) const {
        const int best = static_cast<int>(std::max_element(weight_, weight_ + count_) - weight_);
        for (int i = 0; i < count_; ++i)
            if (label_[i] == nearest && weight_[i] == weight_[best]) return nearest;
        return label_[best];
    }

private:
    int16_t label_[8];
    double weight_[8];
    int count_ = 0;
};

}  // namespace

LabelResizer::LabelResizer(const std::array<int64_t, 3>& from, const std::array<int64_t, 3>& to,
                           const std::array<int, 3>& order, Rows rows)
    : from_(from), rows_(std::move(rows)) {
    for (int axis = 0; axis < 3; ++axis) {
        table_[axis] = lerp_table(from[axis], to[axis], order[axis]);
        nearest_[axis] = lerp_table(from[axis], to[axis], 0).first;
    }
}

void LabelResizer::plane(int64_t d, int16_t* labels) const {
    const int64_t width = from_[2];
    const auto& [depth, rows, columns] = table_;
    const int64_t z = depth.first[d], z_next = depth.mix[d] == 0 ? z : z + 1;
    std::vector<int16_t> line(4 * width);  // (plane, row, column) around the output
    int64_t have = -1;
    for (int64_t r = 0; r < rows.n_out; ++r, labels += columns.n_out) {
        const int64_t y = rows.first[r], y_next = std::min(y + 1, from_[1] - 1);
        if (have != y)
            for (int i = 0; i < 4; ++i) rows_(i < 2 ? z : z_next, i % 2 == 0 ? y : y_next, line.data() + i * width);
        have = y;
        for (int64_t c = 0; c < columns.n_out; ++c) {
            const int64_t x = columns.first[c], x_next = std::min(x + 1, width - 1);
            int16_t corner[8];
            bool are_equal = true;
            for (int i = 0; i < 8; ++i) {
                corner[i] = line[(i / 2) * width + (i % 2 == 0 ? x : x_next)];
                are_equal = are_equal && corner[i] == corner[0];
            }
            labels[c] = corner[0];
            if (are_equal) continue;
            Shares shares;
            for (int i = 0; i < 8; ++i) {
                const double f = depth.mix[d], g = rows.mix[r], h = columns.mix[c];
                const double weight = (i < 4 ? 1 - f : f) * (i % 4 < 2 ? 1 - g : g) * (i % 2 == 0 ? 1 - h : h);
                if (weight > 0) shares.add(corner[i], weight);
            }
            const bool far_plane = nearest_[0][d] > z, far_row = nearest_[1][r] > y, far_column = nearest_[2][c] > x;
            labels[c] = shares.winner(corner[4 * far_plane + 2 * far_row + far_column]);
        }
    }
}

}  // namespace covfast
