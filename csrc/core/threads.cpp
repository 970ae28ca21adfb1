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

constexpr int kMostThreads = 1024;
constexpr int kMostShares = 16;

// Blocks that one thread begins with, in a cache line of its own.
struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
};

// One call of parallel_for. Lives on the caller's stack: the caller leaves only when no worker is inside.
struct Job {
    RangeFn fn;
    const void* params;
    int64_t n, grain;
    int threads;
    int shares = 1;
    int spare_workers = 0;    // guarded by Pool::mutex
    int active_workers = 0;   // guarded by Pool::mutex
    int started_workers = 0;  // guarded by Pool::mutex
    Share share[kMostShares];
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // written once, by whoever sets `failed` first

    Job(RangeFn fn_, const void* params_, int64_t n_, int64_t grain_, int threads_)
        : fn(fn_), params(params_), n(n_), grain(grain_), threads(threads_) {
        const int64_t blocks = (n + grain - 1) / grain;
        shares = static_cast<int>(std::min<int64_t>({threads, kMostShares, blocks}));
        for (int64_t i = 0; i < shares; ++i) {
            share[i].next.store(blocks * i / shares, std::memory_order_relaxed);
            share[i].end = blocks * (i + 1) / shares;
        }
    }
};

thread_local bool inside_block = false;
thread_local int slot = 0;

void run_block(Job& job, int64_t block) {
    try {
        const int64_t begin = block * job.grain;
        job.fn(job.params, begin, std::min(begin + job.grain, job.n));
    } catch (...) {
        if (!job.failed.exchange(true)) job.error = std::current_exception();
    }
}

// A thread begins with its own share, the same in every loop, so that it finds in its cache what it wrote in the last
// one; then it helps the others.
void run_blocks(Job& job) {
    inside_block = true;
    for (int i = 0; i < job.shares; ++i) {
        Share& share = job.share[(slot + i) % job.shares];
        for (;;) {
            const int64_t block = share.next.fetch_add(1, std::memory_order_relaxed);
            if (block >= share.end || job.failed.load(std::memory_order_relaxed)) break;
            run_block(job, block);
        }
    }
    inside_block = false;
}

class Pool {
public:
    // Lets up to `workers` workers of the pool begin with the job.
    void post(Job& job, int workers) {
        if (workers <= 0) return;
        std::lock_guard lock(mutex_);
        job.spare_workers = workers;
        start_workers(workers);
        jobs_.push_back(&job);
        wake_.notify_all();
    }

    // Waits until no worker is inside the job; none begins any more.
    void finish(Job& job) {
        std::unique_lock lock(mutex_);
        jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
        done_.wait(lock, [&] { return job.active_workers == 0; });
    }

    void run(Job& job) {
        const int64_t blocks = (job.n + job.grain - 1) / job.grain;
        post(job, static_cast<int>(std::min<int64_t>(job.threads, blocks)) - 1);
        slot = 0;
        run_blocks(job);
        finish(job);
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

// Waits for another thread: awake at first, then giving way to whoever wants the CPU.
class Patience {
public:
    void wait() {
        if (++turns_ < kAwake) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        } else {
            std::this_thread::yield();
        }
    }

private:
    static constexpr int kAwake = 40000;  // about a millisecond
    int turns_ = 0;
};

// Members wait for rounds. A round is open while its number is odd; members enter only an open one, and it ends when
// it is closed and nobody is inside. Number and count are one word, so that nobody enters a round that has closed.
class TeamState {
public:
    explicit TeamState(int threads)
        : threads_(threads), waiting_(member, this, threads - 1, 1, threads), pool_(pool()) {
        pool_.post(waiting_, threads - 1);
        current_ = this;
    }
    // In a child that was forked meanwhile there are no members to wait for.
    ~TeamState() {
        current_ = nullptr;
        has_ended_.store(true, std::memory_order_release);
        if (&pool_ == &pool()) pool_.finish(waiting_);
    }
    // The calling thread's, unless it is that of the process that this one was forked from.
    static TeamState* current() { return current_ != nullptr && &current_->pool_ == &pool() ? current_ : nullptr; }
    int threads() const { return threads_; }

    void run(Job& job) {
        job_ = &job;
        round_.fetch_add(kRound, std::memory_order_release);  // opens
        slot = 0;
        run_blocks(job);
        round_.fetch_add(kRound, std::memory_order_release);  // closes
        Patience patience;
        while (round_.load(std::memory_order_acquire) % kRound != 0 && &pool_ == &pool()) patience.wait();
    }

private:
    static constexpr uint64_t kRound = 1 << 16;  // above the count of members inside

    static void member(const void* params, int64_t, int64_t) {
        const_cast<TeamState*>(static_cast<const TeamState*>(params))->serve();
    }

    void serve() {
        uint64_t served = 0;
        Patience patience;
        while (!has_ended_.load(std::memory_order_acquire)) {
            uint64_t seen = round_.load(std::memory_order_acquire);
            const uint64_t number = seen / kRound;
            if (number % 2 == 0 || number == served ||
                !round_.compare_exchange_strong(seen, seen + 1, std::memory_order_acquire)) {
                patience.wait();
                continue;
            }
            served = number;
            const int mine = slot;
            if (mine < job_->threads) run_blocks(*job_);
            inside_block = true;
            round_.fetch_sub(1, std::memory_order_release);
            patience = Patience();
        }
    }

    int threads_;
    Job waiting_;
    Job* job_ = nullptr;
    std::atomic<uint64_t> round_{0};
    std::atomic<bool> has_ended_{false};
    Pool& pool_;
    static thread_local TeamState* current_;
};

thread_local TeamState* TeamState::current_ = nullptr;

thread_local OpenMpParallel open_mp_parallel = nullptr;
thread_local int open_mp_threads = 0;

// A runtime may bring fewer threads than it was asked for, or more than the job wants.
void run_on_open_mp(Job& job) {
    struct Loop {
        Job& job;
        const std::thread::id caller;
        std::atomic<int> others{0};
    } loop{job, std::this_thread::get_id()};
    const auto body = [](void* p) {
        Loop& all = *static_cast<Loop*>(p);
        const int mine = std::this_thread::get_id() == all.caller ? 0 : ++all.others;
        if (mine >= all.job.threads) return;
        slot = mine;
        run_blocks(all.job);
    };
    open_mp_parallel(body, &loop, static_cast<unsigned>(open_mp_threads), 0);
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

Team::Team(int threads) : state_(nullptr) {
    threads = threads <= 0 ? hardware_threads() : std::min(threads, kMostThreads);
    if (threads > 1 && !inside_block && TeamState::current() == nullptr) state_ = new TeamState(threads);
}

Team::~Team() { delete static_cast<TeamState*>(state_); }

OpenMpTeam::OpenMpTeam(OpenMpParallel parallel, int threads)
    : outer_parallel_(std::exchange(open_mp_parallel, parallel)),
      outer_threads_(std::exchange(open_mp_threads, threads)) {}

OpenMpTeam::~OpenMpTeam() { open_mp_parallel = outer_parallel_, open_mp_threads = outer_threads_; }

void parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads) {
    if (n <= 0) return;
    grain = std::max<int64_t>(1, grain);
    threads = threads <= 0 ? hardware_threads() : std::min(threads, kMostThreads);
    const bool is_alone = inside_block || threads == 1 || n <= grain;
    Job job(fn, params, n, grain, is_alone ? 1 : threads);
    TeamState* const team = TeamState::current();
    if (is_alone) {
        const bool was_inside = inside_block;
        const int outer_slot = std::exchange(slot, 0);
        run_blocks(job);
        inside_block = was_inside, slot = outer_slot;
    } else if (team != nullptr && threads <= team->threads()) {
        team->run(job);
    } else if (open_mp_parallel != nullptr && threads <= open_mp_threads) {
        run_on_open_mp(job);
    } else {
        pool().run(job);
    }
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace covfast
