#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string_view>

#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "kernels/lungs.h"
#include "python/arrays.h"
#include "python/bind.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

LungsParams params_of(const HuView& hu, const std::array<double, 3>& spacing_mm, uint8_t* labels) {
    LungsParams params{hu.data, hu.is_float, {}, {}, {}, labels, {hu.size[1] * hu.size[2], hu.size[2], 1}};
    for (int axis = 0; axis < 3; ++axis) {
        params.size[axis] = hu.size[axis];
        params.stride[axis] = hu.stride[axis];
        params.spacing_mm[axis] = spacing_mm[axis];
    }
    return params;
}

// The same on a device: a contiguous copy goes up, the labels come down.
void run_on_device(const LungsParams& host, const Context& context, const Progress& progress) {
    const int64_t n = host.size[0] * host.size[1] * host.size[2];
    const size_t bytes = n * (host.is_float ? sizeof(float) : sizeof(int16_t));
    DeviceArray<uint8_t> hu(*context.backend, bytes), labels(*context.backend, n);
    hu.upload(static_cast<const uint8_t*>(host.hu), bytes);
    LungsParams params = host;
    params.hu = hu.data(), params.labels = labels.data();
    lungs(params, context, progress);
    labels.download(host.labels, n);
}

py::array_t<uint8_t> run_lungs(py::array hu, const std::array<double, 3>& spacing_mm, const std::string& device,
                               int threads, py::object report, py::object cancel) {
    HuView view = hu_view(hu);
    const Context context{&choose_backend(device), threads};
    const bool is_host = std::string_view(context.backend->device) == "cpu";
    if (!is_host) hu = py::array::ensure(hu, py::array::c_style), view = hu_view(hu);
    py::array_t<uint8_t> labels({view.size[0], view.size[1], view.size[2]});
    const LungsParams params = params_of(view, spacing_mm, labels.mutable_data());
    PyProgress watcher(std::move(report), std::move(cancel));
    py::gil_scoped_release nogil;
    is_host ? lungs(params, context, watcher.progress()) : run_on_device(params, context, watcher.progress());
    return labels;
}

int64_t workspace_bytes(const std::array<int64_t, 3>& size, const std::array<double, 3>& spacing_mm) {
    LungsParams params{};
    for (int axis = 0; axis < 3; ++axis) params.size[axis] = size[axis], params.spacing_mm[axis] = spacing_mm[axis];
    return lungs_workspace_bytes(params);
}

}  // namespace

void register_lungs(py::module_& m) {
    m.def("lungs", run_lungs, py::arg("hu"), py::arg("spacing_mm"), py::arg("device"), py::arg("threads"),
          py::arg("progress") = py::none(), py::arg("cancel") = py::none());
    m.def("lungs_workspace_bytes", workspace_bytes, py::arg("size"), py::arg("spacing_mm"));
}

}  // namespace covfast::python
