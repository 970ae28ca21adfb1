// A Progress (core/progress.h) that reaches into Python while the GIL is released: every 50 ms it takes the GIL, lets
// pending signals raise (Ctrl-C becomes KeyboardInterrupt), looks at a cancel flag and calls the caller's callback.
//   PyProgress watcher(callback, cancel);   // GIL held
//   py::gil_scoped_release nogil;
//   work(..., watcher.progress());
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>

#include "core/error.h"
#include "core/progress.h"

namespace covfast::python {

namespace py = pybind11;

class PyProgress {
public:
    // callback: None or callable(stage: str, done: int, total: int). cancel: None or an object with is_set(), such as
    // threading.Event. Throws VALUE_RANGE if either is something else.
    explicit PyProgress(py::object callback = py::none(), py::object cancel = py::none())
        : callback_(std::move(callback)), cancel_(std::move(cancel)) {
        COVFAST_REQUIRE(callback_.is_none() || PyCallable_Check(callback_.ptr()) != 0, VALUE_RANGE,
                        "progress: got an object that cannot be called, expected callable(stage, done, total)");
        COVFAST_REQUIRE(cancel_.is_none() || py::hasattr(cancel_, "is_set"), VALUE_RANGE,
                        "cancel: got an object without is_set(), expected one such as threading.Event");
    }
    PyProgress(const PyProgress&) = delete;
    PyProgress& operator=(const PyProgress&) = delete;

    // Refers to this object. For the thread that made the call: Python runs signal handlers on the main thread only.
    Progress progress() { return {nullptr, report, this}; }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds kInterval{50};  // a quarter of the 200 ms in which Ctrl-C must return

    static void report(void* user, const char* stage, int64_t done, int64_t total) {
        PyProgress& self = *static_cast<PyProgress*>(user);
        const Clock::time_point now = Clock::now();
        const bool is_end = done >= total && !self.callback_.is_none();  // a caller's bar reaches its end
        if (now < self.next_ && !is_end) return;
        self.next_ = now + kInterval;
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        if (!self.cancel_.is_none() && self.cancel_.attr("is_set")().cast<bool>())
            fail(Code::CANCELLED, "cancel: got a request to stop in stage '", stage, "', expected none");
        if (!self.callback_.is_none()) self.callback_(stage, done, total);
    }

    py::object callback_, cancel_;
    Clock::time_point next_ = Clock::now();  // the first poll reports: a flag already set stops before any work
};

}  // namespace covfast::python
