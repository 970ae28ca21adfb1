// The CUDA backend table. The same source, compiled by the host compiler with the shim, is the test-only backend
// "cuda_on_cpu".
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"
#include "cuda/launch.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {

void lungs_paint(const LungsPassParams&, const Exec&);
void lungs_shrink(const LungsPassParams&, const Exec&);
void null(const NullParams&, const Exec&);
void resample_argmax(const ResampleArgmaxParams&, const Exec&);
void resample_axis(const ResampleAxisParams&, const Exec&);
void spline_axis(const SplineAxisParams&, const Exec&);
void surface_border(const SurfaceBorderParams&, const Exec&);
void surface_pack(const SurfacePackParams&, const Exec&);
void surface_scan(const SurfaceScanParams&, const Exec&);
void surface_search(const SurfaceSearchParams&, const Exec&);
void window_hu(const WindowHuParams&, const Exec&);
void argmax(const ArgmaxParams&, const Exec&);
void gather(const GatherParams&, const Exec&);
void stitch(const StitchParams&, const Exec&);
void stitch_plane(const StitchPlaneParams&, const Exec&);
void stitch_half(const StitchHalfParams&, const Exec&);
void stitch_half_plane(const StitchHalfPlaneParams&, const Exec&);

namespace {

#ifdef COVFAST_CUDA_SHIM_BUILD

const char* missing() { return nullptr; }
void* allocate(size_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release(void* memory) { std::free(memory); }
void upload(void* to, const void* from, size_t bytes, void*) {
    if (bytes != 0) std::memcpy(to, from, bytes);  // of nothing, both may be null
}
void download(void* to, const void* from, size_t bytes, void* stream) { upload(to, from, bytes, stream); }
void adopt(const void*, void*) {}
constexpr const char* kName = "cuda_on_cpu";
constexpr const char* kDevice = "cpu";
constexpr const char* kNeeds = "a test build; runs the CUDA kernels' source on the CPU";

#else

const char* missing() {
    static const pid_t first = getpid();  // CUDA is initialised below
    if (getpid() != first) return "this process was forked from one that used CUDA; start it by spawn";
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) return cudaGetErrorString(status);
    if (count < 1) return "no CUDA device";
    int device = 0, major = 0;
    if (cudaGetDevice(&device) == cudaSuccess && device != 0) return "the current CUDA device is not the first";
    const cudaError_t asked = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (asked != cudaSuccess) return cudaGetErrorString(asked);
    return major >= 8 ? nullptr : "the GPU's compute capability is below 8.0";
}

constexpr uint64_t kKeptBytes = uint64_t(256) << 20;  // both maps of a CT and the workspace of their surfaces

// Memory that was given back and is kept for the next call: asking the driver for some tens of MiB takes longer than
// the kernels that use them. Null where the device has no pools.
cudaMemPool_t pool() {
    static const cudaMemPool_t made = []() -> cudaMemPool_t {
        int device = 0, has_pools = 0;
        check(cudaGetDevice(&device), "allocate");
        check(cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, device), "allocate");
        if (!has_pools) return nullptr;
        cudaMemPoolProps props{};
        props.allocType = cudaMemAllocationTypePinned;
        props.location.type = cudaMemLocationTypeDevice;
        props.location.id = device;
        cudaMemPool_t pool = nullptr;
        uint64_t kept = kKeptBytes;
        check(cudaMemPoolCreate(&pool, &props), "allocate");
        check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "allocate");
        return pool;
    }();
    return made;
}

// In the order of the null stream, on which everything runs.
void* allocate(size_t bytes) {
    void* memory = nullptr;
    check(pool() != nullptr ? cudaMallocFromPoolAsync(&memory, bytes, pool(), nullptr) : cudaMalloc(&memory, bytes),
          "allocate");
    return memory;
}

void release(void* memory) { pool() != nullptr ? cudaFreeAsync(memory, nullptr) : cudaFree(memory); }

void upload(void* to, const void* from, size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "upload");
}

void download(void* to, const void* from, size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)), "download");
    check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "download");
}

void adopt(const void* memory, void* stream) {
    cudaPointerAttributes owner{};
    int device = 0;
    check(cudaPointerGetAttributes(&owner, memory), "adopt");
    check(cudaGetDevice(&device), "adopt");
    const bool is_ours =
        owner.type == cudaMemoryTypeManaged || (owner.type == cudaMemoryTypeDevice && owner.device == device);
    if (!is_ours) fail(Code::DEVICE, "array: got memory of another device, expected that of cuda:", device);
    if (stream != nullptr) check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "adopt");
}

constexpr const char* kName = "cuda";
constexpr const char* kDevice = "cuda";
constexpr const char* kNeeds = "an NVIDIA GPU of compute capability 8.0 or newer and its driver";

#endif

constexpr Backend kTable = {
    .name = kName,
    .device = kDevice,
    .needs = kNeeds,
    .missing = missing,
    .allocate = allocate,
    .release = release,
    .upload = upload,
    .download = download,
    .adopt = adopt,
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
    .surface_border = surface_border,
    .surface_pack = surface_pack,
    .surface_scan = surface_scan,
    .surface_search = surface_search,
};

}  // namespace

const Backend& table() { return kTable; }

}  // namespace covfast::COVFAST_ISA
