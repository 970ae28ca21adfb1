#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/surface.h"
#include "python/bind.h"

namespace covfast::python {
namespace {

using LabelValues = std::pair<std::vector<int64_t>, std::vector<int64_t>>;
using Direction = std::tuple<py::array_t<double>, py::array_t<double>, py::array_t<int64_t>>;
using Measure = std::tuple<int64_t, int64_t, int64_t, int64_t, Direction, Direction>;

LabelType label_type(const py::array& map, const char* name) {
    const py::dtype type = map.dtype();
    const char kind = type.kind();
    const auto size = type.itemsize();
    const bool is_native = type.byteorder() == '=' || type.byteorder() == '|';
    if (is_native && (kind == 'b' || (kind == 'u' && size == 1))) return LabelType::kU8;
    if (is_native && kind == 'i' && size == 1) return LabelType::kI8;
    if (is_native && kind == 'u') return size == 2 ? LabelType::kU16 : size == 4 ? LabelType::kU32 : LabelType::kU64;
    if (is_native && kind == 'i') return size == 2 ? LabelType::kI16 : size == 4 ? LabelType::kI32 : LabelType::kI64;
    if (is_native && kind == 'f' && (size == 4 || size == 8)) return size == 4 ? LabelType::kF32 : LabelType::kF64;
    fail(Code::DTYPE, name, ": got ", py::str(type).cast<std::string>(),
         ", expected bool, an integer type, float32 or float64 in native byte order");
}

void see_map(const py::array& map, int side, const char* name, SurfaceParams& params) {
    params.maps[side] = map.data();
    params.types[side] = label_type(map, name);
    for (int axis = 0; axis < params.rank; ++axis) {
        const int64_t bytes = map.strides(axis), item = map.itemsize();
        COVFAST_REQUIRE(bytes % item == 0 && reinterpret_cast<uintptr_t>(map.data()) % item == 0, SHAPE, name,
                        ": got a layout that is no whole elements apart, expected one that is; copy it first");
        params.stride[side][axis] = bytes / item;
    }
}

SurfaceKind kind_of(const std::string& kind) {
    if (kind == "surfels") return SurfaceKind::kSurfels;
    if (kind == "voxels") return SurfaceKind::kVoxels;
    COVFAST_REQUIRE(kind == "none", VALUE_RANGE, "surface: got '", kind, "', expected 'surfels' or 'voxels'");
    return SurfaceKind::kNone;
}

// Hands the memory of a vector to Python.
template <class T>
py::array_t<T> owned(std::vector<T>&& from) {
    auto* kept = new std::vector<T>(std::move(from));
    const py::capsule owner(kept, [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
    return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

Direction direction(SurfaceGroups&& groups) {
    return {owned(std::move(groups.distance_mm)), owned(std::move(groups.element)), owned(std::move(groups.count))};
}

std::vector<Measure> surface_measure(const py::array& truth, const py::array& prediction,
                                     const std::vector<LabelValues>& labels, const std::vector<double>& spacing_mm,
                                     const std::string& kind, const std::string& device, int threads) {
    SurfaceParams params{};
    params.rank = static_cast<int>(truth.ndim());
    COVFAST_REQUIRE(params.rank == 2 || params.rank == 3, SHAPE, "truth: got ", params.rank,
                    " axes, expected 2 or 3: (H, W) or (D, H, W)");
    COVFAST_REQUIRE(prediction.ndim() == truth.ndim(), SHAPE, "prediction: got ", prediction.ndim(),
                    " axes, expected as many as truth has, ", truth.ndim());
    COVFAST_REQUIRE(static_cast<int>(spacing_mm.size()) == params.rank, SHAPE, "spacing_mm: got ", spacing_mm.size(),
                    " numbers, expected one for each of ", params.rank, " axes");
    for (int axis = 0; axis < params.rank; ++axis) {
        params.size[axis] = truth.shape(axis);
        params.spacing_mm[axis] = spacing_mm[axis];
        COVFAST_REQUIRE(prediction.shape(axis) == truth.shape(axis), SHAPE, "prediction: got a size of ",
                        prediction.shape(axis), " along axis ", axis, ", expected that of truth, ", truth.shape(axis));
    }
    see_map(truth, 0, "truth", params);
    see_map(prediction, 1, "prediction", params);
    params.kind = kind_of(kind);
    for (const LabelValues& label : labels)
        params.values[0].push_back(label.first), params.values[1].push_back(label.second);
    const Context context{&choose_backend(device, {"surface_search"}), threads};
    std::vector<LabelMeasure> measures;
    {
        py::gil_scoped_release nogil;
        measures = surface(params, context);
    }
    std::vector<Measure> out;
    for (LabelMeasure& m : measures)
        out.emplace_back(m.true_positives, m.false_positives, m.false_negatives, m.true_negatives,
                         direction(std::move(m.truth_to_prediction)), direction(std::move(m.prediction_to_truth)));
    return out;
}

}  // namespace

void register_metrics(py::module_& m) {
    m.def("surface_measure", surface_measure, py::arg("truth"), py::arg("prediction"), py::arg("labels"),
          py::arg("spacing_mm"), py::arg("kind"), py::arg("device") = "auto", py::arg("threads") = 0);
}

}  // namespace covfast::python
