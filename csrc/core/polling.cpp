#include "core/polling.h"

#include <thread>

#include "core/threads.h"

namespace covfast {
namespace {

thread_local const PollScope* current = nullptr;

struct Watched {
    RangeFn fn;
    const void* params;
    const PollScope* scope;
    std::thread::id caller;
};

void run_watched(const void* params, int64_t begin, int64_t end) {
    const Watched& watched = *static_cast<const Watched*>(params);
    watched.fn(watched.params, begin, end);
    // The other threads of the pool stop when this one throws.
    if (std::this_thread::get_id() == watched.caller) watched.scope->poll();
}

}  // namespace

PollScope::PollScope(const Progress& progress, const char* stage, int64_t done, int64_t total)
    : progress_(progress), stage_(stage), done_(done), total_(total), outer_(current) {
    current = this;
}

PollScope::~PollScope() { current = outer_; }

void polled_parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads) {
    if (current == nullptr) return parallel_for(fn, params, n, grain, threads);
    const Watched watched{fn, params, current, std::this_thread::get_id()};
    parallel_for(run_watched, &watched, n, grain, threads);
}

}  // namespace covfast
