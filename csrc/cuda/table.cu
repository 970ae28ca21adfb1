// The CUDA backend table. The same source, compiled by the host compiler with the shim, is the test-only backend
// "cuda_on_cpu".
#include <cstdlib>
#include <cstring>

#include "cpu/isa.h"
#include "cuda/launch.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {

void lungs_paint(const LungsPassParams&, const Exec&);
void lungs_shrink(const LungsPassParams&, const Exec&);
void null(const NullParams&, const Exec&);
void resample_axis(const ResampleAxisParams&, const Exec&);
void window_hu(const WindowHuParams&, const Exec&);

namespace {

#ifdef COVFAST_CUDA_SHIM_BUILD

const char* missing() { return nullptr; }
void* allocate(size_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release(void* memory) { std::free(memory); }
void upload(void* to, const void* from, size_t bytes, void*) { std::memcpy(to, from, bytes); }
void download(void* to, const void* from, size_t bytes, void*) { std::memcpy(to, from, bytes); }
constexpr const char* kName = "cuda_on_cpu";
constexpr const char* kDevice = "cpu";
constexpr const char* kNeeds = "a test build; runs the CUDA kernels' source on the CPU";

#else

const char* missing() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) return cudaGetErrorString(status);
    if (count < 1) return "no CUDA device";
    int major = 0;
    const cudaError_t asked = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (asked != cudaSuccess) return cudaGetErrorString(asked);
    return major >= 8 ? nullptr : "the GPU's compute capability is below 8.0";
}

void* allocate(size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "allocate");
    return memory;
}

void release(void* memory) { cudaFree(memory); }

void upload(void* to, const void* from, size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "upload");
}

void download(void* to, const void* from, size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)), "download");
    check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "download");
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
    .lungs_paint = lungs_paint,
    .lungs_shrink = lungs_shrink,
    .null = null,
    .resample_axis = resample_axis,
    .window_hu = window_hu,
};

}  // namespace

const Backend& table() { return kTable; }

}  // namespace covfast::COVFAST_ISA
