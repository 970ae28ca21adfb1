#include "core/polling.h"

#include <algorithm>
#include <chrono>

#include "core/threads.h"

namespace covfast {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kFirstBlocks = 64;  // of the first slice: most ops end within it
constexpr std::chrono::milliseconds kSlice{20};

thread_local const PollScope* current = nullptr;

struct Shifted {
    RangeFn fn;
    const void* params;
    int64_t offset;
};

void run_shifted(const void* params, int64_t begin, int64_t end) {
    const Shifted& shifted = *static_cast<const Shifted*>(params);
    shifted.fn(shifted.params, begin + shifted.offset, end + shifted.offset);
}

}  // namespace

PollScope::PollScope(const Progress& progress, const char* stage, int64_t done, int64_t total)
    : progress_(progress), stage_(stage), done_(done), total_(total), outer_(current) {
    current = this;
}

PollScope::~PollScope() { current = outer_; }

void polled_parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads) {
    grain = std::max<int64_t>(1, grain);
    if (current == nullptr || n / grain <= kFirstBlocks) return parallel_for(fn, params, n, grain, threads);
    int64_t slice = kFirstBlocks * grain;  // a multiple of the grain, so that the blocks stay the same
    for (int64_t done = 0; done < n;) {
        const Clock::time_point begin = Clock::now();
        const Shifted shifted{fn, params, done};
        parallel_for(run_shifted, &shifted, std::min(slice, n - done), grain, threads);
        done += slice;
        current->poll();
        if (Clock::now() - begin < kSlice / 2) slice *= 2;
    }
}

}  // namespace covfast
