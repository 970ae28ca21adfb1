// The engine's window plan and stitcher with arrays in host memory as their sink, for covfast/sliding.py.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/threads.h"
#include "engine/stitcher.h"
#include "engine/window_plan.h"
#include "kernels/argmax.h"
#include "kernels/gather.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using Axes = std::array<int64_t, 3>;
using Flips = std::array<bool, 3>;
using Floats = py::array_t<float, 0>;

std::array<int64_t, 4> strides_of(const py::array& array, const char* name) {
    COVFAST_REQUIRE(array.ndim() == 4, SHAPE, name, ": got ", array.ndim(), " axes, expected 4: (C, D, H, W)");
    std::array<int64_t, 4> stride;
    for (int axis = 0; axis < 4; ++axis) {
        stride[axis] = array.strides(axis) / static_cast<int64_t>(sizeof(float));
        COVFAST_REQUIRE(stride[axis] * static_cast<int64_t>(sizeof(float)) == array.strides(axis), SHAPE, name,
                        ": got a layout that is no whole elements apart, expected an array of float32; copy it first");
    }
    return stride;
}

Axes size_of(const py::array& array) { return {array.shape(1), array.shape(2), array.shape(3)}; }

// Sets a flag while it lives.
class Busy {
public:
    explicit Busy(std::atomic<bool>& flag) : flag_(flag) {
        COVFAST_REQUIRE(!flag_.exchange(true), VALUE_RANGE,
                        "stitcher: got a call while another one runs, expected one at a time");
    }
    ~Busy() { flag_ = false; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    std::atomic<bool>& flag_;
};

// Where finished planes go: labels at once, or the averages themselves. Holds on to the array.
class ArraySink : public PlaneSink {
public:
    ArraySink(const Axes& size, int64_t channels, const Context& context)
        : size_(size), channels_(channels), context_(context) {}

    void write_labels(py::array labels, std::vector<uint8_t> values, bool is_regions) {
        require_first();
        COVFAST_REQUIRE(static_cast<int64_t>(values.size()) == channels_, SHAPE, "values: got ", values.size(),
                        " labels, expected ", channels_, ", one for each channel that the network gives");
        const View3<uint8_t> view = output_view<uint8_t>(labels, "labels");
        COVFAST_REQUIRE(view.size == size_, SHAPE, "labels: got another size, expected that of the volume");
        bad_.resize(size_[1]);
        labels_ = view, values_ = std::move(values), is_regions_ = is_regions, held_ = std::move(labels);
    }
    void write_averages(py::array averages) {
        require_first();
        COVFAST_REQUIRE(py::isinstance<py::array_t<float>>(averages), DTYPE, "averages: got ",
                        py::str(averages.dtype()).cast<std::string>(), ", expected float32");
        averages_stride_ = strides_of(averages, "averages");
        COVFAST_REQUIRE(size_of(averages) == size_ && averages.shape(0) == channels_ && averages_stride_[3] == 1, SHAPE,
                        "averages: got another shape or layout, expected (C, D, H, W) of the volume, rows dense");
        plane_.resize(channels_ * size_[1] * size_[2]);
        averages_ = static_cast<float*>(averages.mutable_data()), held_ = std::move(averages);
    }
    // Lets go of the array; another one may follow.
    void reset() { labels_ = {}, averages_ = nullptr, held_ = py::none(); }
    void require_set() const {
        COVFAST_REQUIRE(has_array(), VALUE_RANGE,
                        "stitcher: got no array to write to, expected write_labels or write_averages first");
    }

    float* destination(int64_t) override { return averages_ != nullptr ? plane_.data() : nullptr; }
    void plane(int64_t d, const float* values) override {
        const bool is_finite = averages_ != nullptr ? copy_plane(d, values) : label_plane(d, values);
        COVFAST_REQUIRE(is_finite, VALUE_RANGE, "network: got NaN or infinity in plane ", d,
                        " of its outputs, expected finite numbers");
    }

private:
    bool has_array() const { return labels_.data != nullptr || averages_ != nullptr; }
    void require_first() const {
        COVFAST_REQUIRE(!has_array(), VALUE_RANGE, "stitcher: got a second array to write to, expected one");
    }
    bool label_plane(int64_t d, const float* values) {
        argmax({values, channels_, size_[1], size_[2], size_[1] * size_[2], size_[2], values_.data(), is_regions_,
                &labels_.at(d, 0, 0), labels_.stride[1], labels_.stride[2], bad_.data()},
               context_);
        return std::find(bad_.begin(), bad_.end(), 1) == bad_.end();
    }
    bool copy_plane(int64_t d, const float* values) {
        std::atomic<bool> is_finite{true};
        parallel_for(channels_ * size_[1], 64, context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
                const float* from = values + r * size_[2];
                const int64_t c = r / size_[1], h = r % size_[1];
                float* to = averages_ + c * averages_stride_[0] + d * averages_stride_[1] + h * averages_stride_[2];
                float check = 0;
                for (int64_t w = 0; w < size_[2]; ++w) to[w] = from[w], check += from[w] - from[w];
                if (check != 0) is_finite = false;  // a number less itself is 0, or NaN where it is not finite
            }
        });
        return is_finite;
    }

    Axes size_;
    int64_t channels_;
    Context context_;
    py::object held_;
    View3<uint8_t> labels_{};
    std::vector<uint8_t> values_, bad_;
    bool is_regions_ = false;
    float* averages_ = nullptr;
    std::array<int64_t, 4> averages_stride_{};
    std::vector<float> plane_;
};

// A plan, the stitcher that follows it and the sink behind it, for one volume.
class WindowStitcher {
public:
    WindowStitcher(const WindowPlan& plan, int64_t channels, bool nnunet, int64_t mirrors, int threads)
        : plan_(plan),
          context_{&choose_backend("cpu"), threads},
          channels_(channels),
          sink_(plan.size, channels, context_),
          stitcher_(plan_, channels, nnunet ? Accumulate::kNnunet : Accumulate::kFloat32, {1, mirrors}, sink_,
                    context_) {}
    WindowStitcher(const WindowStitcher&) = delete;
    WindowStitcher& operator=(const WindowStitcher&) = delete;

    void write_labels(const py::array& labels, std::vector<uint8_t> values, bool regions) {
        const Busy busy(is_busy_);
        sink_.write_labels(labels, std::move(values), regions);
    }
    void write_averages(const py::array& averages) {
        const Busy busy(is_busy_);
        sink_.write_averages(averages);
    }
    // One reading of a window: (C, window), mirrored along the axes of `flip`.
    void add(int64_t index, int64_t reading, const Floats& x, const Flips& flip) {
        const std::array<int64_t, 4> stride = strides_of(x, "x");
        COVFAST_REQUIRE(x.shape(0) == channels_ && size_of(x) == plan_.window, SHAPE,
                        "x: got another shape, expected (C, window)");
        const float* data = x.data();
        const py::gil_scoped_release nogil;
        const Busy busy(is_busy_);
        sink_.require_set();
        stitcher_.add(index, reading, data, stride, flip);
    }
    // Afterwards another volume of the same size may come, with an array of its own.
    void finish() {
        const Busy busy(is_busy_);
        sink_.require_set();
        {
            const py::gil_scoped_release nogil;
            stitcher_.finish();
        }
        sink_.reset();
    }

private:
    const WindowPlan plan_;
    Context context_;
    int64_t channels_;
    ArraySink sink_;
    Stitcher stitcher_;
    std::atomic<bool> is_busy_{false};
};

// The window at `origin` of x (C, D, H, W) into y (C, window), contiguous.
void gather_into(const Floats& x, const Axes& origin, const Flips& flip, float fill, Floats y, int threads) {
    const std::array<int64_t, 4> stride = strides_of(x, "x"), dense = strides_of(y, "y");
    const Axes size = size_of(x), window = size_of(y);
    COVFAST_REQUIRE(x.shape(0) == y.shape(0) && dense[3] == 1 && dense[2] == window[2] &&
                        dense[1] == window[1] * window[2] && dense[0] == window[0] * dense[1],
                    SHAPE, "y: got another shape or layout, expected (C, window), contiguous");
    GatherParams p{};
    p.x = x.data(), p.channels = x.shape(0), p.fill = fill, p.y = y.mutable_data();
    std::copy(stride.begin(), stride.end(), p.stride);
    for (int a = 0; a < 3; ++a)
        p.size[a] = size[a], p.origin[a] = origin[a], p.window[a] = window[a], p.flip[a] = flip[a];
    const py::gil_scoped_release nogil;
    gather(p, {&choose_backend("cpu"), threads});
}

// An OpenMpTeam between __enter__ and __exit__.
class OpenMpThreads {
public:
    OpenMpThreads(uintptr_t parallel, int threads)
        : parallel_(reinterpret_cast<OpenMpParallel>(parallel)), threads_(threads) {}
    void enter() { team_.emplace(parallel_, threads_); }
    void exit(const py::object&, const py::object&, const py::object&) { team_.reset(); }

private:
    OpenMpParallel parallel_;
    int threads_;
    std::optional<OpenMpTeam> team_;
};

WindowPlan create_plan(const Axes& size, const Axes& window, const std::array<double, 3>& step, bool even,
                       int importance) {
    return WindowPlan::create(
        size, {window, step, even ? Placement::kEven : Placement::kFixed, static_cast<Importance>(importance)});
}

}  // namespace

void register_sliding(py::module_& m) {
    const auto threads = py::arg("threads"), flip = py::arg("flip"), x = py::arg("x").noconvert();
    py::class_<WindowPlan>(m, "WindowPlan")
        .def(py::init(&create_plan), py::arg("size"), py::arg("window"), py::arg("step"), py::arg("even"),
             py::arg("importance"))
        .def_property_readonly("count", &WindowPlan::count)
        .def_property_readonly("starts", [](const WindowPlan& plan) { return plan.starts; })
        .def_property_readonly("weight", [](const WindowPlan& plan) { return plan.weight; })
        .def("origin", &WindowPlan::origin, py::arg("index"))
        .def(
            "workspace_bytes",
            [](const WindowPlan& plan, int64_t channels, bool nnunet, int64_t mirrors) {
                return Stitcher::workspace_bytes(plan, channels, nnunet ? Accumulate::kNnunet : Accumulate::kFloat32,
                                                 {1, mirrors});
            },
            py::arg("channels"), py::arg("nnunet"), py::arg("mirrors"));
    py::class_<WindowStitcher>(m, "WindowStitcher")
        .def(py::init<const WindowPlan&, int64_t, bool, int64_t, int>(), py::arg("plan"), py::arg("channels"),
             py::arg("nnunet"), py::arg("mirrors"), threads)
        .def("write_labels", &WindowStitcher::write_labels, py::arg("labels"), py::arg("values"), py::arg("regions"))
        .def("write_averages", &WindowStitcher::write_averages, py::arg("averages"))
        .def("add", &WindowStitcher::add, py::arg("index"), py::arg("reading"), x, flip)
        .def("finish", &WindowStitcher::finish);
    py::class_<OpenMpThreads>(m, "OpenMpThreads")
        .def(py::init<uintptr_t, int>(), py::arg("parallel"), threads)
        .def("__enter__", &OpenMpThreads::enter)
        .def("__exit__", &OpenMpThreads::exit);
    m.def("gather_into", gather_into, x, py::arg("origin"), flip, py::arg("fill"), py::arg("y").noconvert(), threads);
    m.def("nnunet_importance", [](const Axes& window) {
        const std::vector<uint16_t> bits = nnunet_importance(window);
        return py::array_t<uint16_t>({window[0], window[1], window[2]}, bits.data());
    });
}

}  // namespace covfast::python
