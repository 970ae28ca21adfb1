#include "engine/raw_rows.h"

#include <algorithm>

#include "core/error.h"
#include "core/threads.h"
#include "core/view.h"
#include "kernels/components.h"

namespace covfast {
namespace {

template <class T>
const T* row_of(const RawChannel& channel, int64_t d, int64_t h) {
    return static_cast<const T*>(channel.data) + d * channel.stride[0] + h * channel.stride[1];
}

template <class T>
void convert_row(const T* x, int64_t step, int64_t n, float* row) {
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(x[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(x[i * step]);
    }
}

// Widens [begin, end) to the row's voxels that are not 0.
template <class T>
void widen(const T* x, int64_t step, int64_t n, int64_t& begin, int64_t& end) {
    int64_t first = 0, last = n;
    while (first < n && x[first * step] == 0) ++first;
    if (first == n) return;
    while (x[(last - 1) * step] == 0) --last;
    begin = std::min(begin, first), end = std::max(end, last);
}

// The box of one plane, empty (begin past end) where all is 0.
Box plane_box(const std::vector<RawChannel>& channels, int64_t d) {
    const auto& [depth, height, width] = channels.front().size;
    Box box{{d, height, width}, {d + 1, 0, 0}};
    for (const RawChannel& channel : channels)
        for (int64_t h = 0; h < height; ++h) {
            int64_t begin = width, end = 0;
            if (channel.is_float) {
                widen(row_of<float>(channel, d, h), channel.stride[2], width, begin, end);
            } else {
                widen(row_of<int16_t>(channel, d, h), channel.stride[2], width, begin, end);
            }
            if (begin >= end) continue;
            box.begin[1] = std::min(box.begin[1], h), box.end[1] = std::max(box.end[1], h + 1);
            box.begin[2] = std::min(box.begin[2], begin), box.end[2] = std::max(box.end[2], end);
        }
    return box;
}

}  // namespace

void read_row(const RawChannel& channel, int64_t d, int64_t h, int64_t w, int64_t n, float* row) {
    const int64_t step = channel.stride[2];
    if (channel.is_float) {
        convert_row(row_of<float>(channel, d, h) + w * step, step, n, row);
    } else {
        convert_row(row_of<int16_t>(channel, d, h) + w * step, step, n, row);
    }
}

Box nonzero_box(const std::vector<RawChannel>& channels, int threads) {
    COVFAST_REQUIRE(!channels.empty(), SHAPE, "image: got no channel, expected at least one");
    const std::array<int64_t, 3> size = channels.front().size;
    for (const RawChannel& channel : channels)
        COVFAST_REQUIRE(channel.size == size, SHAPE, "image: got channels of different sizes, expected one size");
    std::vector<Box> planes(size[0]);
    parallel_for(size[0], 4, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d) planes[d] = plane_box(channels, d);
    });
    Box box{size, {0, 0, 0}};
    for (const Box& plane : planes)
        if (plane.begin[1] < plane.end[1])
            for (int axis = 0; axis < 3; ++axis) {
                box.begin[axis] = std::min(box.begin[axis], plane.begin[axis]);
                box.end[axis] = std::max(box.end[axis], plane.end[axis]);
            }
    return box.begin[0] < box.end[0] ? box : Box{};
}

std::vector<uint8_t> nonzero_mask(const std::vector<RawChannel>& channels, const Box& box, int threads) {
    std::array<int64_t, 3> size;
    for (int axis = 0; axis < 3; ++axis) size[axis] = box.end[axis] - box.begin[axis];
    std::vector<uint8_t> mask(size[0] * size[1] * size[2]);
    parallel_for(size[0], 1, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> row(size[2]);
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < size[1]; ++h)
                for (const RawChannel& channel : channels) {
                    uint8_t* to = mask.data() + (d * size[1] + h) * size[2];
                    read_row(channel, box.begin[0] + d, box.begin[1] + h, box.begin[2], size[2], row.data());
                    for (int64_t w = 0; w < size[2]; ++w) to[w] |= row[w] != 0;
                }
    });
    const std::array<int64_t, 3> stride{size[1] * size[2], size[2], 1};
    fill_holes(View3<const uint8_t>{mask.data(), size, stride}, 1, 6, View3<uint8_t>{mask.data(), size, stride},
               threads);
    return mask;
}

}  // namespace covfast
