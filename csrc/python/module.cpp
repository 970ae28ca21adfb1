// covfast._core: converts types, releases the GIL and calls. Documentation lives on the Python face, covfast/ops.py.
#include <pybind11/typing.h>

#include <cstring>
#include <new>

#include "core/error.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

const char* class_of(Code code) {
    switch (code) {
#define X(name, exit_code, python_class, python_base, meaning) \
    case Code::name:                                           \
        return #python_class;
#include "core/errors.def"
#undef X
    }
    return "CovfastError";
}

void translate(std::exception_ptr thrown) {
    try {
        if (thrown) std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
        py::set_error(py::module_::import("covfast.errors").attr("MemoryLimitError"),
                      "memory: got a refusal from the system, expected enough free memory for this volume or network");
    } catch (const Error& error) {
        // A message may quote a file name that is no UTF-8.
        const py::object text = py::reinterpret_steal<py::object>(
            PyUnicode_DecodeUTF8(error.what(), static_cast<Py_ssize_t>(std::strlen(error.what())), "replace"));
        PyErr_SetObject(py::module_::import("covfast.errors").attr(class_of(error.code())).ptr(), text.ptr());
    }
}

// (name, exit code, Python class, Python base) of errors.def, for the test that compares the lists.
using ErrorRow = py::typing::Tuple<py::str, py::int_, py::str, py::str>;

py::typing::List<ErrorRow> error_list() {
    py::typing::List<ErrorRow> list;
#define X(name, exit_code, python_class, python_base, meaning) \
    list.append(py::make_tuple(#name, exit_code, #python_class, #python_base));
#include "core/errors.def"
#undef X
    return list;
}

}  // namespace
}  // namespace covfast::python

PYBIND11_MODULE(_core, m) {
    using namespace covfast::python;
    py::register_exception_translator(translate);
    m.def("error_list", error_list);
    register_backend(m);
    register_blocks(m);
    register_blocked(m);
    register_components(m);
    register_engine(m);
    register_layers(m);
    register_lungs(m);
    register_metrics(m);
    register_ops(m);
    register_planar(m);
    register_resample(m);
    register_segment(m);
    register_slices(m);
    register_sliding(m);
    register_windows(m);
    register_winograd(m);
}
