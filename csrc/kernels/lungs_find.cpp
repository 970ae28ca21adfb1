// Which air inside the body is lung. Pieces of air at least 6 mm deep are told apart by their texture: gas in the
// trachea, stomach and bowel is flat and near pure air, lung is denser or textured by vessels. The pieces then grow by
// a watershed on HU, so that walls (trachea, bronchi, diaphragm) become the borders.
#include "kernels/lungs_find.h"

#include <algorithm>
#include <cmath>

namespace covfast::coarse {
namespace {

constexpr float kCore_mm = 6;  // deeper than a main bronchus is wide
constexpr double kLeastAerated = 0.88;
constexpr float kGasCore_mm = 3.6f;    // a narrow trachea, the oesophagus
constexpr double kSlender_mm2 = 600;   // mean area of a slice through the eroded trachea or oesophagus
constexpr double kLeastCore_ml = 10;   // of the largest lung, after the erosion: bubbles stay below, an apex above
constexpr float kThinAirway_mm = 4.5;  // bronchi thinner than this, radius, belong to the lung
constexpr float kNear_mm = 6;

bool looks_like_lung(const Piece& p) { return p.mean_hu > -890 || p.sd_hu > 30; }

// Lung pieces: the largest, and those that are large beside it, or small but not below its bases, where bowel lies.
std::vector<Piece> choose_lungs(const std::vector<Piece>& pieces) {
    std::vector<Piece> lungs;
    int64_t bottom = 0, top = 0;
    for (const Piece& p : pieces) {
        if (!looks_like_lung(p)) continue;
        if (lungs.empty() && p.ml < kLeastCore_ml) break;
        const bool is_large = lungs.empty() || p.ml >= 0.1 * lungs[0].ml;
        if (is_large) {
            bottom = lungs.empty() ? p.first : std::min(bottom, p.first);
            top = std::max(top, p.last);
        }
        if (is_large || (p.first + p.last) * 0.5 > bottom + 0.15 * (top - bottom)) lungs.push_back(p);
    }
    return lungs;
}

[[noreturn]] void fail_no_lungs(const Grid& grid, const int16_t* hu, const Mask& air) {
    const std::vector<Piece> pieces = measure(grid, hu, components(grid, air.data(), false), 0);
    const double ml = pieces.empty() ? 0 : std::round(pieces[0].ml * 10) / 10;
    fail(Code::NO_LUNGS, "hu: got no air that can be lung (largest pocket of air inside a body: ", ml,
         " mL), expected a chest CT in HU; check the orientation, the spacing and that the values are HU");
}

// Marks air inside the body and returns the HU below which cores lie. The lower threshold parts lungs, bowel and
// airways better, but ground glass all over the lung lies above it.
int find_inner(const Grid& grid, const int16_t* hu, const Mask& exterior, Mask& inner) {
    int64_t count = 0, aerated = 0;
    for (int64_t i = 0; i < grid.voxels(); ++i) {
        if (i % 65536 == 0) grid.poll();
        inner[i] = hu[i] < kEdge && !exterior[i];
        count += inner[i], aerated += inner[i] && hu[i] < kAerated;
    }
    return aerated > kLeastAerated * count ? kAerated : kEdge;
}

// Flat, air-like, slender pieces that appear with a smaller erosion and hold no piece known so far: the trachea of a
// small patient, main bronchi, air in the oesophagus. `labels` gets `gas` there.
void add_narrow_gas(const Grid& grid, const int16_t* hu, const std::vector<float>& squared, uint8_t gas, Mask& labels) {
    Mask deep(grid.voxels());
    each_voxel(grid, [&](int64_t i) { deep[i] = squared[i] > kGasCore_mm * kGasCore_mm; });
    const Components parts = components(grid, deep.data(), false);
    std::vector<uint8_t> is_new(parts.count, 1), take(parts.count);
    grid.poll();
    for (const Run& run : parts.runs)
        for (int64_t x = run.begin; x < run.end && is_new[run.label]; ++x)
            is_new[run.label] = labels[run.row * grid.size[2] + x] == 0;
    for (const Piece& p : measure(grid, hu, parts, 0.3))
        take[p.label] = is_new[p.label] && !looks_like_lung(p) &&
                        p.ml * 1000 < kSlender_mm2 * grid.mm[0] * double(p.last - p.first);
    paint(grid, parts, take, gas, labels.data());
}

// Keeps the wide part of the airways; thin bronchi go back to the lung.
Mask keep_wide(const Grid& grid, const Mask& labels, uint8_t gas) {
    Mask airway(grid.voxels()), away(grid.voxels());
    each_voxel(grid, [&](int64_t i) { airway[i] = labels[i] == gas; });
    std::vector<float> squared;
    distance2(grid, airway.data(), kThinAirway_mm, squared);
    each_voxel(grid, [&](int64_t i) { away[i] = squared[i] <= kThinAirway_mm * kThinAirway_mm; });
    const float reach = kThinAirway_mm + *std::max_element(grid.mm, grid.mm + 3);  // the rim of a wide one is not round
    distance2(grid, away.data(), reach, squared);
    each_voxel(grid, [&](int64_t i) { airway[i] &= squared[i] <= reach * reach; });
    return airway;
}

// Gives air that no deep piece reached, such as the thin edge of a base, to the lung that is near.
void add_slivers(const Grid& grid, const int16_t* hu, const Mask& unclaimed, Mask& side) {
    const Components parts = components(grid, unclaimed.data(), false);
    std::vector<uint8_t> wanted(parts.count);
    for (const Piece& p : measure(grid, hu, parts, 0.1)) wanted[p.label] = p.mean_hu > -900;
    std::vector<int64_t> votes(2 * parts.count);
    const auto [depth, height, width] = grid.size;
    int64_t reach[3];
    for (int a = 0; a < 3; ++a) reach[a] = static_cast<int64_t>(kNear_mm / grid.mm[a]);
    for (const Run& run : parts.runs) {
        if (!wanted[run.label]) continue;
        grid.poll();
        const int64_t z = run.row / height, y = run.row % height;
        for (int64_t dz = -reach[0]; dz <= reach[0]; ++dz)
            for (int64_t dy = -reach[1]; dy <= reach[1]; ++dy) {
                if (z + dz < 0 || z + dz >= depth || y + dy < 0 || y + dy >= height) continue;
                const uint8_t* row = side.data() + ((z + dz) * height + y + dy) * width;
                const int64_t end = std::min(width, run.end + reach[2]);
                for (int64_t x = std::max<int64_t>(0, run.begin - reach[2]); x < end; ++x)
                    if (row[x]) ++votes[2 * run.label + row[x] - 1];
            }
    }
    grid.poll();
    for (const Run& run : parts.runs) {
        const int64_t left = votes[2 * run.label], right = votes[2 * run.label + 1];
        if (left + right == 0) continue;
        std::fill_n(side.begin() + run.row * width + run.begin, run.end - run.begin, left > right ? kLeft : kRight);
    }
}

}  // namespace

std::vector<Piece> measure(const Grid& grid, const int16_t* hu, const Components& parts, double least_ml) {
    struct Sums {
        int64_t n = 0, hu = 0, hu2 = 0, at[3] = {}, first = -1, last = 0;
    };
    std::vector<Sums> sums(parts.count);
    for (const Run& run : parts.runs) {
        Sums& s = sums[run.label];
        if ((&run - parts.runs.data()) % 4096 == 0) grid.poll();
        const int64_t z = run.row / grid.size[1], length = run.end - run.begin;
        if (s.first < 0) s.first = z;
        s.last = z + 1;
        s.n += length;
        s.at[0] += z * length;
        s.at[1] += run.row % grid.size[1] * length;
        for (int64_t x = run.begin; x < run.end; ++x) {
            const int64_t v = hu[run.row * grid.size[2] + x];
            s.hu += v, s.hu2 += v * v, s.at[2] += x;
        }
    }
    std::vector<Piece> pieces;
    for (int32_t k = 0; k < parts.count; ++k) {
        if (k % 65536 == 0) grid.poll();
        const Sums& s = sums[k];
        const double n = double(s.n), mean = s.hu / n, ml = n * grid.voxel_ml();
        if (ml < least_ml) continue;
        Piece p{k, ml, mean, std::sqrt(std::max(0.0, s.hu2 / n - mean * mean)), {}, s.first, s.last};
        for (int a = 0; a < 3; ++a) p.centre_mm[a] = s.at[a] / n * grid.mm[a];
        pieces.push_back(p);
    }
    std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.ml > b.ml; });
    return pieces;
}

Lungs find_lungs(Grid grid, const int16_t* hu) {
    constexpr uint8_t kLung = 1, kGas = 2;
    Exterior exterior = find_exterior(grid, hu);
    grid.stage = 3;
    const int64_t n = grid.voxels();
    Mask inner(n), deep(n), labels(n);
    const int edge = find_inner(grid, hu, exterior.mask, inner);
    each_voxel(grid, [&](int64_t i) { deep[i] = inner[i] && hu[i] < edge; });
    std::vector<float> squared;
    distance2(grid, deep.data(), kCore_mm, squared);
    each_voxel(grid, [&](int64_t i) { deep[i] = squared[i] > kCore_mm * kCore_mm; });
    const Components cores = components(grid, deep.data(), false);
    const std::vector<Piece> pieces = measure(grid, hu, cores, 0.3), chosen = choose_lungs(pieces);
    if (chosen.empty()) fail_no_lungs(grid, hu, inner);
    std::vector<uint8_t> is_lung(cores.count), is_gas(cores.count);
    for (const Piece& p : pieces) is_gas[p.label] = 1;
    for (const Piece& p : chosen) is_lung[p.label] = 1, is_gas[p.label] = 0;
    paint(grid, cores, is_lung, kLung, labels.data());
    paint(grid, cores, is_gas, kGas, labels.data());
    add_narrow_gas(grid, hu, squared, kGas, labels);
    flood(grid, hu, inner.data(), labels.data());
    grid.stage = 4;

    Lungs found{{}, keep_wide(grid, labels, kGas), std::move(exterior.mask)};
    Mask lung(n);
    each_voxel(grid, [&](int64_t i) {
        lung[i] = labels[i] && !found.airway[i];
        inner[i] &= !labels[i];
        labels[i] = labels[i] == kLung;
    });
    flood(grid, hu, lung.data(), labels.data());  // thin bronchi, but not what hangs on the trachea alone
    found.side = split_sides(grid, hu, labels, cores, chosen);
    add_slivers(grid, hu, inner, found.side);
    return found;
}

}  // namespace covfast::coarse
