// Memory of one backend: move-only, so that no copy is made by accident.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/error.h"
#include "kernels/backend.h"

namespace covfast {

template <class T>
class DeviceArray {
public:
    DeviceArray(const Backend& backend, int64_t count)
        : backend_(&backend), memory_(backend.allocate(std::max<size_t>(1, count * sizeof(T)))) {
        COVFAST_REQUIRE(memory_ != nullptr, MEMORY_LIMIT, "memory: got a refusal for ", count * sizeof(T),
                        " bytes, expected that much free memory");
    }
    ~DeviceArray() {
        if (memory_ != nullptr) backend_->release(memory_);
    }
    DeviceArray(DeviceArray&& other) noexcept
        : backend_(other.backend_), memory_(std::exchange(other.memory_, nullptr)) {}
    DeviceArray& operator=(DeviceArray&& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(memory_, other.memory_);
        return *this;
    }

    T* data() const { return static_cast<T*>(memory_); }
    void upload(const T* from, size_t bytes, void* stream = nullptr) { backend_->upload(memory_, from, bytes, stream); }
    void download(T* to, size_t bytes, void* stream = nullptr) const { backend_->download(to, memory_, bytes, stream); }

private:
    const Backend* backend_;
    void* memory_;
};

}  // namespace covfast
