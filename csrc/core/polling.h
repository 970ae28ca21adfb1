// Lets a long op be watched and stopped without its kernel knowing: while a PollScope lives on a thread, that thread
// polls after each block that it runs of its parallel loops. The blocks are those of parallel_for, so the bits too.
#pragma once
#include <cstdint>

#include "core/progress.h"
#include "core/range.h"

namespace covfast {

class PollScope {
public:
    // What is reported while the scope lives; refers to `progress`.
    PollScope(const Progress& progress, const char* stage, int64_t done, int64_t total);
    ~PollScope();
    PollScope(const PollScope&) = delete;
    PollScope& operator=(const PollScope&) = delete;

    void poll() const { progress_.poll(stage_, done_, total_); }

private:
    const Progress& progress_;
    const char* stage_;
    int64_t done_, total_;
    const PollScope* outer_;
};

// parallel_for, polling where a scope lives on the calling thread. Throws what a block or the poll throws.
void polled_parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads);

}  // namespace covfast
