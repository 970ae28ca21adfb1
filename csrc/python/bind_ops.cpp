#include "kernels/null.h"

#include <pybind11/numpy.h>

#include "kernels/backend.h"
#include "kernels/device_array.h"
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

}  // namespace

void register_ops(py::module_& m) {
    m.def("null", run_null, py::arg("x").noconvert(), py::arg("device"), py::arg("threads"));
}

}  // namespace covfast::python
