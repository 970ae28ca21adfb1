// What the interpreters of recipes share: how long stages take, and where in the volume a poll from inside a tile is.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/progress.h"

namespace covfast {

struct StageTime {
    std::string stage;
    double ms;
};

// Polls from inside a tile, shown to the caller as the position in the volume.
struct Position {
    const Progress& outer;
    const char* stage;
    int64_t done, total;

    Progress inner() { return {outer.cancel, outer.report == nullptr ? nullptr : report, this}; }
    static void report(void* user, const char*, int64_t, int64_t) {
        const Position& self = *static_cast<Position*>(user);
        self.outer.report(self.outer.user, self.stage, self.done, self.total);
    }
};

// Notes how long each stage took; the parts of one that comes again and again are summed.
class StageClock {
public:
    explicit StageClock(std::vector<StageTime>& times) : times_(times) {}
    // What passed since the last call was this stage.
    void stop(const char* stage) {
        const auto now = Clock::now();
        const double ms = std::chrono::duration<double, std::milli>(now - start_).count();
        start_ = now;
        for (StageTime& time : times_) {
            if (time.stage != stage) continue;
            time.ms += ms;
            return;
        }
        times_.push_back({stage, ms});
    }

private:
    using Clock = std::chrono::steady_clock;
    std::vector<StageTime>& times_;
    Clock::time_point start_ = Clock::now();
};

}  // namespace covfast
