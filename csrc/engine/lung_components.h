// lung_components: what lungmask does to the labels of a whole volume behind its network.
//
// labels  (D, H, W) u8, any strides, in place. Regions: 26-connected voxels of one value, not 0.
//   1. In the order of size (first voxel first among equals), each region of at least 3 voxels that is smaller than the
//      largest of its value joins the region that most voxels of its 6-neighbourhood belong to (the first one of
//      equals; regions of the spare value do not count). Sizes grow as regions join.
//   2. A region keeps its value only if, in the same order at the start, it was larger than all before it of its value;
//      else it is 0. `spare` (0: none) is a value that may only join others and is 0 in the end.
//   3. Of each value the largest component stays (the last of equals), with its holes filled; a higher value wins where
//      both fill. A volume of one slice: holes of less than 64 pixels.
// The same bits for any number of threads. Workspace: a copy of labels, and runs (components.h).
// Source: lungmask 0.2.22, lungmask/utils.py, postprocessing; ties of equal components are unspecified there.
#pragma once
#include <cstdint>

#include "core/progress.h"
#include "core/view.h"

namespace covfast {

void clean_lung_labels(const View3<uint8_t>& labels, uint8_t spare, int threads, const Progress& progress);

}  // namespace covfast
