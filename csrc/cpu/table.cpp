// The backend table of one CPU instruction set; compiled once for each, like the *_cpu.cpp files.
#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {

void lungs_paint(const LungsPassParams&, const Exec&);
void lungs_shrink(const LungsPassParams&, const Exec&);
void null(const NullParams&, const Exec&);
void resample_argmax(const ResampleArgmaxParams&, const Exec&);
void resample_axis(const ResampleAxisParams&, const Exec&);
void spline_axis(const SplineAxisParams&, const Exec&);
void window_hu(const WindowHuParams&, const Exec&);
void argmax(const ArgmaxParams&, const Exec&);
void gather(const GatherParams&, const Exec&);
void stitch(const StitchParams&, const Exec&);
void stitch_plane(const StitchPlaneParams&, const Exec&);
void stitch_half(const StitchHalfParams&, const Exec&);
void stitch_half_plane(const StitchHalfPlaneParams&, const Exec&);
void activation(const ActivationParams&, const Exec&);
void binary(const BinaryParams&, const Exec&);
void conv3d(const Conv3dParams&, const Exec&);
void conv_blocked(const ConvBlockedParams&, const Exec&);
void conv_transpose3d(const ConvTranspose3dParams&, const Exec&);
void conv_winograd(const ConvWinogradParams&, const Exec&);
void copy_channels(const CopyChannelsParams&, const Exec&);
void group_norm(const GroupNormParams&, const Exec&);
void pad3d(const Pad3dParams&, const Exec&);
void pointwise_depthwise(const PointwiseDepthwiseParams&, const Exec&);
void pool3d(const Pool3dParams&, const Exec&);
void resize3d(const Resize3dParams&, const Exec&);
void norm_blocked(const NormBlockedParams&, const Exec&);
void reorder(const ReorderParams&, const Exec&);
void pool_blocked(const PoolBlockedParams&, const Exec&);
void resize_blocked(const ResizeBlockedParams&, const Exec&);
void activation_blocked(const ActivationBlockedParams&, const Exec&);
void binary_blocked(const BinaryBlockedParams&, const Exec&);
void conv_transpose_blocked(const ConvTransposeBlockedParams&, const Exec&);
void softmax(const SoftmaxParams&, const Exec&);
void spatial_pyramid(const SpatialPyramidParams&, const Exec&);
void surface_border(const SurfaceBorderParams&, const Exec&);
void surface_pack(const SurfacePackParams&, const Exec&);
void surface_scan(const SurfaceScanParams&, const Exec&);
void surface_search(const SurfaceSearchParams&, const Exec&);

namespace {

#define COVFAST_NAME_OF(x) #x
#define COVFAST_NAME(x) COVFAST_NAME_OF(x)

// COVFAST_ISA_CHECK is the list of feature tests that the build gives this object; none for the baseline.
const char* missing() {
#ifdef COVFAST_ISA_CHECK
    __builtin_cpu_init();
    if (!(COVFAST_ISA_CHECK)) return "this CPU lacks " COVFAST_ISA_NEEDS;
#endif
    return nullptr;
}

void* allocate(size_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release(void* memory) { std::free(memory); }
void copy(void* to, const void* from, size_t bytes, void*) {
    if (bytes != 0) std::memcpy(to, from, bytes);  // of nothing, both may be null
}

constexpr Backend kTable = {
    .name = COVFAST_NAME(COVFAST_ISA),
    .device = "cpu",
    .needs = COVFAST_ISA_NEEDS,
    .missing = missing,
    .allocate = allocate,
    .release = release,
    .upload = copy,
    .download = copy,
    .lungs_paint = lungs_paint,
    .lungs_shrink = lungs_shrink,
    .null = null,
    .resample_argmax = resample_argmax,
    .resample_axis = resample_axis,
    .spline_axis = spline_axis,
    .window_hu = window_hu,
    .argmax = argmax,
    .gather = gather,
    .stitch = stitch,
    .stitch_plane = stitch_plane,
    .stitch_half = stitch_half,
    .stitch_half_plane = stitch_half_plane,
    .activation = activation,
    .binary = binary,
    .conv3d = conv3d,
    .conv_blocked = conv_blocked,
    .conv_transpose3d = conv_transpose3d,
    .conv_winograd = conv_winograd,
    .copy_channels = copy_channels,
    .group_norm = group_norm,
    .pad3d = pad3d,
    .pointwise_depthwise = pointwise_depthwise,
    .pool3d = pool3d,
    .resize3d = resize3d,
    .norm_blocked = norm_blocked,
    .reorder = reorder,
    .pool_blocked = pool_blocked,
    .resize_blocked = resize_blocked,
    .activation_blocked = activation_blocked,
    .binary_blocked = binary_blocked,
    .conv_transpose_blocked = conv_transpose_blocked,
    .softmax = softmax,
    .spatial_pyramid = spatial_pyramid,
    .surface_border = surface_border,
    .surface_pack = surface_pack,
    .surface_scan = surface_scan,
    .surface_search = surface_search,
};

}  // namespace

const Backend& table() { return kTable; }

}  // namespace covfast::COVFAST_ISA
