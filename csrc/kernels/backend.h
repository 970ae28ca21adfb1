// The ordered list of backends (cuda, avx512_bf16, avx512, avx2, baseline), how one is chosen, and how an op runs on
// it.
#pragma once
#include <string>
#include <vector>

#include "core/polling.h"
#include "core/threads.h"
#include "kernels/table.h"

namespace covfast {

// All entries, best first, whether or not they can run here.
const std::vector<const Backend*>& backends();

// Chooses the backend for device "auto", "cpu", "cuda" or "cuda:N"; COVFAST_BACKEND forces one entry.
// "auto" takes the best that runs here and has all ops named in `needs`. Throws DEVICE if the name is unknown, the
// entry cannot run here, or the two contradict each other, UNAVAILABLE if the entry lacks an op; an explicit device
// never falls back.
const Backend& choose_backend(const std::string& device, const std::vector<const char*>& needs = {});

// One op of the table, by name.
struct OpEntry {
    const char* name;
    bool (*is_present)(const Backend&);
};
const std::vector<OpEntry>& ops();

// The first op of `needs` that the backend lacks, or null.
const char* lacking(const Backend& backend, const std::vector<const char*>& needs);

// What every op runs in: a backend, a number of threads, a stream.
struct Context {
    const Backend* backend;
    int threads = 0;
    void* stream = nullptr;
};

// Name of the backend whose op ran last on this thread ("" if none): lets a test prove that the forced one ran.
const char* last_backend();
void forget_last_backend();

[[noreturn]] void fail_no_twin(const Backend& backend, const char* op);
void note_backend(const Backend& backend);

// Runs one op of the table. Throws UNAVAILABLE if the backend has no twin of it.
template <class Op, class Params>
void run(const Context& context, Op Backend::* op, const char* name, const Params& params) {
    const Backend& backend = *context.backend;
    if (backend.*op == nullptr) fail_no_twin(backend, name);
    note_backend(backend);
    (backend.*op)(params, Exec{polled_parallel_for, context.threads, context.stream, thread_slot});
}

}  // namespace covfast
