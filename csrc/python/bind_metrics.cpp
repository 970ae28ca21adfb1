#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/polling.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"
#include "kernels/surface.h"
#include "python/bind.h"
#include "python/cuda_arrays.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

using LabelValues = std::pair<std::vector<int64_t>, std::vector<int64_t>>;
using Direction = std::tuple<py::array_t<double>, py::array_t<double>, py::array_t<int64_t>>;
using Measure = std::tuple<int64_t, int64_t, int64_t, int64_t, Direction, Direction>;

LabelType label_type(const py::dtype& type, const char* name) {
    const char kind = type.kind();
    const auto size = type.itemsize();
    const bool is_native = type.byteorder() == '=' || type.byteorder() == '|';
    if (is_native && kind == 'b') return LabelType::kBool;
    if (is_native && kind == 'u' && size == 1) return LabelType::kU8;
    if (is_native && kind == 'i' && size == 1) return LabelType::kI8;
    if (is_native && kind == 'u') return size == 2 ? LabelType::kU16 : size == 4 ? LabelType::kU32 : LabelType::kU64;
    if (is_native && kind == 'i') return size == 2 ? LabelType::kI16 : size == 4 ? LabelType::kI32 : LabelType::kI64;
    if (is_native && kind == 'f' && (size == 4 || size == 8)) return size == 4 ? LabelType::kF32 : LabelType::kF64;
    fail(Code::DTYPE, name, ": got ", py::str(type).cast<std::string>(),
         ", expected bool, an integer type, float32 or float64 in native byte order");
}

// A label map in host or CUDA memory.
struct MapView {
    py::object owner;
    const char* data;
    LabelType type;
    int64_t item_bytes;
    std::vector<int64_t> shape, strides;  // strides in bytes
    bool is_cuda;
    void* stream;

    int64_t rank() const { return static_cast<int64_t>(shape.size()); }
    int64_t bytes() const {
        int64_t product = item_bytes;
        for (const int64_t size : shape) product *= size;
        return product;
    }
};

MapView map_view(const py::object& map, const char* name) {
    if (py::isinstance<py::array>(map)) {
        const auto array = py::reinterpret_borrow<py::array>(map);
        return {map,
                static_cast<const char*>(array.data()),
                label_type(array.dtype(), name),
                array.itemsize(),
                {array.shape(), array.shape() + array.ndim()},
                {array.strides(), array.strides() + array.ndim()},
                false,
                nullptr};
    }
    COVFAST_REQUIRE(is_cuda_array(map), DTYPE, name, ": got ", py::str(py::type::of(map)).cast<std::string>(),
                    ", expected a NumPy array, or one in CUDA memory with __cuda_array_interface__");
    const CudaArray array = cuda_array(map, name);
    return {map,
            static_cast<const char*>(array.data),
            label_type(array.type, name),
            array.type.itemsize(),
            array.shape,
            array.strides,
            true,
            array.stream};
}

void see_map(const MapView& map, int side, const char* name, SurfaceParams& params) {
    params.maps[side] = map.data;
    params.types[side] = map.type;
    for (int axis = 0; axis < params.rank; ++axis) {
        const int64_t bytes = map.strides[axis];
        const bool is_whole =
            bytes % map.item_bytes == 0 && reinterpret_cast<uintptr_t>(map.data) % map.item_bytes == 0;
        COVFAST_REQUIRE(is_whole, SHAPE, name,
                        ": got a layout that is no whole elements apart, expected one that is; copy it first");
        params.stride[side][axis] = bytes / map.item_bytes;
    }
}

// A map of the host as it lies there, or a contiguous copy if that has gaps: from its first byte to its last.
struct HostBytes {
    const char* first;
    int64_t count;
};

HostBytes without_gaps(MapView& map) {
    HostBytes bytes{map.data, map.bytes() == 0 ? 0 : map.item_bytes};
    for (size_t axis = 0; axis < map.shape.size() && bytes.count > 0; ++axis) {
        const int64_t span = (map.shape[axis] - 1) * map.strides[axis];
        bytes.count += std::abs(span);
        if (span < 0) bytes.first += span;
    }
    if (bytes.count <= map.bytes()) return bytes;
    const py::array copy = py::array::ensure(map.owner, py::array::c_style);
    COVFAST_REQUIRE(bool(copy), MEMORY_LIMIT, "memory: got a refusal for ", map.bytes(),
                    " bytes, expected that much free memory");
    map = map_view(copy, "map");
    return {map.data, map.bytes()};
}

// The maps in the memory of a backend that has its own: those of the host are copied, those that lie there stay.
class DeviceMaps {
public:
    DeviceMaps(MapView (&maps)[2], const Context& context) {
        for (int side = 0; side < 2; ++side) {
            MapView& map = maps[side];
            if (map.is_cuda) {
                py::gil_scoped_release nogil;
                if (map.bytes() > 0) context.backend->adopt(map.data, map.stream);
                continue;
            }
            const HostBytes host = without_gaps(map);
            py::gil_scoped_release nogil;
            DeviceArray<char>& copy = copies_[side].emplace(*context.backend, host.count);
            copy.upload(host.first, host.count, context.stream);
            map.data = copy.data() + (map.data - host.first);
        }
    }

private:
    std::optional<DeviceArray<char>> copies_[2];
};

SurfaceKind kind_of(const std::string& kind) {
    if (kind == "surfels") return SurfaceKind::kSurfels;
    if (kind == "voxels") return SurfaceKind::kVoxels;
    COVFAST_REQUIRE(kind == "none", VALUE_RANGE, "surface: got '", kind, "', expected 'surfels', 'voxels' or 'none'");
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

SurfaceParams params_of(const MapView (&maps)[2], const std::vector<double>& spacing_mm) {
    SurfaceParams params{};
    const MapView &truth = maps[0], &prediction = maps[1];
    params.rank = static_cast<int>(truth.rank());
    COVFAST_REQUIRE(params.rank == 2 || params.rank == 3, SHAPE, "truth: got ", params.rank,
                    " axes, expected 2 or 3: (H, W) or (D, H, W)");
    COVFAST_REQUIRE(prediction.rank() == truth.rank(), SHAPE, "pred: got ", prediction.rank(),
                    " axes, expected as many as truth has, ", truth.rank());
    COVFAST_REQUIRE(static_cast<int>(spacing_mm.size()) == params.rank, SHAPE, "spacing_mm: got ", spacing_mm.size(),
                    " numbers, expected one for each of ", params.rank, " axes");
    for (int axis = 0; axis < params.rank; ++axis) {
        params.size[axis] = truth.shape[axis];
        params.spacing_mm[axis] = spacing_mm[axis];
        COVFAST_REQUIRE(prediction.shape[axis] == truth.shape[axis], SHAPE, "pred: got a size of ",
                        prediction.shape[axis], " along axis ", axis, ", expected that of truth, ", truth.shape[axis]);
    }
    return params;
}

const Backend& backend_for(const MapView (&maps)[2], const std::string& device) {
    const bool is_cuda = maps[0].is_cuda;
    COVFAST_REQUIRE(is_cuda == maps[1].is_cuda, DEVICE, "pred: got an array in ", is_cuda ? "host" : "CUDA",
                    " memory, expected one in ", is_cuda ? "CUDA" : "host", " memory like truth; move one of them");
    const Backend& backend = choose_backend(device, {"surface_search"});
    COVFAST_REQUIRE(!is_cuda || backend.adopt != nullptr, DEVICE, "truth: got an array in CUDA memory, expected one in",
                    " host memory, which the backend '", backend.name, "' works in; copy it there first",
                    device == "cpu" ? ", or leave device at \"auto\"" : "");
    return backend;
}

std::vector<Measure> surface_measure(const py::object& truth, const py::object& prediction,
                                     const std::vector<LabelValues>& labels, const std::vector<double>& spacing_mm,
                                     const std::string& kind, const std::string& device, int threads) {
    MapView maps[2] = {map_view(truth, "truth"), map_view(prediction, "pred")};
    SurfaceParams params = params_of(maps, spacing_mm);
    params.kind = kind_of(kind);
    for (const LabelValues& label : labels)
        params.values[0].push_back(label.first), params.values[1].push_back(label.second);
    const Context context{&backend_for(maps, device), threads};
    std::optional<DeviceMaps> on_device;
    if (context.backend->adopt != nullptr) on_device.emplace(maps, context);
    see_map(maps[0], 0, "truth", params);
    see_map(maps[1], 1, "pred", params);
    std::vector<LabelMeasure> measures;
    {
        PyProgress watcher;
        const Progress progress = watcher.progress();
        py::gil_scoped_release nogil;
        const PollScope scope(progress, "surface", 0, 1);  // so that Ctrl-C need not wait for the end
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
