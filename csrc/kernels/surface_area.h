// Size of a surface element by its 8-bit code: the area of marching cubes' triangles at a corner of 2x2x2 voxels, or
// the length of the contour at a corner of 2x2 pixels. Bit 7 - (4 a + 2 b + c) of a code is the voxel (a, b, c) of the
// block.
//
// area = sum over the code's normals n of |(n0 s1 s2, n1 s0 s2, n2 s0 s1)|, s = spacing. Source: Lorensen and Cline
// 1987, in the table of google-deepmind/surface-distance (Nikolov et al. 2018, arXiv:1809.04430).
#pragma once
#include <array>

namespace covfast {

// mm^2, by code. spacing_mm: along the axes that a, b, c count.
std::array<double, 256> surfel_areas(const std::array<double, 3>& spacing_mm);

// mm, by the 4-bit code of (b, c) alone, which must stand in both halves of the 8 bits; 0 for other codes.
std::array<double, 256> contour_lengths(const std::array<double, 2>& spacing_mm);

}  // namespace covfast
