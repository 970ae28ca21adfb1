#include "core/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "core/error.h"

namespace covfast {
namespace {

// One call of parallel_for. Lives on the caller's stack: the caller leaves only when no worker is inside.
struct Job {
    RangeFn fn;
    const void* params;
    int64_t n, grain;
    int spare_workers;   // guarded by Pool::mutex
    int active_workers;  // guarded by Pool::mutex
    int started_workers;  // guarded by Pool::mutex
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // written once, by whoever sets `failed` first
};

constexpr int kMostThreads = 1024;

thread_local bool inside_block = false;
thread_local int slot = 0;

void run_blocks(Job& job) {
    inside_block = true;
    for (;;) {
        int64_t begin = job.next.fetch_add(job.grain, std::memory_order_relaxed);
        if (begin >= job.n || job.failed.load(std::memory_order_relaxed)) break;
        try {
            job.fn(job.params, begin, std::min(begin + job.grain, job.n));
        } catch (...) {
            if (!job.failed.exchange(true)) job.error = std::current_exception();
        }
    }
    inside_block = false;
}

class Pool {
public:
    void run(Job& job, int threads) {
        int64_t blocks = (job.n + job.grain - 1) / job.grain;
        job.spare_workers = static_cast<int>(std::min<int64_t>(threads, blocks)) - 1;
        job.active_workers = 0;
        slot = 0;
        if (job.spare_workers > 0) {
            std::lock_guard lock(mutex_);
            start_workers(job.spare_workers);
            jobs_.push_back(&job);
            wake_.notify_all();
        }
        run_blocks(job);
        std::unique_lock lock(mutex_);
        jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
        done_.wait(lock, [&] { return job.active_workers == 0; });
    }

private:
    // A refusal (a limit on threads or memory) is no error: the caller works alone, or with fewer, to the same bits.
    void start_workers(int wanted) {
        try {
            for (; workers_ < wanted; ++workers_) std::thread([this] { work(); }).detach();
        } catch (const std::system_error&) {
        }
    }

    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return !jobs_.empty(); });
            Job* job = jobs_.front();
            ++job->active_workers;
            slot = ++job->started_workers;
            if (--job->spare_workers == 0) jobs_.pop_front();
            lock.unlock();
            run_blocks(*job);
            lock.lock();
            jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());  // no blocks are left to hand out
            if (--job->active_workers == 0) done_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::deque<Job*> jobs_;
    int workers_ = 0;
};

// Never destroyed: detached workers may outlive static destruction. After fork the child has none of the parent's
// threads and perhaps a locked mutex, so it takes a new pool and leaves the old one where it lies.
std::atomic<Pool*> process_pool{nullptr};
std::once_flag process_pool_once;

Pool& pool() {
    std::call_once(process_pool_once, [] {
        process_pool = new Pool;
        pthread_atfork(nullptr, nullptr, [] {
            process_pool = new Pool;
            inside_block = false;
        });
    });
    return *process_pool;
}

// CPUs granted by the cgroup quota (v2, then v1), rounded up; a large number where there is none.
int quota_cpus() {
    double quota = -1, period = 100000;
    std::string first;
    if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> first >> period) {
        if (first != "max") quota = std::strtod(first.c_str(), nullptr);
    } else if (std::ifstream v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"); v1 >> quota) {
        std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
    }
    if (quota <= 0 || period <= 0) return 1 << 20;
    return static_cast<int>((quota + period - 1) / period);
}

}  // namespace

int hardware_threads() {
    if (const char* text = std::getenv("COVFAST_NUM_THREADS"); text != nullptr && *text != '\0') {
        int wanted = 0;
        const char* end = text + std::strlen(text);
        const auto [stop, status] = std::from_chars(text, end, wanted);
        COVFAST_REQUIRE(status == std::errc() && stop == end && wanted >= 1 && wanted <= kMostThreads, VALUE_RANGE,
                        "COVFAST_NUM_THREADS: got '", text, "', expected a number from 1 to ", kMostThreads);
        return wanted;
    }
    cpu_set_t mask;
    int affinity = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 0;
    if (affinity < 1) affinity = std::max(1u, std::thread::hardware_concurrency());
    static const int quota = quota_cpus();
    return std::max(1, std::min(affinity, quota));
}

int thread_slot() { return slot; }

void parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads) {
    if (n <= 0) return;
    Job job{fn, params, n, std::max<int64_t>(1, grain), 0, 0, 0, {}, {}, nullptr};
    threads = threads <= 0 ? hardware_threads() : std::min(threads, kMostThreads);
    if (inside_block || threads == 1 || job.n <= job.grain) {
        const bool was_inside = inside_block;
        const int outer_slot = std::exchange(slot, 0);
        run_blocks(job);
        inside_block = was_inside, slot = outer_slot;
    } else {
        pool().run(job, threads);
    }
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace covfast
