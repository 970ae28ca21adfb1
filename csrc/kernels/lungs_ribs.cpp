// Consolidation along the back: where dependent lung is dense from the spine to the side, no hull of what is left of it
// reaches the chest wall, but the ribs show where the wall is. Seen from the middle of the aerated lung, soft tissue
// between lung and the nearest rib counts as lung if it is thicker than a pleura and denser than fat and effusion. Only
// backward, where neither heart nor dome lies between, and only in slices where the lung is wide: below, it is liver.
#include <algorithm>
#include <cmath>

#include "kernels/lungs_find.h"

namespace covfast::coarse {
namespace {

constexpr int kRib = 180, kSoft = -30;  // HU; fat lies below
constexpr double kNextRib_mm = 12;      // up and down: half the distance of two ribs along a ray
constexpr double kThin_mm = 7, kThick_mm = 45;
constexpr double kOnRib_mm = 3;  // pleura and half a voxel
constexpr double kWide = 0.4;    // of the widest slice's area
constexpr double kLeastPatch_ml = 3;
constexpr double kLeastDense = 20;  // mean HU; effusion lies below
constexpr double kLateral = 1.2;    // tan 50 degrees: how far a ray may lean from straight back to the side
constexpr double kMedial = 0.18;    // tan 10 degrees: to the middle
constexpr double kReach_mm = 220, kStep_mm = 1;

// Bone in this slice or in one that a rib may cross to.
Mask spread_bone(const Grid& grid, const int16_t* hu) {
    const int64_t plane = grid.size[1] * grid.size[2], depth = grid.size[0];
    const int64_t near = std::lround(kNextRib_mm / grid.mm[0]);
    Mask bone(grid.voxels());
    for (int64_t z = 0; z < depth; ++z) {
        grid.poll();
        for (int64_t i = z * plane; i < (z + 1) * plane; ++i)
            if (hu[i] >= kRib)
                for (int64_t zz = std::max<int64_t>(0, z - near); zz <= std::min(depth - 1, z + near); ++zz)
                    bone[zz * plane + i % plane] = 1;
    }
    return bone;
}

struct Page {
    const Grid& grid;
    const uint8_t *lung, *bone, *allowed;  // (H, W)
    const int16_t* hu;
    double middle_y, middle_x;

    // Voxel at r mm along a unit vector, or -1 outside.
    int64_t at(double dy, double dx, double r) const {
        const int64_t y = std::lround(middle_y + dy * r / grid.mm[1]), x = std::lround(middle_x + dx * r / grid.mm[2]);
        return y < 0 || x < 0 || y >= grid.size[1] || x >= grid.size[2] ? -1 : y * grid.size[2] + x;
    }
};

// Marks soft tissue along one ray.
void mark_ray(const Page& page, double dy, double dx, uint8_t* mark) {
    double last_lung = 0, rib = 0;
    for (double r = 0; r < kReach_mm; r += kStep_mm) {
        const int64_t i = page.at(dy, dx, r);
        if (i < 0) break;
        if (page.lung[i]) last_lung = r, rib = 0;
        if (page.bone[i] && last_lung > 0 && rib == 0) rib = r;
    }
    if (rib - last_lung < kThin_mm + kOnRib_mm || rib - last_lung > kThick_mm) return;
    for (double r = last_lung + kStep_mm; r < rib - kOnRib_mm; r += kStep_mm) {
        const int64_t i = page.at(dy, dx, r);
        if (page.allowed[i] && page.hu[i] > kSoft && page.hu[i] < kRib) mark[i] = 1;
    }
}

}  // namespace

void add_to_ribs(const Grid& grid, const int16_t* hu, const Mask& allowed, uint8_t me, Mask& lung) {
    const int64_t height = grid.size[1], width = grid.size[2], plane = height * width;
    struct Sums {
        int64_t n = 0, y = 0, x = 0;
    };
    std::vector<Sums> sums(grid.size[0]);
    int64_t widest = 0;
    for (int64_t i = 0; i < grid.voxels(); ++i) {
        if (i % 65536 == 0) grid.poll();
        if (!lung[i]) continue;
        Sums& s = sums[i / plane];
        ++s.n, s.y += i / width % height, s.x += i % width;
        widest = std::max(widest, s.n);
    }
    const Mask bone = spread_bone(grid, hu);
    Mask mark(grid.voxels());
    for (int64_t z = 0; z < grid.size[0]; ++z) {
        grid.poll();
        if (sums[z].n == 0 || sums[z].n < kWide * widest) continue;
        const Page page{
            grid,           lung.data() + z * plane,       bone.data() + z * plane,      allowed.data() + z * plane,
            hu + z * plane, double(sums[z].y) / sums[z].n, double(sums[z].x) / sums[z].n};
        const double lateral = me == kLeft ? 1 : -1;
        for (double lean = -kMedial; lean <= kLateral; lean += 0.01) {
            const double length = std::sqrt(1 + lean * lean);
            mark_ray(page, 1 / length, lateral * lean / length, mark.data() + z * plane);
        }
    }
    const Components patches = components(grid, mark.data(), false);
    std::vector<uint8_t> keep(patches.count);
    for (const Piece& p : measure(grid, hu, patches, kLeastPatch_ml)) keep[p.label] = p.mean_hu >= kLeastDense;
    paint(grid, patches, keep, me, lung.data());
}

}  // namespace covfast::coarse
