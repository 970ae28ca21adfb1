#include "kernels/pointwise_depthwise.h"

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"
#include "kernels/conv3d.h"

namespace covfast {

void pointwise_depthwise(const PointwiseDepthwiseParams& p, const Context& context) {
    COVFAST_REQUIRE(p.in_channels >= 1 && p.in_channels <= kMixedChannels && p.channels >= 1, SHAPE, "x: got ",
                    p.in_channels, " to ", p.channels, " channels, expected 1 to ", kMixedChannels, " to at least 1");
    COVFAST_REQUIRE(p.kernel >= 1 && p.kernel <= kDepthwiseKernel, VALUE_RANGE, "weight: got a kernel of ", p.kernel,
                    ", expected 1 to ", kDepthwiseKernel);
    COVFAST_REQUIRE((p.stride == 1 || p.stride == 2) && p.padding >= 0 && p.padding < p.kernel, VALUE_RANGE,
                    "stride, padding: got ", p.stride, ", ", p.padding, ", expected 1 or 2, and 0 to ", p.kernel - 1);
    for (int a = 0; a < 2; ++a) {
        const int64_t fits = conv_out_size(p.in_size[a], p.kernel, p.stride, 1, p.padding);
        COVFAST_REQUIRE(p.in_size[a] >= 1 && fits >= 1 && p.out_size[a] == fits, SHAPE, "y: got size ", p.out_size[a],
                        " for an input of ", p.in_size[a], ", expected ", fits, ", at least 1");
    }
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::pointwise_depthwise, "pointwise_depthwise", p);
}

}  // namespace covfast
