#include "kernels/backend.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

namespace covfast {

// Each table.cpp defines one of these.
#define COVFAST_TABLE(isa)  \
    namespace isa {         \
    const Backend& table(); \
    }
COVFAST_TABLE(baseline)
#ifdef COVFAST_X86
COVFAST_TABLE(avx2)
COVFAST_TABLE(avx512)
COVFAST_TABLE(avx512_bf16)
#endif
#ifdef COVFAST_CUDA
COVFAST_TABLE(cuda)
#endif
#ifdef COVFAST_CUDA_SHIM
COVFAST_TABLE(cuda_on_cpu)
#endif

namespace {

thread_local const char* last_backend_name = "";

std::string names() {
    std::string text;
    for (const Backend* backend : backends()) text += (text.empty() ? "" : ", ") + std::string(backend->name);
    return text;
}

// "auto", "cpu" or "cuda". Only the first GPU is driven so far: another number is refused, not taken for 0.
std::string kind_of(const std::string& device) {
    if (device == "auto" || device == "cpu" || device == "cuda") return device;
    const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 9 &&
                          device.find_first_not_of("0123456789", 5) == std::string::npos;
    COVFAST_REQUIRE(numbered, DEVICE, "device: got '", device, "', expected 'auto', 'cpu', 'cuda' or 'cuda:N'");
    COVFAST_REQUIRE(std::stoi(device.substr(5)) == 0, DEVICE, "device: got '", device,
                    "', expected 'cuda' or 'cuda:0'; CUDA_VISIBLE_DEVICES chooses which GPU is the first");
    return "cuda";
}

}  // namespace

const std::vector<const Backend*>& backends() {
    static const std::vector<const Backend*> list = {
#ifdef COVFAST_CUDA
        &cuda::table(),
#endif
#ifdef COVFAST_X86
        &avx512_bf16::table(), &avx512::table(), &avx2::table(),
#endif
        &baseline::table(),
#ifdef COVFAST_CUDA_SHIM
        &cuda_on_cpu::table(),
#endif
    };
    return list;
}

const std::vector<OpEntry>& ops() {
#define COVFAST_OP(op)                                                    \
    {                                                                     \
        #op, [](const Backend& backend) { return backend.op != nullptr; } \
    }
    static const std::vector<OpEntry> list = {
        COVFAST_OP(null),
        COVFAST_OP(resample_axis),
        COVFAST_OP(window_hu),
        COVFAST_OP(activation),
        COVFAST_OP(pool3d),
        COVFAST_OP(conv_transpose3d),
        COVFAST_OP(group_norm),
        COVFAST_OP(pad3d),
        COVFAST_OP(binary),
        COVFAST_OP(conv3d),
        COVFAST_OP(conv_winograd),
        COVFAST_OP(copy_channels),
        COVFAST_OP(resize3d),
        COVFAST_OP(norm_blocked),
        COVFAST_OP(reorder),
        COVFAST_OP(pool_blocked),
        COVFAST_OP(resize_blocked),
        COVFAST_OP(activation_blocked),
        COVFAST_OP(binary_blocked),
        COVFAST_OP(conv_transpose_blocked),
        COVFAST_OP(softmax),
        COVFAST_OP(spatial_pyramid),
        COVFAST_OP(pointwise_depthwise),
        COVFAST_OP(lungs_shrink),
        COVFAST_OP(lungs_paint),
        COVFAST_OP(surface_scan),
        COVFAST_OP(surface_pack),
        COVFAST_OP(surface_border),
        COVFAST_OP(surface_search),
        COVFAST_OP(conv_blocked),
        COVFAST_OP(argmax),
        COVFAST_OP(gather),
        COVFAST_OP(stitch),
        COVFAST_OP(stitch_plane),
        COVFAST_OP(stitch_half),
        COVFAST_OP(stitch_half_plane),
        COVFAST_OP(resample_argmax),
        COVFAST_OP(spline_axis),
    };
#undef COVFAST_OP
    return list;
}

const char* lacking(const Backend& backend, const std::vector<const char*>& needs) {
    for (const char* need : needs) {
        const auto same = [need](const OpEntry& op) { return std::string_view(op.name) == need; };
        const auto op = std::find_if(ops().begin(), ops().end(), same);
        if (op == ops().end() || !op->is_present(backend)) return need;
    }
    return nullptr;
}

const Backend& choose_backend(const std::string& device, const std::vector<const char*>& needs) {
    const std::string kind = kind_of(device);
    if (const char* forced = std::getenv("COVFAST_BACKEND"); forced != nullptr && *forced != '\0') {
        for (const Backend* backend : backends()) {
            if (std::string(backend->name) != forced) continue;
            const char* reason = backend->missing();
            COVFAST_REQUIRE(reason == nullptr, DEVICE, "COVFAST_BACKEND: got '", forced,
                            "', expected a backend that runs here; ", reason);
            COVFAST_REQUIRE(kind == "auto" || kind == backend->device, DEVICE, "device: got '", device, "', expected '",
                            backend->device, "', because COVFAST_BACKEND forces '", forced, "'");
            if (const char* op = lacking(*backend, needs)) fail_no_twin(*backend, op);
            return *backend;
        }
        fail(Code::DEVICE, "COVFAST_BACKEND: got '", forced, "', expected one of ", names());
    }
    std::string reasons;
    for (const Backend* backend : backends()) {
        if (kind != "auto" && kind != backend->device) continue;
        const char* reason = backend->missing();
        const char* op = reason == nullptr ? lacking(*backend, needs) : nullptr;
        if (reason == nullptr && op == nullptr) return *backend;
        if (op != nullptr) {
            if (kind != "auto") fail_no_twin(*backend, op);
            continue;
        }
        reasons += std::string("; ") + backend->name + ": " + reason;
    }
    fail(Code::DEVICE, "device: got '", device, "', expected one that is present here",
         reasons.empty() ? "; covfast was built without CUDA" : reasons.c_str());
}

const char* last_backend() { return last_backend_name; }

void forget_last_backend() { last_backend_name = ""; }

void note_backend(const Backend& backend) { last_backend_name = backend.name; }

void fail_no_twin(const Backend& backend, const char* op) {
    fail(Code::UNAVAILABLE, "backend: got '", backend.name, "', expected one that has the op '", op,
         "'; use device=\"cpu\"");
}

}  // namespace covfast
