// Left and right. Deep parts of the aerated lung are the seeds; where the lungs touch, the erosion is raised until they
// part. A watershed on HU then puts the border on the dense sheet between them, the junction line.
#include <algorithm>
#include <cmath>

#include "kernels/lungs_find.h"

namespace covfast::coarse {
namespace {

constexpr float kErosions_mm[] = {7.8f, 10.1f, 13.2f, 17.1f, 22.3f};
constexpr double kLeastShare = 0.15;      // of the smaller lung: a lobe's rest is less
constexpr double kLeastAcross_mm = 40;    // between the lungs' centres
constexpr double kSpine_mm = 25;

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

// W position in mm of the spine: the densest square of 25 mm behind the lung's middle, over the slices where the lung is
// wide, so that shoulders do not count.
double spine_mm(const Grid& grid, const int16_t* hu, const Mask& lung) {
    const auto [depth, height, width] = grid.size;
    std::vector<int64_t> area(depth);
    int64_t rows = 0, count = 0;
    for (int64_t i = 0; i < grid.voxels(); ++i)
        if (lung[i]) ++area[i / (height * width)], rows += i / width % height, ++count;
    const int64_t middle = rows / std::max<int64_t>(1, count), widest = *std::max_element(area.begin(), area.end());
    std::vector<int64_t> sum((height + 1) * (width + 1));  // integral image of the slices' sum
    for (int64_t y = 0; y < height; ++y) {
        int64_t row = 0;
        for (int64_t x = 0; x < width; ++x) {
            for (int64_t z = 0; z < depth && y >= middle; ++z)
                if (2 * area[z] > widest) row += std::clamp<int>(hu[(z * height + y) * width + x], 0, 250);
            sum[(y + 1) * (width + 1) + x + 1] = sum[y * (width + 1) + x + 1] + row;
        }
    }
    const int64_t kh = std::clamp<int64_t>(std::lround(kSpine_mm / grid.mm[1]), 1, height);
    const int64_t kw = std::clamp<int64_t>(std::lround(kSpine_mm / grid.mm[2]), 1, width);
    int64_t best = 0, at = (width - kw) / 2;
    for (int64_t y = 0; y + kh <= height; ++y)
        for (int64_t x = 0; x + kw <= width; ++x) {
            const auto corner = [&](int64_t dy, int64_t dx) { return sum[(y + dy) * (width + 1) + x + dx]; };
            const int64_t dense = corner(kh, kw) - corner(0, kw) - corner(kh, 0) + corner(0, 0);
            if (dense > best) best = dense, at = x;
        }
    return (at + (kw - 1) * 0.5) * grid.mm[2];
}

}  // namespace

Mask split_sides(const Grid& grid, const int16_t* hu, const Mask& lung, const Components& cores,
                 const std::vector<Piece>& pieces) {
    Mask side;
    if (are_two_sides(pieces)) side = seeds_of_two(grid, cores, pieces);
    if (side.empty()) {
        std::vector<float> squared;
        distance2(grid, lung.data(), std::end(kErosions_mm)[-1], squared);
        Mask deep(grid.voxels());
        for (float erosion : kErosions_mm) {
            for (size_t i = 0; i < deep.size(); ++i) deep[i] = squared[i] > erosion * erosion;
            const Components parts = components(grid, deep.data(), false);
            const std::vector<Piece> eroded = measure(grid, hu, parts, 1);
            if (!are_two_sides(eroded)) continue;
            side = seeds_of_two(grid, parts, eroded);
            break;
        }
    }
    if (side.empty()) {
        side.resize(grid.voxels());
        const double spine = spine_mm(grid, hu, lung);
        std::vector<uint8_t> is_left(cores.count), is_right(cores.count);
        for (const Piece& p : pieces) (p.centre_mm[2] > spine ? is_left : is_right)[p.label] = 1;
        paint(grid, cores, is_left, kLeft, side.data());
        paint(grid, cores, is_right, kRight, side.data());
    }
    flood(grid, hu, lung.data(), side.data());
    return side;
}

}  // namespace covfast::coarse
