// lungs: left and right lung of a HU volume, found without training.
//
// hu      (D, H, W) i16 or f32 in canonical orientation (D to superior, H to posterior, W to the patient's left), any
//         strides in elements. Below -1100 HU is padding and read as air; above 2000 HU counts as 2000.
// labels  (D, H, W) u8, any strides: 0 elsewhere, 1 left lung, 2 right lung. Vessels, lesions and consolidated lung
//         count as lung; trachea, main bronchi, stomach and bowel do not. May not overlap hu.
// Both lie in the memory of the context's backend. The same bits for any number of threads and on every backend.
// A single lung is named by its side of the spine. Workspace: about 24 bytes for each voxel of a grid
// of about 2.5 mm, coarser where it would exceed 8 million voxels (see lungs_workspace_bytes); hu is never copied.
// Throws SHAPE if a size is below 1, VALUE_RANGE if a spacing lies outside 0.001 to 1000 mm or a voxel is not finite,
// MEMORY_LIMIT if the coarse grid has 2^31 voxels or more, NO_LUNGS if nothing in the volume can be lung, CANCELLED.
// Source: thresholding, airway removal and left-right separation after Hu, Hoffman and Reinhardt, IEEE TMI 20(6) 2001;
// rolling-ball closing after Armato and Sensakovic, Acad Radiol 11(9) 2004; the rest is ours.
#pragma once
#include <cstdint>

#include "core/progress.h"

namespace covfast {

struct LungsParams {
    const void* hu;     // (D, H, W)
    bool is_float;      // f32, else i16
    int64_t size[3];    // D, H, W, each at least 1
    int64_t stride[3];  // of hu, in elements
    double spacing_mm[3];
    uint8_t* labels;  // (D, H, W)
    int64_t label_stride[3];
};

struct Context;

// Upper estimate, for a chest, of what lungs allocates; of params only size and spacing_mm are read. Throws as lungs.
int64_t lungs_workspace_bytes(const LungsParams& params);

void lungs(const LungsParams& params, const Context& context, const Progress& progress);

}  // namespace covfast
