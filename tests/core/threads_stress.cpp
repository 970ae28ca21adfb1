// Hammers the thread pool from several threads at once; .ci/full builds it with ThreadSanitizer, which fails on a race.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/threads.h"

namespace {

std::atomic<int> wrong{0};

void sums(int threads) {
    for (int round = 0; round < 200; ++round) {
        const int64_t n = 1 + round * 37;
        std::vector<int64_t> partial((n + 15) / 16);
        covfast::parallel_for(n, 16, threads, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) partial[begin / 16] += i;
        });
        int64_t sum = 0;
        for (int64_t part : partial) sum += part;
        if (sum != n * (n - 1) / 2) ++wrong;
    }
}

void exceptions(int threads) {
    for (int round = 0; round < 100; ++round) {
        try {
            covfast::parallel_for(1000, 1, threads, [](int64_t begin, int64_t) {
                if (begin == 500) throw std::runtime_error("block 500");
            });
            ++wrong;
        } catch (const std::runtime_error&) {
        }
    }
}

void nested(int threads) {
    std::atomic<int64_t> count{0};
    covfast::parallel_for(8, 1, threads, [&](int64_t, int64_t) {
        covfast::parallel_for(100, 1, threads, [&](int64_t begin, int64_t end) { count += end - begin; });
    });
    if (count != 800) ++wrong;
}

}  // namespace

int main() {
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) {
        callers.emplace_back(sums, 1 + i);
        callers.emplace_back(exceptions, 2 + i);
        callers.emplace_back(nested, 3);
    }
    for (std::thread& caller : callers) caller.join();
    std::printf("%d wrong\n", wrong.load());
    return wrong == 0 ? 0 : 1;
}
