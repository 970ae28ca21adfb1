#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include "core/threads.h"
#include "kernels/backend.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using Entry = py::typing::Dict<py::str, py::typing::Optional<py::str>>;

py::typing::List<Entry> list_backends() {
    py::typing::List<Entry> list;
    for (const Backend* backend : backends()) {
        const char* reason = backend->missing();
        Entry entry;
        entry["name"] = backend->name;
        entry["device"] = backend->device;
        entry["needs"] = backend->needs;
        entry["missing"] = reason == nullptr ? py::object(py::none()) : py::object(py::str(reason));
        list.append(entry);
    }
    return list;
}

}  // namespace

void register_backend(py::module_& m) {
    m.def("backends", list_backends);
    m.def(
        "choose_backend", [](const std::string& device) { return std::string(choose_backend(device).name); },
        py::arg("device"));
    m.def("last_backend", [] { return std::string(last_backend()); });
    m.def("forget_last_backend", forget_last_backend);
    m.def(
        "has_op",
        [](const std::string& name, const std::string& op) {
            for (const Backend* backend : backends())
                if (name == backend->name) return lacking(*backend, {op.c_str()}) == nullptr;
            return false;
        },
        py::arg("backend"), py::arg("op"));
    m.def("hardware_threads", hardware_threads);
}

}  // namespace covfast::python
