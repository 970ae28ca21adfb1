// The parts of the Python module, one register function per file.
#pragma once
#include <pybind11/pybind11.h>

namespace covfast::python {

namespace py = pybind11;

void register_backend(py::module_& m);
void register_blocks(py::module_& m);
void register_blocked(py::module_& m);
void register_components(py::module_& m);
void register_engine(py::module_& m);
void register_layers(py::module_& m);
void register_lungs(py::module_& m);
void register_metrics(py::module_& m);
void register_ops(py::module_& m);
void register_planar(py::module_& m);
void register_resample(py::module_& m);
void register_segment(py::module_& m);
void register_sliding(py::module_& m);
void register_windows(py::module_& m);
void register_slices(py::module_& m);
void register_winograd(py::module_& m);

}  // namespace covfast::python
