// covfast._core.Segmenter: a package, its recipe and its network, opened once and run from any thread.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>

#include "engine/network.h"
#include "engine/package.h"
#include "engine/recipe.h"
#include "engine/segment.h"
#include "python/arrays.h"
#include "python/bind.h"
#include "python/engine_options.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

CaseInput case_input(const py::array& hu, const std::array<double, 3>& spacing_mm) {
    const HuView view = hu_view(hu);
    for (double mm : spacing_mm)
        COVFAST_REQUIRE(mm >= 1e-3 && mm <= 1e3, VALUE_RANGE, "spacing_mm: got ", mm, ", expected 0.001 to 1000 mm");
    return {view.data, view.is_float, view.size, view.stride, spacing_mm};
}

class Segmenter {
public:
    Segmenter(const std::string& path, const std::string& device, int threads, const std::string& precision)
        : package_(Package::open(path)),
          network_(Network::create(package_, network_options(precision, false))),
          recipe_(parse(*package_)) {
        const Backend& backend = choose_backend(device, needed_ops());
        // The tile steps work in host memory: what a CUDA kernel would be given is not on its device.
        COVFAST_REQUIRE(std::string_view(backend.device) == "cpu", UNAVAILABLE, "device: got '", device,
                        "', expected 'cpu', where recipes run so far");
        context_ = {&backend, threads, nullptr};
    }

    std::string backend() const { return context_.backend->name; }
    std::string device() const { return context_.backend->device; }

    std::vector<std::pair<std::string, double>> run(const py::array& hu, const std::array<double, 3>& spacing_mm,
                                                    py::array labels, py::array lungs,
                                                    std::optional<py::array> probability, py::object progress,
                                                    py::object cancel) const {
        const CaseInput input = case_input(hu, spacing_mm);
        const CaseOutput output{output_view<uint8_t>(labels, "labels"), output_view<uint8_t>(lungs, "lungs"),
                                probability ? output_view<float>(*probability, "probability") : View3<float>{}};
        PyProgress watcher(std::move(progress), std::move(cancel));
        py::gil_scoped_release nogil;
        std::vector<std::pair<std::string, double>> times;
        for (const StageTime& time : segment_volume(recipe_, network_, input, output, context_, watcher.progress()))
            times.emplace_back(time.stage, time.ms);
        return times;
    }

    // window: the values that become 0 and 1; None for the recipe's own.
    void run_slice(const py::array& image, std::optional<std::array<float, 2>> window, py::array probability) const {
        const CaseInput input = case_input(image, {1.0, 1.0, 1.0});
        const View3<float> output = output_view<float>(probability, "probability");
        const stage::Window own = std::get<stage::Window>(recipe_.tile_stages.front());
        const stage::Window used = window ? stage::Window{(*window)[0], (*window)[1]} : own;
        PyProgress watcher;
        py::gil_scoped_release nogil;
        segment_slice(recipe_, network_, input, used, output, context_, watcher.progress());
    }

private:
    static Recipe parse(const Package& package) {
        const Json& json = package.metadata().at("recipe");
        COVFAST_REQUIRE(!json.is_null(), FORMAT, package.file_name(),
                        ": got a network without a recipe, expected one; covfast.load runs the network alone");
        try {
            return Recipe::parse(json);
        } catch (const Error& error) {
            fail(error.code(), package.file_name(), ": ", error.what());
        }
    }

    // What the network, the tile stages and the lungs run on the backend.
    std::vector<const char*> needed_ops() const {
        std::vector<const char*> ops = network_->kernels();
        ops.insert(ops.end(), {"window_hu", "resample_axis", "softmax", "lungs_shrink", "lungs_paint"});
        return ops;
    }

    std::shared_ptr<const Package> package_;
    std::shared_ptr<const Network> network_;
    Recipe recipe_;
    Context context_{};
};

}  // namespace

void register_segment(py::module_& m) {
    py::class_<Segmenter>(m, "Segmenter")
        .def(py::init([](const py::bytes& path, const std::string& device, int threads, const std::string& precision) {
                 const std::string file = path;  // bytes: a path need not be UTF-8
                 py::gil_scoped_release nogil;
                 return std::make_unique<Segmenter>(file, device, threads, precision);
             }),
             py::arg("path"), py::arg("device"), py::arg("threads"), py::arg("precision") = "fp32")
        .def_property_readonly("backend", &Segmenter::backend)
        .def_property_readonly("device", &Segmenter::device)
        .def("run", &Segmenter::run, py::arg("hu"), py::arg("spacing_mm"), py::arg("labels"), py::arg("lungs"),
             py::arg("probability"), py::arg("progress"), py::arg("cancel"))
        .def("run_slice", &Segmenter::run_slice, py::arg("image"), py::arg("window"), py::arg("probability"));
}

}  // namespace covfast::python
