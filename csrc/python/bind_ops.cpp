#include <pybind11/numpy.h>

#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "kernels/null.h"
#include "kernels/resample_axis.h"
#include "kernels/resample_table.h"
#include "kernels/window_hu.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;

FloatArray run_null(const FloatArray& x, const std::string& device, int threads) {
    FloatArray y(x.size());
    const NullParams host{x.data(), y.mutable_data(), x.size()};
    py::gil_scoped_release nogil;
    const Context context{&choose_backend(device), threads};
    const size_t bytes = host.n * sizeof(float);
    DeviceArray<float> in(*context.backend, host.n), out(*context.backend, host.n);
    in.upload(host.x, bytes);
    null({in.data(), out.data(), host.n}, context);
    out.download(host.y, bytes);
    return y;
}

// One axis of a contiguous array seen as (outer, n_in, inner), with the table of linear_table.
FloatArray run_resample_axis(const FloatArray& x, int64_t n_out, bool antialias, const std::string& device,
                             int threads) {
    COVFAST_REQUIRE(x.ndim() == 3, SHAPE, "x: got ", x.ndim(), " axes, expected 3: (outer, n_in, inner)");
    const int64_t outer = x.shape(0), n_in = x.shape(1), inner = x.shape(2);
    FloatArray y({outer, n_out, inner});
    const float* from = x.data();
    float* to = y.mutable_data();
    py::gil_scoped_release nogil;
    const Context context{&choose_backend(device), threads};
    const ResampleTable table = linear_table(n_in, n_out, antialias);
    DeviceArray<float> in(*context.backend, outer * n_in * inner), out(*context.backend, outer * n_out * inner);
    DeviceArray<int64_t> first(*context.backend, n_out);
    DeviceArray<float> weight(*context.backend, n_out * table.taps);
    in.upload(from, outer * n_in * inner * sizeof(float));
    first.upload(table.first.data(), n_out * sizeof(int64_t));
    weight.upload(table.weight.data(), n_out * table.taps * sizeof(float));
    resample_axis({in.data(), outer, n_in, inner, n_out, table.taps, first.data(), weight.data(), out.data()}, context);
    out.download(to, outer * n_out * inner * sizeof(float));
    return y;
}

FloatArray run_window_hu(const py::array& hu, float low, float high, const std::string& device, int threads) {
    const HuView view = hu_view(hu);
    FloatArray y({view.size[0], view.size[1], view.size[2]});
    WindowHuParams params{view.data, view.is_float, {}, {}, low, high, y.mutable_data()};
    for (int axis = 0; axis < 3; ++axis) params.size[axis] = view.size[axis], params.stride[axis] = view.stride[axis];
    py::gil_scoped_release nogil;
    // A strided volume in host memory is read where it lies, so "auto" means the CPU.
    const Backend& backend = choose_backend(device == "auto" ? "cpu" : device);
    COVFAST_REQUIRE(std::string_view(backend.device) == "cpu", UNAVAILABLE, "device: got '", device,
                    "', expected 'cpu' for an array in host memory");
    window_hu(params, {&backend, threads});
    return y;
}

}  // namespace

void register_ops(py::module_& m) {
    m.def("null", run_null, py::arg("x").noconvert(), py::arg("device"), py::arg("threads"));
    m.def("resample_axis", run_resample_axis, py::arg("x").noconvert(), py::arg("n_out"), py::arg("antialias"),
          py::arg("device"), py::arg("threads"));
    m.def("window_hu", run_window_hu, py::arg("hu"), py::arg("low_hu"), py::arg("high_hu"), py::arg("device"),
          py::arg("threads"));
}

}  // namespace covfast::python
