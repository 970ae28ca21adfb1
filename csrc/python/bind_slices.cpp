// Parts of recipes that run over axial slices, by themselves.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "engine/lung_components.h"
#include "engine/slice_recipe.h"
#include "python/arrays.h"
#include "python/bind.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

// x (D, size) f32 and boxes (D, 2, 2) i64: begin and end of rows and columns.
std::pair<py::array_t<float>, py::array_t<int64_t>> run_prepare_slices(const py::array& hu,
                                                                       const std::array<int64_t, 2>& size,
                                                                       const std::array<float, 2>& window_hu,
                                                                       int threads) {
    const HuView view = hu_view(hu);
    const CaseInput input{view.data, view.is_float, view.size, view.stride, {1, 1, 1}};
    SliceRecipe recipe;
    recipe.crops_body = true;
    recipe.size = size;
    recipe.low_hu = window_hu[0], recipe.high_hu = window_hu[1];
    COVFAST_REQUIRE(size[0] >= 1 && size[1] >= 1 && view.size[1] >= 1 && view.size[2] >= 1, SHAPE, "size: got ",
                    size[0], " x ", size[1], ", expected at least 1 x 1, and slices that are not empty");
    py::array_t<float> x({view.size[0], size[0], size[1]});
    std::vector<SliceBox> boxes(view.size[0]);
    float* const to = x.mutable_data();
    {
        const py::gil_scoped_release nogil;
        prepare_slices(recipe, input, 0, view.size[0], boxes.data(), to, threads);
    }
    py::array_t<int64_t> found({py::ssize_t(view.size[0]), py::ssize_t(2), py::ssize_t(2)});
    for (py::ssize_t d = 0; d < view.size[0]; ++d)
        for (int axis = 0; axis < 2; ++axis) {
            found.mutable_at(d, 0, axis) = boxes[d].begin[axis];
            found.mutable_at(d, 1, axis) = boxes[d].end[axis];
        }
    return {x, found};
}

void run_clean_lung_labels(py::array labels, uint8_t spare, int threads) {
    const View3<uint8_t> view = output_view<uint8_t>(labels, "labels");
    PyProgress watcher;
    const py::gil_scoped_release nogil;
    clean_lung_labels(view, spare, threads, watcher.progress());
}

}  // namespace

void register_slices(py::module_& m) {
    m.def("prepare_slices", run_prepare_slices, py::arg("hu"), py::arg("size"), py::arg("window_hu"),
          py::arg("threads"));
    m.def("clean_lung_labels", run_clean_lung_labels, py::arg("labels"), py::arg("spare"), py::arg("threads"));
}

}  // namespace covfast::python
