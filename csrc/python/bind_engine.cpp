// The native engine: a package's network and one thread's session. covfast/engines is their Python face.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/network.h"
#include "engine/package.h"
#include "engine/session.h"
#include "kernels/backend.h"
#include "python/bind.h"
#include "python/engine_options.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using NetworkHolder = std::shared_ptr<const Network>;

NetworkHolder open_network(const std::string& path, const std::string& precision, bool exact, const Ranges& ranges) {
    py::gil_scoped_release nogil;
    return Network::create(Package::open(path), network_options(precision, exact, ranges));
}

const Backend& backend_named(const std::string& name) {
    for (const Backend* backend : backends()) {
        if (name != backend->name) continue;
        const char* reason = backend->missing();
        COVFAST_REQUIRE(reason == nullptr, DEVICE, "backend: got '", name, "', expected one that runs here; ", reason);
        return *backend;
    }
    fail(Code::DEVICE, "backend: got '", name, "', expected a name of backends()");
}

std::unique_ptr<Session> open_session(NetworkHolder network, const std::string& backend, int threads, Axes size) {
    py::gil_scoped_release nogil;
    return std::make_unique<Session>(std::move(network), Context{&backend_named(backend), threads}, size);
}

// Of each node that runs: op, kernel, name of its output, whether it runs in the blocked layout.
std::vector<std::tuple<std::string, std::string, std::string, bool>> steps_of(const Network& network) {
    std::vector<std::tuple<std::string, std::string, std::string, bool>> steps;
    for (const Node& node : network.graph().nodes)
        steps.emplace_back(node.op->name, node.op->kernel, node.output, network.graph().values[node.made].is_blocked);
    return steps;
}

// x (n, C, D, H, W) of the session's size -> (n, C', D', H', W').
FloatArray run_session(Session& session, const FloatArray& x, py::object progress, py::object cancel,
                       StepNotes* notes) {
    const Shape in = session.in_shape(), out = session.out_shape();
    COVFAST_REQUIRE(x.ndim() == 5 && x.shape(1) == in.channels && x.shape(2) == in.size[0] &&
                        x.shape(3) == in.size[1] && x.shape(4) == in.size[2],
                    SHAPE, "x: got another shape, expected (N, ", in.channels, ", ", in.size[0], ", ", in.size[1], ", ",
                    in.size[2], ")");
    const int64_t n = x.shape(0);
    FloatArray y({n, out.channels, out.size[0], out.size[1], out.size[2]});
    const float* from = x.data();
    float* to = y.mutable_data();
    PyProgress watcher(std::move(progress), std::move(cancel));
    py::gil_scoped_release nogil;
    session.run(from, to, n, watcher.progress(), notes);
    return y;
}

FloatArray answer(Session& session, const FloatArray& x, py::object progress, py::object cancel) {
    return run_session(session, x, std::move(progress), std::move(cancel), nullptr);
}

// Milliseconds of each of Network.steps.
std::vector<double> profile(Session& session, const FloatArray& x) {
    StepNotes notes;
    run_session(session, x, py::none(), py::none(), &notes);
    return notes.ms;
}

// Greatest magnitude of what each of Network.steps makes.
std::vector<float> ranges(Session& session, const FloatArray& x) {
    StepNotes notes;
    notes.has_ranges = true;
    run_session(session, x, py::none(), py::none(), &notes);
    return notes.ranges;
}

}  // namespace

void register_engine(py::module_& m) {
    py::class_<Network, std::shared_ptr<Network>>(m, "Network")
        .def_property_readonly("rank", &Network::rank)
        .def_property_readonly("in_channels", &Network::in_channels)
        .def_property_readonly("steps", &steps_of)
        .def(
            "choose_backend",
            [](const Network& n, const std::string& device) { return choose_backend(device, n.kernels()).name; },
            py::arg("device"));
    py::class_<Session>(m, "Session")
        .def(py::init(&open_session), py::arg("network"), py::arg("backend"), py::arg("threads"), py::arg("size"))
        .def_property_readonly("workspace_bytes", &Session::workspace_bytes)
        .def("run", answer, py::arg("x").noconvert(), py::arg("progress") = py::none(), py::arg("cancel") = py::none())
        .def("profile", profile, py::arg("x").noconvert())
        .def("ranges", ranges, py::arg("x").noconvert());
    // The path as bytes: a file name need not be text.
    m.def(
        "open_network",
        [](const py::bytes& path, const std::string& precision, bool exact, const Ranges& ranges) {
            return std::const_pointer_cast<Network>(open_network(path, precision, exact, ranges));
        },
        py::arg("path"), py::arg("precision") = "fp32", py::arg("exact") = false, py::arg("ranges") = Ranges{});
}

}  // namespace covfast::python
