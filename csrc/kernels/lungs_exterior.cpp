// Air around the body. The body is the largest piece of tissue that survives an erosion of 4 mm, so the table, clothes
// and cables count as outside. Everything else that reaches the image's edge, slice by slice, is outside too, unless it
// looks like lung that a narrow field of view cuts: touching the edge on a short stretch and textured by vessels.
#include <algorithm>
#include <cmath>

#include "kernels/lungs_find.h"

namespace covfast::coarse {
namespace {

constexpr float kBodyErosion_mm = 4, kBodyRegrowth_mm = 7, kEdge_mm = 6;
constexpr double kLeastCutLung_mm2 = 800;
constexpr int kTextured = 45;  // HU above pure air: noise stays below, vessels and normal lung above

// What is constant and reaches a corner of its slice: padding around a round field of view, or noiseless air.
Mask find_padding(const Grid& grid, const int16_t* hu) {
    const int64_t height = grid.size[1], width = grid.size[2], plane = height * width;
    Mask padding(grid.voxels());
    std::vector<int64_t> open;
    for (int64_t z = 0; z < grid.size[0]; ++z) {
        grid.poll();
        const int16_t* slice = hu + z * plane;
        uint8_t* mark = padding.data() + z * plane;
        for (int64_t corner : {int64_t(0), width - 1, plane - width, plane - 1}) {
            const int16_t value = slice[corner];
            const auto visit = [&](int64_t i) {
                if (!mark[i] && slice[i] == value) mark[i] = 1, open.push_back(i);
            };
            if (value <= -1000) visit(corner);
            while (!open.empty()) {
                const int64_t i = open.back(), x = i % width;
                open.pop_back();
                if (x > 0) visit(i - 1);
                if (x + 1 < width) visit(i + 1);
                if (i >= width) visit(i - width);
                if (i + width < plane) visit(i + width);
            }
        }
    }
    return padding;
}

Mask find_body(const Grid& grid, const int16_t* hu) {
    Mask tissue(grid.voxels()), core(grid.voxels());
    each_voxel(grid, [&](int64_t i) { tissue[i] = hu[i] >= kAerated; });
    std::vector<float> squared;
    distance2(grid, tissue.data(), kBodyErosion_mm, squared);
    each_voxel(grid, [&](int64_t i) { core[i] = squared[i] > kBodyErosion_mm * kBodyErosion_mm; });
    const Components parts = components(grid, core.data(), false);
    std::vector<int64_t> voxels(parts.count);
    for (const Run& run : parts.runs) voxels[run.label] += run.end - run.begin;
    std::vector<uint8_t> rest(parts.count, 1);
    grid.poll();
    if (parts.count > 0) rest[std::max_element(voxels.begin(), voxels.end()) - voxels.begin()] = 0;
    Mask away(grid.voxels(), 1);
    each_voxel(grid, [&](int64_t i) { away[i] = !core[i]; });
    paint(grid, parts, rest, 1, away.data());
    distance2(grid, away.data(), kBodyRegrowth_mm, squared);
    each_voxel(grid, [&](int64_t i) { tissue[i] &= squared[i] <= kBodyRegrowth_mm * kBodyRegrowth_mm; });
    return tissue;
}

// Voxels within kEdge_mm of the image's edge or of padding.
Mask find_edge(const Grid& grid, const Mask& padding) {
    const int64_t height = grid.size[1], width = grid.size[2];
    const int64_t strip_h = std::max<int64_t>(1, std::lround(kEdge_mm / grid.mm[1]));
    const int64_t strip_w = std::max<int64_t>(1, std::lround(kEdge_mm / grid.mm[2]));
    Mask edge(grid.voxels());
    each_voxel(grid, [&](int64_t i) {
        const int64_t x = i % width, y = i / width % height;
        edge[i] = x < strip_w || y < strip_h || x >= width - strip_w || y >= height - strip_h;
    });
    if (std::find(padding.begin(), padding.end(), 1) == padding.end()) return edge;
    Mask inside(grid.voxels());
    each_voxel(grid, [&](int64_t i) { inside[i] = !padding[i]; });
    std::vector<float> squared;
    distance2(grid, inside.data(), kEdge_mm, squared);
    each_voxel(grid, [&](int64_t i) { edge[i] |= squared[i] <= kEdge_mm * kEdge_mm; });
    return edge;
}

struct Region {
    int64_t voxels = 0, edge = 0, deep = 0, textured = 0;
    double side_mm = 0, contact = 0;  // contact: length along the edge over the side of a square of the same area
};

// 25th percentile of the HU of surely outside air: the scanner's own zero of air, with clothes and blankets left out.
// Padding says nothing about it.
float read_gas(const Grid& grid, const int16_t* hu, const Components& parts, const std::vector<Region>& regions) {
    std::vector<int64_t> count(1101 - 850);
    const auto note = [&](int64_t i) {
        if (hu[i] < -850) ++count[std::clamp(hu[i] + 1100, 0, 249)];
    };
    for (const Run& run : parts.runs)
        if (regions[run.label].contact > 2)
            for (int64_t x = run.begin; x < run.end; ++x) note(run.row * grid.size[2] + x);
    int64_t total = 0, seen = 0;
    for (int64_t c : count) total += c;
    if (total < 100) return -1000;
    int value = -1100;
    for (int64_t c : count) {
        seen += c;
        if (4 * seen >= total) break;
        ++value;
    }
    return static_cast<float>(std::clamp(value, -1050, -980));
}

std::vector<Region> measure_regions(const Grid& grid, const Components& parts, const Mask& edge) {
    std::vector<Region> regions(parts.count);
    for (const Run& run : parts.runs) {
        Region& r = regions[run.label];
        r.voxels += run.end - run.begin;
        for (int64_t x = run.begin; x < run.end; ++x) r.edge += edge[run.row * grid.size[2] + x];
    }
    grid.poll();
    const double strip = std::max<double>(1, std::lround(kEdge_mm / grid.mm[1]));
    for (Region& r : regions) {
        r.side_mm = std::sqrt(double(r.voxels) * grid.mm[1] * grid.mm[2]);
        r.contact = r.edge / strip * std::max(grid.mm[1], grid.mm[2]) / r.side_mm;
    }
    return regions;
}

}  // namespace

Exterior find_exterior(const Grid& grid, const int16_t* hu) {
    const Mask padding = find_padding(grid, hu), edge = find_edge(grid, padding);
    Mask free = find_body(grid, hu);
    each_voxel(grid, [&](int64_t i) { free[i] = !free[i] && !padding[i]; });
    const Components parts = components(grid, free.data(), true);
    std::vector<Region> regions = measure_regions(grid, parts, edge);
    Exterior result{padding, read_gas(grid, hu, parts, regions)};

    const float depth_mm = 1.5f * std::max(grid.mm[1], grid.mm[2]);
    std::vector<float> squared;
    grid.poll();
    distance2(grid, free.data(), depth_mm, squared);
    for (const Run& run : parts.runs)
        for (int64_t i = run.row * grid.size[2] + run.begin; i < run.row * grid.size[2] + run.end; ++i)
            if (squared[i] > depth_mm * depth_mm) {
                ++regions[run.label].deep;
                regions[run.label].textured += hu[i] > result.gas_hu + kTextured;
            }
    grid.poll();
    std::vector<uint8_t> outside(parts.count);
    for (int32_t k = 0; k < parts.count; ++k) {
        const Region& r = regions[k];
        const double texture = double(r.textured) / std::max<int64_t>(1, r.deep);
        const bool cut_lung = r.side_mm * r.side_mm > kLeastCutLung_mm2 && r.contact < 2 &&
                              (texture > 0.3 || (texture > 0.1 && r.contact < 0.9));
        outside[k] = r.edge > 0 && !cut_lung;
    }
    paint(grid, parts, outside, 1, result.mask.data());
    return result;
}

}  // namespace covfast::coarse
