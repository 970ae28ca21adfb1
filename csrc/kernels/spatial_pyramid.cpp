#include "kernels/spatial_pyramid.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"

namespace covfast {

void spatial_pyramid(const SpatialPyramidParams& p, const Context& context) {
    COVFAST_REQUIRE(p.branches >= 1 && p.branches <= kPyramidBranches, SHAPE, "branch_weight: got ", p.branches,
                    " branches, expected 1 to ", kPyramidBranches);
    COVFAST_REQUIRE(p.m >= 1 && p.m <= kPyramidChannels && p.out_per_branch >= 1, SHAPE, "x, fuse_weight: got ", p.m,
                    " channels to ", p.out_per_branch, " of a branch, expected 1 to ", kPyramidChannels,
                    " to at least 1");
    COVFAST_REQUIRE(p.stride >= 1, VALUE_RANGE, "stride: got ", p.stride, ", expected at least 1");
    for (int64_t k = 0; k < p.branches; ++k)
        COVFAST_REQUIRE(p.dilation[k] >= 1, VALUE_RANGE, "dilation: got ", p.dilation[k], ", expected at least 1");
    for (int a = 0; a < 2; ++a)
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.out_size[a] == (p.in_size[a] - 1) / p.stride + 1, SHAPE, "y: got size ",
                        p.out_size[a], " for an input of ", p.in_size[a], ", expected ",
                        (p.in_size[a] - 1) / p.stride + 1);
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::spatial_pyramid, "spatial_pyramid", p);
}

}  // namespace covfast
