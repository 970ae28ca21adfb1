// Left and right. If the deep parts of the aerated lung lie side by side, they are the seeds of a watershed on HU. If
// they are one, because the lungs touch behind the sternum or before the spine, each axial slice is cut from front to
// back along the cheapest path near the spine's sagittal plane: tissue costs nothing, lung the more the less dense it
// is, so the path follows the heart, the short way across, and the dense sheet where the lungs touch (the junction
// line). A single lung is named by the side of the spine it lies on.
#include <algorithm>
#include <cmath>

#include "kernels/lungs_find.h"

namespace covfast::coarse {
namespace {

constexpr double kLeastShare = 0.15;    // of the smaller lung, else it is a part that lies beyond the middle
constexpr double kLeastAcross_mm = 40;  // between the lungs' centres
constexpr double kSpine_mm = 25;
constexpr double kCutReach_mm = 40;  // of the path from the spine's plane; lungs herniate less
constexpr double kCutSmooth_mm = 5;  // up and down, over which costs are averaged: noise hides the sheet in one slice
constexpr int kFree = -300, kDear = 600;  // HU: from here up a step is free; cost of a step through air

// True if the two largest pieces lie side by side, and not one above or behind the other.
bool are_two_sides(const std::vector<Piece>& p) {
    if (p.size() < 2 || p[1].ml < kLeastShare * p[0].ml) return false;
    const double across = std::abs(p[0].centre_mm[2] - p[1].centre_mm[2]);
    return across > kLeastAcross_mm && across > std::abs(p[0].centre_mm[0] - p[1].centre_mm[0]) &&
           across > std::abs(p[0].centre_mm[1] - p[1].centre_mm[1]);
}

Mask seeds_of_two(const Grid& grid, const Components& parts, const std::vector<Piece>& pieces) {
    double left = pieces[0].centre_mm[2], right = pieces[1].centre_mm[2];
    if (left < right) std::swap(left, right);
    std::vector<uint8_t> is_left(parts.count), is_right(parts.count);
    for (const Piece& p : pieces) {
        const bool nearer_left = std::abs(p.centre_mm[2] - left) < std::abs(p.centre_mm[2] - right);
        (nearer_left ? is_left : is_right)[p.label] = 1;
    }
    Mask side(grid.voxels());
    paint(grid, parts, is_left, kLeft, side.data());
    paint(grid, parts, is_right, kRight, side.data());
    return side;
}

// W position in mm of the spine: the densest square of 25 mm behind the lung's middle, over the slices where the lung
// is wide, so that shoulders do not count.
double spine_mm(const Grid& grid, const int16_t* hu, const Mask& lung) {
    const auto [depth, height, width] = grid.size;
    std::vector<int64_t> area(depth);
    int64_t rows = 0, count = 0;
    for (int64_t i = 0; i < grid.voxels(); ++i) {
        if (i % 65536 == 0) grid.poll();
        if (lung[i]) ++area[i / (height * width)], rows += i / width % height, ++count;
    }
    const int64_t middle = rows / std::max<int64_t>(1, count), widest = *std::max_element(area.begin(), area.end());
    std::vector<int64_t> sum((height + 1) * (width + 1));  // integral image of the slices' sum
    for (int64_t y = 0; y < height; ++y) {
        int64_t row = 0;
        grid.poll();
        for (int64_t x = 0; x < width; ++x) {
            for (int64_t z = 0; z < depth && y >= middle; ++z)
                if (2 * area[z] > widest) row += std::clamp<int>(hu[(z * height + y) * width + x], 0, 250);
            sum[(y + 1) * (width + 1) + x + 1] = sum[y * (width + 1) + x + 1] + row;
        }
    }
    const int64_t kh = std::clamp<int64_t>(std::lround(kSpine_mm / grid.mm[1]), 1, height);
    const int64_t kw = std::clamp<int64_t>(std::lround(kSpine_mm / grid.mm[2]), 1, width);
    int64_t best = 0, at = (width - kw) / 2;
    for (int64_t y = 0; y + kh <= height; ++y) {
        grid.poll();
        for (int64_t x = 0; x + kw <= width; ++x) {
            const auto corner = [&](int64_t dy, int64_t dx) { return sum[(y + dy) * (width + 1) + x + dx]; };
            const int64_t dense = corner(kh, kw) - corner(0, kw) - corner(kh, 0) + corner(0, 0);
            if (dense > best) best = dense, at = x;
        }
    }
    return (at + (kw - 1) * 0.5) * grid.mm[2];
}

bool lies_on_both_sides(const Grid& grid, const Mask& lung, double spine) {
    int64_t count[2] = {};
    for (int64_t i = 0; i < grid.voxels(); ++i) {
        if (i % 65536 == 0) grid.poll();
        const double x = i % grid.size[2] * double(grid.mm[2]);
        if (lung[i] && std::abs(x - spine) > kCutReach_mm) ++count[x > spine];
    }
    return std::min(count[0], count[1]) >= kLeastShare * std::max(count[0], count[1]) &&
           std::max(count[0], count[1]) > 0;
}

// Costs of `reach` columns either side of `middle` in slice z, (H, 2 reach + 1), averaged over nearby slices.
std::vector<int32_t> cut_costs(const Grid& grid, const int16_t* hu, int64_t z, int64_t middle, int64_t reach) {
    const auto [depth, height, width] = grid.size;
    const int64_t near = std::lround(kCutSmooth_mm / grid.mm[0]), columns = 2 * reach + 1;
    const int64_t first = std::max<int64_t>(0, z - near), last = std::min(depth - 1, z + near);
    std::vector<int32_t> cost(height * columns);
    for (int64_t zz = first; zz <= last; ++zz)
        for (int64_t y = 0; y < height; ++y)
            for (int64_t k = 0; k < columns; ++k) {
                const int64_t x = std::clamp<int64_t>(middle - reach + k, 0, width - 1);
                cost[y * columns + k] += std::clamp(kFree - hu[(zz * height + y) * width + x], 0, kDear);
            }
    // One HU for each column from the middle decides where nothing else does, as inside the heart.
    for (int64_t i = 0; i < height * columns; ++i)
        cost[i] =
            cost[i] / static_cast<int32_t>(last - first + 1) + static_cast<int32_t>(std::abs(i % columns - reach));
    return cost;
}

// Column of the cheapest path in each row, moving at most one column a row. `cost` is overwritten by the sums.
std::vector<int64_t> cheapest_path(std::vector<int32_t>& cost, int64_t height, int64_t columns) {
    for (int64_t y = 1; y < height; ++y)
        for (int64_t k = 0; k < columns; ++k) {
            const int32_t* above = cost.data() + (y - 1) * columns;
            int32_t best = above[k];
            if (k > 0) best = std::min(best, above[k - 1]);
            if (k + 1 < columns) best = std::min(best, above[k + 1]);
            cost[y * columns + k] += best;
        }
    std::vector<int64_t> path(height);
    const int32_t* last = cost.data() + (height - 1) * columns;
    path[height - 1] = std::min_element(last, last + columns) - last;
    for (int64_t y = height - 2; y >= 0; --y) {
        const int32_t* row = cost.data() + y * columns;
        const int64_t k = path[y + 1], low = std::max<int64_t>(0, k - 1), high = std::min(columns - 1, k + 1);
        path[y] = std::min_element(row + low, row + high + 1) - row;
    }
    return path;
}

Mask cut_along_middle(const Grid& grid, const int16_t* hu, const Mask& lung, double spine) {
    const auto [depth, height, width] = grid.size;
    const int64_t middle = std::lround(spine / grid.mm[2]), reach = std::lround(kCutReach_mm / grid.mm[2]);
    Mask side(grid.voxels());
    for (int64_t z = 0; z < depth; ++z) {
        grid.poll();
        std::vector<int32_t> cost = cut_costs(grid, hu, z, middle, reach);
        const std::vector<int64_t> path = cheapest_path(cost, height, 2 * reach + 1);
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x) {
                const int64_t i = (z * height + y) * width + x;
                if (lung[i]) side[i] = x > middle - reach + path[y] ? kLeft : kRight;
            }
    }
    return side;
}

}  // namespace

Mask split_sides(const Grid& grid, const int16_t* hu, const Mask& lung, const Components& cores,
                 const std::vector<Piece>& pieces) {
    Mask side;
    if (are_two_sides(pieces)) {
        side = seeds_of_two(grid, cores, pieces);
    } else {
        const double spine = spine_mm(grid, hu, lung);
        if (lies_on_both_sides(grid, lung, spine)) return cut_along_middle(grid, hu, lung, spine);
        side.resize(grid.voxels());
        std::vector<uint8_t> is_left(cores.count), is_right(cores.count);
        for (const Piece& p : pieces) (p.centre_mm[2] > spine ? is_left : is_right)[p.label] = 1;
        paint(grid, cores, is_left, kLeft, side.data());
        paint(grid, cores, is_right, kRight, side.data());
    }
    flood(grid, hu, lung.data(), side.data());
    return side;
}

}  // namespace covfast::coarse
