#include "kernels/surface_classes.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace covfast {
namespace {

constexpr int kNearOffsets = 1500;  // enough for some 4 mm at 0.7 mm voxels
constexpr int kFarClasses = 1024;   // together with those some 10 mm, beyond which a usual surface has few elements
constexpr int kFarPoints = 4096;    // grid points of one octant among which the far classes are sought

bool is_flat(const SearchAxes& axes) { return axes.source[0] < 0; }

// How far an octant reaches that holds about kFarPoints grid points, unless one step is far longer than another.
double far_reach(const SearchAxes& axes) {
    const auto [x, y, z] = axes.spacing;
    constexpr double kQuarterDisc = 0.785, kOctantOfBall = 0.524;
    if (is_flat(axes)) return std::sqrt(kFarPoints / kQuarterDisc * y * z);
    return std::cbrt(kFarPoints / kOctantOfBall * x * y * z);
}

}  // namespace

double squared_steps(const SearchAxes& axes, const std::array<int64_t, 3>& steps) {
    double sum = 0;
    for (int source = 0; source < 3; ++source)
        for (int i = 0; i < 3; ++i)
            if (axes.source[i] == source) {
                const double mm = double(steps[i]) * axes.spacing[i];
                sum += mm * mm;
            }
    return sum;
}

DistanceClasses near_classes(const SearchAxes& axes) {
    // Beyond this radius an offset could lie outside of what the search can reach.
    const double reach = std::min(
        {(kPad + 1) * axes.spacing[1], 64 * axes.spacing[2], is_flat(axes) ? INFINITY : (kPad + 1) * axes.spacing[0]});
    const int64_t most_x = is_flat(axes) ? 0 : kPad;
    std::map<double, std::vector<SurfaceOffset>> shells;
    for (int64_t dx = -most_x; dx <= most_x; ++dx)
        for (int64_t dy = -kPad; dy <= kPad; ++dy)
            for (int64_t dz = 0; dz < 64; ++dz) {
                const double square = squared_steps(axes, {dx, dy, dz});
                if (square >= reach * reach * (1 - 1e-9)) break;
                shells[square].push_back({int16_t(dx), int16_t(dy), int16_t(dz)});
            }
    DistanceClasses table;
    for (const auto& [square, offsets] : shells) {
        if (table.classes.size() == kMaxClasses || table.offsets.size() + offsets.size() > kNearOffsets) break;
        table.square.push_back(square);
        table.classes.push_back({int32_t(table.offsets.size()), int32_t(offsets.size())});
        table.offsets.insert(table.offsets.end(), offsets.begin(), offsets.end());
    }
    return table;
}

void append_far_classes(const SearchAxes& axes, DistanceClasses& table) {
    const double last = table.square.back(), reach = far_reach(axes), most = reach * reach;
    std::vector<double> squares;
    const auto is_reached = [&](const std::array<int64_t, 3>& steps) {
        return squares.size() < 8 * kFarPoints && squared_steps(axes, steps) <= most;
    };
    for (int64_t dx = 0; dx <= (is_flat(axes) ? 0 : kFarPoints) && is_reached({dx, 0, 0}); ++dx)
        for (int64_t dy = 0; dy <= kFarPoints && is_reached({dx, dy, 0}); ++dy)
            for (int64_t dz = 0; dz <= kFarPoints; ++dz) {
                const double square = squared_steps(axes, {dx, dy, dz});
                if (square > most) break;
                if (square > last) squares.push_back(square);
            }
    std::sort(squares.begin(), squares.end());
    squares.erase(std::unique(squares.begin(), squares.end()), squares.end());
    if (squares.size() > kFarClasses) squares.resize(kFarClasses);
    table.square.insert(table.square.end(), squares.begin(), squares.end());
}

}  // namespace covfast
