// lungs_extend: lung that another method found joins the lungs it touches, as a consolidated lobe joins its lung.
//
// lungs  (D, H, W) u8, any strides in elements, in host memory; in and out: 0 elsewhere, 1 left lung, 2 right lung.
// found  (D, H, W) u8, any strides: not 0 where the other method found lung. May not overlap lungs.
// A found voxel becomes part of the lung that is fewest steps away, from face to face through found voxels outside the
// lungs; the left one of two that are as near. Found voxels from which no lung can be reached stay 0, and what was lung
// stays it. The same bits for any number of threads. Memory: 24 bytes for each voxel of the widest front.
// Throws SHAPE if the sizes differ.
#pragma once
#include "core/view.h"

namespace covfast {

void lungs_extend(const View3<uint8_t>& lungs, const View3<const uint8_t>& found, int threads);

}  // namespace covfast
