// How the lungs are found; steps 1 and 10 pass over the full grid, the rest works on block means of about 2.5 mm.
//  1. Shrink: block means.                                                          lungs_pass
//  2. Body: the largest piece of tissue; air outside it, table and padding are out. lungs_exterior
//  3. Cores: air inside the body, at least 6 mm deep.                               lungs_find
//  4. Lung or gas: texture and density tell lung from trachea, stomach and bowel.   lungs_find
//  5. Watershed on HU from the cores: walls part airways and bowel from lung.       lungs_find
//  6. Left and right: cores side by side, or a cut from front to back.              lungs_sides
//  7. Thin slivers of air near a lung join it; thin bronchi go back to it.          lungs_find
//  8. Close: holes, a ball of 10 mm, islands, consolidations at the chest wall.     lungs_close, lungs_ribs
//  9. Code: a coarse voxel inside the lung is solid; one at its edge is shell.      here
// 10. Paint: solid blocks whole, shell blocks where hu < -400.                      lungs_pass
#include "kernels/lungs.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "kernels/lungs_find.h"
#include "kernels/lungs_pass.h"

namespace covfast {
namespace {

constexpr double kCoarse_mm = 2.5;   // walls of bowel and diaphragm are wider; finer costs time, coarser joins them
constexpr double kMostCoarse = 8e6;  // voxels of the coarse grid: bounds time and memory where slices are thin or many
constexpr int64_t kMostIndices = int64_t(1) << 31;  // rows, pieces and queues of the coarse grid are int32
// Most bytes alive for each coarse voxel: in flood (HU, masks, a distance, queues), and in ball_close (HU, masks; the
// padded box's mask and distance).
constexpr double kBytes = 24, kBytesClosing = 12, kBytesPadded = 5;
constexpr double kLeast_mm = 1e-3, kMost_mm = 1e3;
constexpr int64_t kSlabVoxels = int64_t(1) << 22;  // between two polls of progress

void check(const LungsParams& p) {
    for (int axis = 0; axis < 3; ++axis) {
        COVFAST_REQUIRE(p.size[axis] >= 1, SHAPE, "hu: got a size of ", p.size[axis], ", expected at least 1");
        COVFAST_REQUIRE(p.spacing_mm[axis] >= kLeast_mm && p.spacing_mm[axis] <= kMost_mm, VALUE_RANGE,
                        "spacing_mm: got ", p.spacing_mm[axis], ", expected numbers from ", kLeast_mm, " to ", kMost_mm,
                        " mm");
    }
}

int64_t coarse_size(const LungsPassParams& pass, int axis) { return (pass.size[axis] - 1) / pass.factor[axis] + 1; }

// Raises the factor of the finest axis until the coarse grid is small enough; painting at full resolution keeps the
// outline accurate.
void bound_coarse(LungsPassParams& pass, const double* spacing_mm) {
    const auto is_finer = [&](int a, int b) { return spacing_mm[a] * pass.factor[a] < spacing_mm[b] * pass.factor[b]; };
    while (double(coarse_size(pass, 0)) * coarse_size(pass, 1) * coarse_size(pass, 2) > kMostCoarse) {
        int finest = -1;
        for (int a : {2, 1, 0}) {
            if (pass.factor[a] == kMaxLungsFactor || coarse_size(pass, a) == 1) continue;
            if (finest < 0 || is_finer(a, finest)) finest = a;
        }
        if (finest < 0) return;
        ++pass.factor[finest];
    }
}

LungsPassParams plan(const LungsParams& p) {
    check(p);
    LungsPassParams pass{};
    pass.hu = p.hu, pass.is_float = p.is_float, pass.shell_hu = coarse::kEdge, pass.labels = p.labels;
    for (int a = 0; a < 3; ++a) {
        pass.size[a] = p.size[a], pass.stride[a] = p.stride[a], pass.label_stride[a] = p.label_stride[a];
        const double factor = std::clamp(std::round(kCoarse_mm / p.spacing_mm[a]), 1.0, double(kMaxLungsFactor));
        pass.factor[a] = static_cast<int64_t>(factor);
    }
    bound_coarse(pass, p.spacing_mm);
    double voxels = 1;
    for (int a = 0; a < 3; ++a) voxels *= pass.coarse_size[a] = coarse_size(pass, a);
    COVFAST_REQUIRE(voxels < double(kMostIndices), MEMORY_LIMIT, "hu: got ", p.size[0], " x ", p.size[1], " x ",
                    p.size[2], " voxels, expected a volume with fewer than 2^31 voxels after block means");
    return pass;
}

// Runs a pass in slabs of slices, so that a long one can be stopped.
void run_pass(const Context& context, void (*Backend::*op)(const LungsPassParams&, const Exec&), const char* name,
              LungsPassParams pass, const Progress& progress, int64_t stage) {
    const int64_t slice = pass.factor[0] * pass.size[1] * pass.size[2];
    const int64_t slab = std::max<int64_t>(1, kSlabVoxels / slice);
    for (int64_t z = 0; z < pass.coarse_size[0]; z += slab) {
        progress.poll("lungs", stage, 8);
        const PollScope scope(progress, "lungs", stage, 8);
        pass.first = z, pass.last = std::min(z + slab, pass.coarse_size[0]);
        run(context, op, name, pass);
    }
}

void check_finite(const std::vector<int16_t>& hu, const LungsPassParams& pass) {
    const auto bad = std::find(hu.begin(), hu.end(), static_cast<int16_t>(kNotFiniteHu));
    COVFAST_REQUIRE(bad == hu.end(), VALUE_RANGE, "hu: got NaN or infinity near slice ",
                    (bad - hu.begin()) / (pass.coarse_size[1] * pass.coarse_size[2]) * pass.factor[0],
                    ", expected finite numbers");
}

// Step 9. Solid: inside the lung with all 26 neighbours, or filled by closing, where no edge in HU exists; there most
// of the neighbours must agree, which smooths the blocks. Shell: the rest of the aerated lung and the voxels around it,
// whose own voxels decide by their HU.
coarse::Mask encode(const coarse::Grid& grid, const coarse::Lungs& lungs, const coarse::Mask& aerated) {
    const auto [depth, height, width] = grid.size;
    const coarse::Mask& side = lungs.side;
    coarse::Mask code(side.size());
    polled_for(grid, depth, [&, depth = depth, height = height, width = width](int64_t begin, int64_t end) {
        for (int64_t i = begin * height * width; i < end * height * width; ++i) {
            const int64_t x = i % width, y = i / width % height, z = i / (height * width);
            int counts[3] = {}, near[3] = {}, airway = 0, all = 0;
            for (int64_t zz = std::max<int64_t>(0, z - 1); zz <= std::min(depth - 1, z + 1); ++zz)
                for (int64_t yy = std::max<int64_t>(0, y - 1); yy <= std::min(height - 1, y + 1); ++yy)
                    for (int64_t xx = std::max<int64_t>(0, x - 1); xx <= std::min(width - 1, x + 1); ++xx) {
                        const int64_t k = (zz * height + yy) * width + xx;
                        ++counts[side[k]], ++near[aerated[k]], airway += lungs.airway[k], ++all;
                    }
            if (side[i]) {
                const bool is_filled = !aerated[i] && 2 * counts[side[i]] >= all;
                code[i] = side[i] | (counts[side[i]] == all || is_filled ? kSolid : kShell);
            } else if (near[1] + near[2] > 0 && airway == 0 && !lungs.exterior[i]) {
                code[i] = (near[1] > near[2] ? coarse::kLeft : coarse::kRight) | kShell;
            }
        }
    });
    return code;
}

}  // namespace

int64_t lungs_workspace_bytes(const LungsParams& params) {
    const LungsPassParams pass = plan(params);
    double voxels = 1, padded = 1;
    for (int a = 0; a < 3; ++a) {
        const float mm = static_cast<float>(params.spacing_mm[a] * pass.factor[a]);
        voxels *= pass.coarse_size[a];
        padded *= pass.coarse_size[a] + 2 * coarse::closing_pad(coarse::kBall_mm, mm);
    }
    return static_cast<int64_t>(std::max(kBytes * voxels, kBytesClosing * voxels + kBytesPadded * padded));
}

void lungs(const LungsParams& params, const Context& context, const Progress& progress) {
    LungsPassParams pass = plan(params);
    coarse::Grid grid{{}, {}, context.threads, &progress, 1};
    for (int a = 0; a < 3; ++a) {
        grid.size[a] = pass.coarse_size[a];
        grid.mm[a] = static_cast<float>(params.spacing_mm[a] * pass.factor[a]);
    }
    std::vector<int16_t> hu(grid.voxels());
    DeviceArray<uint8_t> code(*context.backend, grid.voxels());
    {
        DeviceArray<int16_t> means(*context.backend, grid.voxels());
        pass.coarse = means.data();
        run_pass(context, &Backend::lungs_shrink, "lungs", pass, progress, 0);
        means.download(hu.data(), hu.size() * sizeof(int16_t), context.stream);
    }
    check_finite(hu, pass);
    coarse::Lungs found = coarse::find_lungs(grid, hu.data());
    const coarse::Mask aerated = found.side;
    coarse::close_lungs(grid, hu.data(), found, aerated);
    grid.stage = 7;
    const coarse::Mask codes = encode(grid, found, aerated);
    code.upload(codes.data(), codes.size(), context.stream);
    pass.code = code.data();
    run_pass(context, &Backend::lungs_paint, "lungs", pass, progress, 7);
}

}  // namespace covfast
