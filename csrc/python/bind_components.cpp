#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "kernels/components.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

// numbers (D, H, W) i32; of each component: its value, voxels, and box as begin and end of D, H, W.
using Found = std::tuple<py::array_t<int32_t>, py::array_t<uint8_t>, py::array_t<int64_t>, py::array_t<int64_t>>;

Found run_components(const py::array& labels, int connectivity, int threads) {
    const View3<const uint8_t> view = input_view<uint8_t>(labels, "labels");
    py::array_t<int32_t> numbers({view.size[0], view.size[1], view.size[2]});
    const View3<int32_t> out = output_view<int32_t>(numbers, "numbers");
    Components found;
    {
        const py::gil_scoped_release nogil;
        found = find_components(view, connectivity, threads);
        write_numbers(found, out, threads);
    }
    const auto n = static_cast<py::ssize_t>(found.list.size());
    py::array_t<uint8_t> values(n);
    py::array_t<int64_t> voxels(n), boxes({n, py::ssize_t(2), py::ssize_t(3)});
    for (py::ssize_t c = 0; c < n; ++c) {
        const Component& component = found.list[c];
        values.mutable_at(c) = component.value, voxels.mutable_at(c) = component.voxels;
        for (int axis = 0; axis < 3; ++axis) {
            boxes.mutable_at(c, 0, axis) = component.begin[axis];
            boxes.mutable_at(c, 1, axis) = component.end[axis];
        }
    }
    return {numbers, values, voxels, boxes};
}

// In place. ties: 0 first, 1 last, 2 all; min_voxels 0: the largest is kept, else those of at least so many.
void filter_components(py::array labels, int connectivity, int ties, int64_t min_voxels, int threads) {
    const View3<const uint8_t> view = input_view<uint8_t>(labels, "labels");
    const View3<uint8_t> out = output_view<uint8_t>(labels, "labels");
    const py::gil_scoped_release nogil;
    const Components found = find_components(view, connectivity, threads);
    const std::vector<uint8_t> kept =
        min_voxels > 0 ? at_least(found, min_voxels) : largest_of_each(found, static_cast<Ties>(ties));
    clear_others(found, kept, out, threads);
}

void run_fill_holes(py::array labels, int connectivity, uint8_t value, int threads) {
    const View3<const uint8_t> view = input_view<uint8_t>(labels, "labels");
    const View3<uint8_t> out = output_view<uint8_t>(labels, "labels");
    const py::gil_scoped_release nogil;
    fill_holes(view, value, connectivity, out, threads);
}

}  // namespace

void register_components(py::module_& m) {
    m.def("components", run_components, py::arg("labels"), py::arg("connectivity"), py::arg("threads"));
    m.def("filter_components", filter_components, py::arg("labels"), py::arg("connectivity"), py::arg("ties"),
          py::arg("min_voxels"), py::arg("threads"));
    m.def("fill_holes", run_fill_holes, py::arg("labels"), py::arg("connectivity"), py::arg("value"),
          py::arg("threads"));
}

}  // namespace covfast::python
