#include "kernels/surface_area.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace covfast {
namespace {

using Normal = std::array<double, 3>;  // absolute values: signs do not matter for an area
using NormalTable = std::array<std::vector<Normal>, 256>;

constexpr Normal kCorner{0.125, 0.125, 0.125}, kWide{0.25, 0.25, 0.25}, kFace{0.5, 0, 0};
constexpr Normal kAcross0{0, 0.25, 0.25}, kAcross1{0.25, 0, 0.25}, kAcross2{0.25, 0.25, 0};

// One code of each class under the 48 symmetries of the cube and the exchange of inside and outside.
struct Representative {
    int code;
    std::vector<Normal> normals;
};

const std::vector<Representative>& representatives() {
    static const std::vector<Representative> list = {
        {1, {kCorner}},
        {3, {kAcross2, kAcross2}},
        {6, {kCorner, kCorner}},
        {7, {kWide, kFace, kCorner}},
        {15, {kFace, kFace}},
        {22, {kCorner, kCorner, kCorner}},
        {23, {kCorner, kWide, kWide, kCorner}},
        {24, {kCorner, kCorner}},
        {25, {kAcross0, kCorner, kAcross0}},
        {27, {kAcross1, {0.375, 0.375, 0.375}, kCorner, kAcross0}},
        {30, {kWide, kFace, kCorner, kCorner}},
        {60, {kAcross2, kAcross2, kAcross2, kAcross2}},
        {105, {kCorner, kCorner, kCorner, kCorner}},
    };
    return list;
}

// Codes whose triangles deepmind's table adds in another order than those of their class. The order decides the last
// bit of an area, and that decides exact ties of a percentile. Measured, code by code.
struct Reordered {
    std::vector<int> codes;  // and their complements
    std::vector<int> order;
};

const std::vector<Reordered>& reordered() {
    static const std::vector<Reordered> list = {
        {{25, 26, 38, 52, 61, 70, 87, 88, 100, 103, 110, 117, 122, 124}, {0, 2, 1}},
        {{31, 35, 50}, {1, 2, 0}},
        {{27, 30, 43, 54, 77, 99}, {1, 2, 0, 3}},
        {{58}, {1, 3, 2, 0}},
        {{78, 116}, {1, 3, 0, 2}},
        {{83, 92}, {0, 1, 3, 2}},
        {{86}, {0, 2, 3, 1}},
    };
    return list;
}

// The code with its axes permuted (new axis i is old axis order[i]) and those in `flips` (4: a, 2: b, 1: c) mirrored.
int moved_code(int code, const std::array<int, 3>& order, int flips) {
    int moved = 0;
    for (int bit = 0; bit < 8; ++bit) {
        if (!(code >> bit & 1)) continue;
        const std::array<int, 3> old{bit >> 2 & 1, bit >> 1 & 1, bit & 1};
        const int to = old[order[0]] << 2 | old[order[1]] << 1 | old[order[2]];
        moved |= 1 << (to ^ flips);
    }
    return moved;
}

NormalTable all_normals() {
    NormalTable table;
    for (const Representative& representative : representatives()) {
        std::array<int, 3> order{0, 1, 2};
        do {
            std::vector<Normal> normals;
            for (const Normal& n : representative.normals) normals.push_back({n[order[0]], n[order[1]], n[order[2]]});
            for (int flips = 0; flips < 8; ++flips) {
                const int code = moved_code(representative.code, order, flips);
                table[code] = normals;
                table[255 - code] = normals;
            }
        } while (std::next_permutation(order.begin(), order.end()));
    }
    for (const Reordered& other : reordered())
        for (int code : other.codes) {
            const std::vector<Normal> from = table[code];
            for (size_t i = 0; i < other.order.size(); ++i) table[code][i] = from[other.order[i]];
            table[255 - code] = table[code];
        }
    return table;
}

}  // namespace

std::array<double, 256> surfel_areas(const std::array<double, 3>& s) {
    static const NormalTable normals = all_normals();
    std::array<double, 256> areas{};
    for (int code = 0; code < 256; ++code)
        for (const Normal& n : normals[code]) {
            const double a = n[0] * s[1] * s[2], b = n[1] * s[0] * s[2], c = n[2] * s[0] * s[1];
            // As the BLAS behind NumPy's norm adds squares on machines with AVX-512; others differ in the last bit.
            areas[code] += std::sqrt(std::fma(c, c, std::fma(b, b, a * a)));
        }
    return areas;
}

std::array<double, 256> contour_lengths(const std::array<double, 2>& s) {
    const double diagonal = 0.5 * std::sqrt(s[0] * s[0] + s[1] * s[1]);
    std::array<double, 256> lengths{};
    for (int code = 1; code < 15; ++code) {
        double length = diagonal;                           // one pixel unlike the other three
        if (code == 6 || code == 9) length = 2 * diagonal;  // two opposite pixels
        if (code == 5 || code == 10) length = s[0];         // inside beside outside
        if (code == 3 || code == 12) length = s[1];         // inside above outside
        lengths[code * 17] = length;
    }
    return lengths;
}

}  // namespace covfast
