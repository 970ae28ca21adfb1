// One thread pool per process. Work is cut into fixed blocks of `grain` items whatever the number of threads, so that a
// reduction which combines its blocks in order gives the same bits for any number of threads.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/range.h"

namespace covfast {

// CPUs that this process may use: affinity mask, cgroup quota, COVFAST_NUM_THREADS. At least 1.
int hardware_threads();

// Calls fn(params, begin, end) for every block of [0, n); the calling thread takes part and returns when all are done.
// threads <= 0 means hardware_threads(). Called from inside a block, it runs on that thread alone. An exception thrown
// by a block stops the blocks not yet begun and is rethrown here. Safe after fork: the child starts a pool of its own.
void parallel_for(RangeFn fn, const void* params, int64_t n, int64_t grain, int threads);

// Inside a block: which of the loop's threads runs it, from 0 to threads - 1; each has its own scratch memory by this.
// 0 outside, and for a loop that runs on one thread.
int thread_slot();

// While it lives, threads - 1 workers stay awake for the loops of the thread that made it: a loop then begins within a
// microsecond, where waking a thread takes tens. For stretches of many short loops. Workers that wait long give way to
// whoever wants the CPU. A team inside a block, or within another one, changes nothing.
class Team {
public:
    explicit Team(int threads);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

private:
    void* state_;  // null: none
};

// GOMP_parallel of an OpenMP runtime in this process: calls body(data) on so many threads, the caller's among them.
using OpenMpParallel = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);

// While it lives, loops of the thread that made it run on the threads of an OpenMP runtime that another library
// brought. For work in turns with that library's: after a loop its threads stay awake for milliseconds, on the cores
// that workers of the pool would want.
class OpenMpTeam {
public:
    // threads: as many as the library's own loops have, so that none is ended or begun between its loops and ours.
    OpenMpTeam(OpenMpParallel parallel, int threads);
    ~OpenMpTeam();
    OpenMpTeam(const OpenMpTeam&) = delete;
    OpenMpTeam& operator=(const OpenMpTeam&) = delete;

private:
    OpenMpParallel outer_parallel_;
    int outer_threads_;
};

// The same for a callable body(begin, end); not for code compiled per instruction set.
template <class Body>
void parallel_for(int64_t n, int64_t grain, int threads, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    parallel_for([](const void* p, int64_t begin, int64_t end) { (*static_cast<const Plain*>(p))(begin, end); },
                 static_cast<const void*>(&body), n, grain, threads);
}

}  // namespace covfast
