// What belongs to a lung without being aerated. A ball of 10 mm closes vessels, hilar and pleural dents. Lesions inside
// the lung hang on vessels only: islands, once 5 mm of tissue are eroded. Larger consolidations at the chest wall are
// found slice by slice inside the convex hull of the lung: seen from the hull's middle, laterally and posteriorly, they
// lie behind aerated lung with no aerated lung behind them. Heart, liver and aorta fail one of these conditions: they
// lie before the lung, or medially. Where such a consolidation reaches a side of the hull, the side is bent out to the
// curve of a chest.
#include <algorithm>
#include <cmath>

#include "kernels/lungs_find.h"

namespace covfast::coarse {
namespace {

constexpr float kStalk_mm = 5;           // half the width of a vessel that a lesion may hang on
constexpr int kBone = 150;               // HU on the coarse grid; consolidated lung stays below, with contrast too
constexpr double kLeastSlice_mm2 = 800;  // of aerated lung, for a hull to mean something
constexpr double kRayStep_mm = 1;
constexpr double kMedial = 0.18;      // tan 10 degrees: how far behind the lung a ray may lean medially
constexpr double kChest_mm = 110;     // radius of a large chest's wall: bends out too little, not too far
constexpr double kLeastSide_mm = 15;  // sides of the hull shorter than this are left straight

struct Point {
    double y, x;
};

// One axial slice of one lung.
struct Slice {
    const Grid& grid;
    const uint8_t* side;  // (H, W) closed so far
    uint8_t me;
    std::vector<Point> hull;                        // corners, in order
    std::vector<std::pair<int64_t, int64_t>> span;  // columns [first, last] of the hull in each row
    Point middle;

    bool is_lung(int64_t y, int64_t x) const { return side[y * grid.size[2] + x] == me; }
};

double cross(const Point& o, const Point& a, const Point& b) {
    return (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
}

// Convex hull of points sorted by (y, x): Andrew's monotone chain.
std::vector<Point> convex_hull(const std::vector<Point>& points) {
    std::vector<Point> hull;
    const auto add = [&](const Point& p, size_t keep) {
        while (hull.size() >= keep + 2 && cross(hull[hull.size() - 2], hull.back(), p) <= 0) hull.pop_back();
        hull.push_back(p);
    };
    for (const Point& p : points) add(p, 0);
    const size_t lower = hull.size() - 1;
    for (size_t i = points.size() - 1; i-- > 0;) add(points[i], lower);
    hull.pop_back();
    return hull;
}

// Fills hull, span and middle. False if the slice holds too little lung.
bool outline(Slice& slice) {
    const int64_t height = slice.grid.size[1], width = slice.grid.size[2];
    std::vector<Point> ends;
    int64_t voxels = 0;
    for (int64_t y = 0; y < height; ++y) {
        int64_t first = -1, last = -1;
        for (int64_t x = 0; x < width; ++x)
            if (slice.is_lung(y, x)) first = first < 0 ? x : first, last = x, ++voxels;
        if (first >= 0) ends.push_back({double(y), double(first)});
        if (last > first) ends.push_back({double(y), double(last)});
    }
    if (voxels * double(slice.grid.mm[1]) * slice.grid.mm[2] < kLeastSlice_mm2 || ends.size() < 3) return false;
    slice.hull = convex_hull(ends);
    slice.span.assign(height, {0, -1});
    double count = 0, sum_y = 0, sum_x = 0;
    for (int64_t y = int64_t(ends.front().y); y <= int64_t(ends.back().y); ++y) {
        double low = double(width), high = -1;
        for (size_t i = 0; i < slice.hull.size(); ++i) {
            const Point &a = slice.hull[i], &b = slice.hull[(i + 1) % slice.hull.size()];
            if (std::min(a.y, b.y) > y || std::max(a.y, b.y) < y) continue;
            const double x = a.y == b.y ? b.x : a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y);
            low = std::min({low, x, a.y == y ? a.x : x}), high = std::max({high, x, a.y == y ? a.x : x});
        }
        const int64_t first = std::lround(std::ceil(low - 1e-6)), last = std::lround(std::floor(high + 1e-6));
        slice.span[y] = {first, last};
        const double n = double(std::max<int64_t>(0, last - first + 1));
        count += n, sum_y += n * y, sum_x += n * (first + last) * 0.5;
    }
    slice.middle = {sum_y / count, sum_x / count};
    return true;
}

// Whether a ray from (y, x) along (dy, dx), a unit vector in mm, meets lung within `length` mm and inside the hull.
bool meets_lung(const Slice& slice, double y, double x, double dy, double dx, double length) {
    const int64_t height = slice.grid.size[1];
    for (double t = kRayStep_mm; t <= length; t += kRayStep_mm) {
        const int64_t yy = std::lround(y + dy * t / slice.grid.mm[1]), xx = std::lround(x + dx * t / slice.grid.mm[2]);
        if (yy < 0 || yy >= height || xx < slice.span[yy].first || xx > slice.span[yy].second) return false;
        if (slice.is_lung(yy, xx)) return true;
    }
    return false;
}

// Whether the voxel lies in a consolidation at the chest wall (see the top of this file).
bool is_behind_lung(const Slice& slice, int64_t y, int64_t x) {
    const double dy = (y - slice.middle.y) * slice.grid.mm[1], dx = (x - slice.middle.x) * slice.grid.mm[2];
    const double length = std::sqrt(dy * dy + dx * dx), lateral = slice.me == kLeft ? dx : -dx;
    const bool is_outward = lateral >= 0 ? dy > -lateral : -lateral < kMedial * dy;
    if (length < 1 || !is_outward) return false;
    return meets_lung(slice, double(y), double(x), -dy / length, -dx / length, length) &&
           !meets_lung(slice, double(y), double(x), dy / length, dx / length, 1000);
}

// Marks with 3 what lies between side (a, b) of the hull and the arc of the chest wall over it, behind voxels marked 2.
void bend_side(const Slice& slice, const Point& a, const Point& b, const uint8_t* allowed, const int16_t* hu,
               std::vector<uint8_t>& found) {
    const int64_t height = slice.grid.size[1], width = slice.grid.size[2];
    const double my = slice.grid.mm[1], mx = slice.grid.mm[2];
    const double sy = (b.y - a.y) * my, sx = (b.x - a.x) * mx,
                 chord = std::min(std::sqrt(sy * sy + sx * sx), 2 * kChest_mm);
    if (chord < kLeastSide_mm) return;
    double ny = -sx / chord, nx = sy / chord;  // the normal; turned outward, away from the middle
    if (ny * (slice.middle.y - a.y) * my + nx * (slice.middle.x - a.x) * mx > 0) ny = -ny, nx = -nx;
    const double flat = std::sqrt(kChest_mm * kChest_mm - chord * chord / 4), rise = kChest_mm - flat;
    const int64_t pad_y = std::lround(rise / my) + 1, pad_x = std::lround(rise / mx) + 1;
    for (int64_t y = std::lround(std::min(a.y, b.y)) - pad_y; y <= std::lround(std::max(a.y, b.y)) + pad_y; ++y)
        for (int64_t x = std::lround(std::min(a.x, b.x)) - pad_x; x <= std::lround(std::max(a.x, b.x)) + pad_x; ++x) {
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            const int64_t i = y * width + x;
            if (found[i] || !allowed[i] || hu[i] >= kBone) continue;
            const double py = (y - a.y) * my, px = (x - a.x) * mx, h = py * ny + px * nx;
            const double along = (py * sy + px * sx) / chord - chord / 2;
            if (h <= 0 || std::abs(along) > chord / 2 || h > std::sqrt(kChest_mm * kChest_mm - along * along) - flat)
                continue;
            const int64_t fy = std::lround(y - ny * (h / my + 1)), fx = std::lround(x - nx * (h / mx + 1));
            if (fy >= 0 && fy < height && fx >= 0 && fx < width && found[fy * width + fx] == 2) found[i] = 3;
        }
}

// Marks consolidated voxels of slice z in `add`. A voxel with few neighbours that are lung too is left out: rays fray.
void add_consolidation(const Grid& grid, const int16_t* hu, const Mask& allowed, const Mask& side, uint8_t me,
                       int64_t z, Mask& add) {
    const int64_t height = grid.size[1], width = grid.size[2], plane = height * width;
    Slice slice{grid, side.data() + z * plane, me, {}, {}, {}};
    if (!outline(slice)) return;
    std::vector<uint8_t> found(plane);
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = slice.span[y].first; x <= slice.span[y].second; ++x) {
            const int64_t i = y * width + x;
            if (slice.is_lung(y, x)) {
                found[i] = 1;
            } else if (allowed[z * plane + i] && hu[z * plane + i] < kBone && is_behind_lung(slice, y, x)) {
                found[i] = 2;
            }
        }
    for (size_t k = 0; k < slice.hull.size(); ++k)
        bend_side(slice, slice.hull[k], slice.hull[(k + 1) % slice.hull.size()], allowed.data() + z * plane,
                  hu + z * plane, found);
    for (int64_t y = 1; y + 1 < height; ++y)
        for (int64_t x = 1; x + 1 < width; ++x) {
            const int64_t i = y * width + x;
            if (found[i] < 2) continue;
            int near = 0;
            for (int64_t dy = -1; dy <= 1; ++dy)
                for (int64_t dx = -1; dx <= 1; ++dx) near += found[i + dy * width + dx] != 0;
            if (near >= 6) add[z * plane + i] = 1;
        }
}

// Adds tissue that is joined to the rest of the body by vessels only, in place.
void fill_islands(const Grid& grid, Mask& lung) {
    const int64_t n = grid.voxels(), height = grid.size[1], width = grid.size[2];
    Mask rest(n), away(n, 1);
    each_voxel(grid, [&](int64_t i) { rest[i] = !lung[i]; });
    std::vector<float> squared;
    distance2(grid, rest.data(), kStalk_mm, squared);
    Mask deep(n);
    each_voxel(grid, [&](int64_t i) { deep[i] = squared[i] > kStalk_mm * kStalk_mm; });
    const Components parts = components(grid, deep.data(), false);
    std::vector<uint8_t> is_island(parts.count, 1);
    for (const Run& run : parts.runs) {
        const int64_t z = run.row / height, y = run.row % height;
        if (z == 0 || y == 0 || z == grid.size[0] - 1 || y == height - 1 || run.begin == 0 || run.end == width)
            is_island[run.label] = 0;
    }
    paint(grid, parts, is_island, 0, away.data());
    const float back = kStalk_mm + 0.5f;
    distance2(grid, away.data(), back, squared);
    each_voxel(grid, [&](int64_t i) { lung[i] |= squared[i] <= back * back; });
}

// Voxels that closing may take: neither outside the body nor airway nor an airway's wall.
Mask find_allowed(const Grid& grid, const Lungs& lungs) {
    const auto [depth, height, width] = grid.size;
    const int64_t plane = height * width;
    Mask allowed(grid.voxels());
    each_voxel(grid, [&](int64_t i) { allowed[i] = !lungs.exterior[i] && !lungs.airway[i]; });
    for (int64_t row = 0; row < depth * height; ++row) {
        if (row % 64 == 0) grid.poll();
        const int64_t z = row / height, y = row % height;
        for (int64_t x = 0; x < width; ++x) {
            const int64_t i = row * width + x;
            if (!lungs.airway[i]) continue;
            if (x > 0) allowed[i - 1] = 0;
            if (x + 1 < width) allowed[i + 1] = 0;
            if (y > 0) allowed[i - width] = 0;
            if (y + 1 < height) allowed[i + width] = 0;
            if (z > 0) allowed[i - plane] = 0;
            if (z + 1 < depth) allowed[i + plane] = 0;
        }
    }
    return allowed;
}

}  // namespace

void close_lungs(Grid grid, const int16_t* hu, Lungs& lungs, const Mask& aerated) {
    const int64_t n = grid.voxels();
    const Mask allowed = find_allowed(grid, lungs);
    Mask claims(n);  // bit `side` for each lung that wants a voxel
    for (uint8_t me : {kLeft, kRight}) {
        grid.stage = 4 + me;
        Mask lung(n);
        each_voxel(grid, [&](int64_t i) { lung[i] = aerated[i] == me; });
        fill_holes(grid, lung);
        lung = ball_close(grid, lung, kBall_mm);
        fill_islands(grid, lung);
        const auto may_be_mine = [&](int64_t i) { return aerated[i] == me || (allowed[i] && !aerated[i]); };
        each_voxel(grid, [&](int64_t i) { lung[i] = lung[i] && may_be_mine(i) ? me : 0; });
        Mask add(n);
        polled_for(grid, grid.size[0], [&](int64_t begin, int64_t end) {
            for (int64_t z = begin; z < end; ++z) add_consolidation(grid, hu, allowed, lung, me, z, add);
        });
        each_voxel(grid, [&](int64_t i) { lung[i] = add[i] && !aerated[i] ? me : lung[i]; });
        add_to_ribs(grid, hu, allowed, me, lung);
        fill_holes(grid, lung);
        each_voxel(grid, [&](int64_t i) { claims[i] |= lung[i] && may_be_mine(i) ? me : 0; });
    }
    // What both lungs claim, between them, is mediastinum.
    each_voxel(grid, [&](int64_t i) {
        lungs.side[i] = aerated[i] ? aerated[i] : claims[i] == kLeft + kRight ? 0 : claims[i];
    });
}

}  // namespace covfast::coarse
