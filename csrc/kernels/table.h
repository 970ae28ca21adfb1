// The backend table: memory, copies and one function pointer per op. CPU instruction sets and CUDA are peers.
// Plain structs only: the files compiled per instruction set include this.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/range.h"

namespace covfast {

struct LungsPassParams;
struct NullParams;
struct ResampleArgmaxParams;
struct ResampleAxisParams;
struct SplineAxisParams;
struct WindowHuParams;
struct ArgmaxParams;
struct GatherParams;
struct StitchParams;
struct StitchPlaneParams;
struct StitchHalfParams;
struct StitchHalfPlaneParams;
struct ActivationParams;
struct BinaryParams;
struct Conv3dParams;
struct ConvBlockedParams;
struct ConvTranspose3dParams;
struct ConvWinogradParams;
struct CopyChannelsParams;
struct GroupNormParams;
struct Pad3dParams;
struct PointwiseDepthwiseParams;
struct Pool3dParams;
struct Resize3dParams;
struct NormBlockedParams;
struct ReorderParams;
struct PoolBlockedParams;
struct ResizeBlockedParams;
struct ActivationBlockedParams;
struct BinaryBlockedParams;
struct ConvTransposeBlockedParams;
struct SoftmaxParams;
struct SpatialPyramidParams;
struct SurfaceBorderParams;
struct SurfacePackParams;
struct SurfaceScanParams;
struct SurfaceSearchParams;

// How an op is to run. CPU entries cut their work with parallel_for and return when it is done; CUDA entries queue on
// the stream and return at once.
struct Exec {
    void (*parallel_for)(RangeFn, const void* params, int64_t n, int64_t grain, int threads);
    int threads;              // <= 0: all that the process may use
    void* stream;             // cudaStream_t, or null
    int (*slot)() = nullptr;  // inside a block: which of the loop's threads this is, 0 to threads - 1
};

struct Backend {
    const char* name;          // "avx2"
    const char* device;        // "cpu" or "cuda"
    const char* needs;         // what it needs, for people
    const char* (*missing)();  // null if it can run here, else the reason why not
    void* (*allocate)(size_t bytes);
    void (*release)(void* memory);
    void (*upload)(void* to, const void* from, size_t bytes, void* stream);
    void (*download)(void* to, const void* from, size_t bytes, void* stream);  // returns when done
    // Null where the backend works in host memory. Else: checks that `memory`, which others allocated, is of its
    // device, and waits for what they queued on `stream` (null: nothing).
    void (*adopt)(const void* memory, void* stream) = nullptr;

    // One pointer per op; null where this backend has no twin of it.
    void (*lungs_paint)(const LungsPassParams&, const Exec&);
    void (*lungs_shrink)(const LungsPassParams&, const Exec&);
    void (*null)(const NullParams&, const Exec&);
    void (*resample_argmax)(const ResampleArgmaxParams&, const Exec&);
    void (*resample_axis)(const ResampleAxisParams&, const Exec&);
    void (*spline_axis)(const SplineAxisParams&, const Exec&);
    void (*window_hu)(const WindowHuParams&, const Exec&);
    void (*argmax)(const ArgmaxParams&, const Exec&);
    void (*gather)(const GatherParams&, const Exec&);
    void (*stitch)(const StitchParams&, const Exec&);
    void (*stitch_plane)(const StitchPlaneParams&, const Exec&);
    void (*stitch_half)(const StitchHalfParams&, const Exec&);
    void (*stitch_half_plane)(const StitchHalfPlaneParams&, const Exec&);
    void (*activation)(const ActivationParams&, const Exec&) = nullptr;
    void (*binary)(const BinaryParams&, const Exec&) = nullptr;
    void (*conv3d)(const Conv3dParams&, const Exec&) = nullptr;
    void (*conv_blocked)(const ConvBlockedParams&, const Exec&) = nullptr;
    void (*conv_transpose3d)(const ConvTranspose3dParams&, const Exec&) = nullptr;
    void (*conv_winograd)(const ConvWinogradParams&, const Exec&) = nullptr;
    void (*copy_channels)(const CopyChannelsParams&, const Exec&) = nullptr;
    void (*group_norm)(const GroupNormParams&, const Exec&) = nullptr;
    void (*pad3d)(const Pad3dParams&, const Exec&) = nullptr;
    void (*pointwise_depthwise)(const PointwiseDepthwiseParams&, const Exec&) = nullptr;
    void (*pool3d)(const Pool3dParams&, const Exec&) = nullptr;
    void (*resize3d)(const Resize3dParams&, const Exec&) = nullptr;
    void (*norm_blocked)(const NormBlockedParams&, const Exec&) = nullptr;
    void (*reorder)(const ReorderParams&, const Exec&) = nullptr;
    void (*pool_blocked)(const PoolBlockedParams&, const Exec&) = nullptr;
    void (*resize_blocked)(const ResizeBlockedParams&, const Exec&) = nullptr;
    void (*activation_blocked)(const ActivationBlockedParams&, const Exec&) = nullptr;
    void (*binary_blocked)(const BinaryBlockedParams&, const Exec&) = nullptr;
    void (*conv_transpose_blocked)(const ConvTransposeBlockedParams&, const Exec&) = nullptr;
    void (*softmax)(const SoftmaxParams&, const Exec&) = nullptr;
    void (*spatial_pyramid)(const SpatialPyramidParams&, const Exec&) = nullptr;
    void (*surface_border)(const SurfaceBorderParams&, const Exec&) = nullptr;
    void (*surface_pack)(const SurfacePackParams&, const Exec&) = nullptr;
    void (*surface_scan)(const SurfaceScanParams&, const Exec&) = nullptr;
    void (*surface_search)(const SurfaceSearchParams&, const Exec&) = nullptr;
};

}  // namespace covfast
