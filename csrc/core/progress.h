// How a caller watches and stops a long native call. Polled by the calling thread, once a tile or oftener than every
// 200 ms; also between the blocks that it runs of a parallel loop, never from another thread.
#pragma once
#include <atomic>
#include <cstdint>

#include "core/error.h"

namespace covfast {

struct Progress {
    // Set from any thread to stop the call.
    const std::atomic<bool>* cancel = nullptr;
    // Called with the stage's name and how much of it is done. May throw to stop the call (the Python binding raises
    // KeyboardInterrupt here).
    void (*report)(void* user, const char* stage, int64_t done, int64_t total) = nullptr;
    void* user = nullptr;

    void poll(const char* stage, int64_t done, int64_t total) const {
        if (cancel != nullptr && cancel->load(std::memory_order_relaxed))
            fail(Code::CANCELLED, "cancel: got a request to stop in stage '", stage, "', expected none");
        if (report != nullptr) report(user, stage, done, total);
    }
};

}  // namespace covfast
