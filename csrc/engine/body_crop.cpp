#include "engine/body_crop.h"

#include <algorithm>
#include <vector>

#include "engine/endpoint_zoom.h"
#include "kernels/components.h"

namespace covfast {
namespace {

constexpr int64_t kSide = 128;
constexpr float kBody_hu = -500;

// A mask of kSide x kSide in a frame of zeros: what lies outside is no body, whatever is done to it.
class Mask {
public:
    uint8_t& at(int64_t h, int64_t w) { return bits_[(h + 1) * kStride + w + 1]; }
    View3<uint8_t> view() { return {&at(0, 0), {1, kSide, kSide}, {0, kStride, 1}}; }
    View3<const uint8_t> values() { return {&at(0, 0), {1, kSide, kSide}, {0, kStride, 1}}; }

    void dilate() {
        cross([](int a, int b) { return a | b; });
    }
    void erode() {
        cross([](int a, int b) { return a & b; });
    }

private:
    static constexpr int64_t kStride = kSide + 2;

    // Each voxel becomes join of itself and its four neighbours.
    template <class Join>
    void cross(const Join& join) {
        std::vector<uint8_t> out(bits_.size());
        for (int64_t h = 0; h < kSide; ++h) {
            const uint8_t* row = &at(h, 0);
            uint8_t* to = &out[(h + 1) * kStride + 1];
            for (int64_t w = 0; w < kSide; ++w)
                to[w] = static_cast<uint8_t>(
                    join(join(join(row[w], row[w - 1]), row[w + 1]), join(row[w - kStride], row[w + kStride])));
        }
        bits_.swap(out);
    }

    std::vector<uint8_t> bits_ = std::vector<uint8_t>(kStride * kStride);
};

Mask body_mask(const HuSlice& slice) {
    Mask mask;
    const std::vector<int32_t> rows = nearest_zoom(slice.size[0], kSide), columns = nearest_zoom(slice.size[1], kSide);
    for (int64_t h = 0; h < kSide; ++h)
        for (int64_t w = 0; w < kSide; ++w) {
            const bool is_inside = rows[h] >= 0 && columns[w] >= 0;
            mask.at(h, w) = (is_inside ? slice.at(rows[h], columns[w]) : 0.0f) > kBody_hu;
        }
    mask.dilate();
    mask.erode();
    fill_holes(mask.values(), 1, 8, mask.view(), 1);
    mask.erode();
    mask.erode();
    const Components pieces = find_components(mask.values(), 4, 1);
    clear_others(pieces, largest_of_each(pieces, Ties::kFirst), mask.view(), 1);
    mask.dilate();
    mask.dilate();
    return mask;
}

// Rows (or columns) of the mask that the slice's show, each once: growing repeats them, and shrinking leaves some out.
struct Shown {
    std::vector<int32_t> source;  // in the mask
    std::vector<int64_t> first;   // where each begins to show in the slice, and where the last ends
};

Shown shown_of(int64_t size) {
    Shown shown;
    const std::vector<int32_t> from = nearest_zoom(kSide, size);
    const auto end = static_cast<int64_t>(std::find(from.begin(), from.end(), -1) - from.begin());
    for (int64_t i = 0; i < end; ++i) {
        if (i > 0 && from[i] == from[i - 1]) continue;
        shown.source.push_back(from[i]);
        shown.first.push_back(i);
    }
    shown.first.push_back(end);
    return shown;
}

}  // namespace

SliceBox body_box(const HuSlice& slice) {
    Mask mask = body_mask(slice);
    const Shown rows = shown_of(slice.size[0]), columns = shown_of(slice.size[1]);
    const auto height = static_cast<int64_t>(rows.source.size()), width = static_cast<int64_t>(columns.source.size());
    // Repeated rows and columns join nothing new: the pieces are found on each once.
    std::vector<uint8_t> once(height * width);
    for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w) once[h * width + w] = mask.at(rows.source[h], columns.source[w]);
    const Components pieces = find_components({once.data(), {1, height, width}, {0, width, 1}}, 8, 1);
    if (pieces.list.empty()) return {{0, 0}, slice.size};
    const Component& piece = pieces.list.front();
    return {{rows.first[piece.begin[1]], columns.first[piece.begin[2]]},
            {rows.first[piece.end[1]], columns.first[piece.end[2]]}};
}

}  // namespace covfast
