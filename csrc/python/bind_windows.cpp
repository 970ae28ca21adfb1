// The ops of sliding windows on NumPy arrays, for covfast/window_ops.py and the tests. Half precision crosses as
// uint16.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "kernels/argmax.h"
#include "kernels/gather.h"
#include "kernels/stitch.h"
#include "kernels/stitch_half.h"
#include "python/bind.h"
#include "python/layer_call.h"

namespace covfast::python {
namespace {

using Flips = std::array<bool, 3>;
using Weights = std::tuple<FloatArray, FloatArray, FloatArray>;
using HalfArray = py::array_t<uint16_t, py::array::c_style>;
using ByteArray = py::array_t<uint8_t, py::array::c_style>;

template <class T>
using Strided = py::array_t<T, 0>;

template <class Array>
void require_axes(const Array& array, int64_t axes, const char* name, const char* names) {
    COVFAST_REQUIRE(array.ndim() == axes, SHAPE, name, ": got ", array.ndim(), " axes, expected ", axes, ": ", names);
}

// An array where the backend reads it: the host's memory with its strides, or a dense copy on a device.
struct Operand {
    const float* data;
    std::array<int64_t, 4> stride;  // along C, D, H, W, in elements
};

Operand operand(Call& call, const Strided<float>& x) {
    Operand out{x.data(), {}};
    bool is_whole = std::string_view(call.context().backend->device) == "cpu";
    for (int axis = 0; axis < 4; ++axis) {
        out.stride[axis] = x.strides(axis) / static_cast<int64_t>(sizeof(float));
        is_whole = is_whole && out.stride[axis] * static_cast<int64_t>(sizeof(float)) == x.strides(axis);
    }
    if (is_whole) return out;
    const FloatArray dense = py::array_t<float, py::array::c_style | py::array::forcecast>(x);
    out.stride = {x.shape(1) * x.shape(2) * x.shape(3), x.shape(2) * x.shape(3), x.shape(3), 1};
    out.data = call.put(dense.data(), dense.size());
    return out;
}

// Memory that an op changes in place: the host's, or a copy on a device that goes back by get().
template <class T>
class Changed {
public:
    Changed(Call& call, py::array_t<T, py::array::c_style>& array)
        : call_(call), host_(array.mutable_data()), count_(array.size()), data_(host_) {
        if (std::string_view(call.context().backend->device) != "cpu") data_ = const_cast<T*>(call.put(host_, count_));
    }
    T* data() const { return data_; }
    void get() const {
        if (data_ != host_) call_.context().backend->download(host_, data_, count_ * sizeof(T), call_.context().stream);
    }

private:
    Call& call_;
    T* host_;
    int64_t count_;
    T* data_;
};

FloatArray run_gather(const Strided<float>& x, const Axes& origin, const Axes& window, const Flips& flip, float fill,
                      const std::string& device, int threads) {
    require_axes(x, 4, "x", "(C, D, H, W)");
    for (const int64_t n : window) COVFAST_REQUIRE(n >= 0, SHAPE, "window: got a size of ", n, ", expected 0 or more");
    FloatArray y({static_cast<int64_t>(x.shape(0)), window[0], window[1], window[2]});
    GatherParams p{};
    Call call(device, threads, "gather");
    const Operand from = operand(call, x);
    p.x = from.data, p.channels = x.shape(0), p.fill = fill, p.y = call.room(y.size());
    for (int a = 0; a < 3; ++a)
        p.size[a] = x.shape(a + 1), p.origin[a] = origin[a], p.window[a] = window[a], p.flip[a] = flip[a];
    std::copy(from.stride.begin(), from.stride.end(), p.stride);
    float* y_host = y.mutable_data();
    const int64_t count = y.size();
    const py::gil_scoped_release nogil;
    gather(p, call.context());
    call.get(p.y, y_host, count);
    return y;
}

// What both kinds of stitch take from their arrays. place: origin of the window, depth of the volume, flips.
using Place = std::tuple<Axes, int64_t, Flips>;

template <class Params, class Sum>
void put_window(Params& p, Call& call, const Strided<float>& x, const Sum& sum, const Place& place) {
    require_axes(x, 4, "x", "(C, D, H, W)");
    require_axes(sum, 4, "sum", "(ring, C, H, W)");
    COVFAST_REQUIRE(sum.shape(1) == x.shape(0), SHAPE, "sum: got ", sum.shape(1), " channels, expected those of x, ",
                    x.shape(0));
    const auto& [origin, depth, flip] = place;
    const Operand from = operand(call, x);
    p.x = from.data, p.channels = x.shape(0), p.ring = sum.shape(0), p.depth = depth;
    p.height = sum.shape(2), p.width = sum.shape(3);
    for (int a = 0; a < 3; ++a) p.window[a] = x.shape(a + 1), p.origin[a] = origin[a], p.flip[a] = flip[a];
    std::copy(from.stride.begin(), from.stride.end(), p.stride);
}

void run_stitch(const Strided<float>& x, const Place& place, const Weights& weights, float floor, FloatArray sum,
                const std::string& device, int threads) {
    Call call(device, threads, "stitch");
    StitchParams p{};
    put_window(p, call, x, sum, place);
    const auto& [d, h, w] = weights;
    for (int a = 0; const FloatArray* weight : {&d, &h, &w}) {
        COVFAST_REQUIRE(weight->ndim() == 1 && weight->size() == p.window[a], SHAPE, "weight: got ", weight->size(),
                        " numbers, expected ", p.window[a], ", one for each position of the window");
        p.weight[a++] = call.put(weight->data(), weight->size());
    }
    p.floor = floor;
    const Changed<float> sums(call, sum);
    p.sum = sums.data();
    const py::gil_scoped_release nogil;
    stitch(p, call.context());
    sums.get();
}

FloatArray run_stitch_plane(const FloatArray& sum, float total_d, const FloatArray& total_h, const FloatArray& total_w,
                            const std::string& device, int threads) {
    require_axes(sum, 3, "sum", "(C, H, W)");
    COVFAST_REQUIRE(total_h.size() == sum.shape(1) && total_w.size() == sum.shape(2), SHAPE, "total: got ",
                    total_h.size(), " and ", total_w.size(), " numbers, expected ", sum.shape(1), " and ",
                    sum.shape(2));
    FloatArray y({sum.shape(0), sum.shape(1), sum.shape(2)});
    Call call(device, threads, "stitch_plane");
    StitchPlaneParams p{};
    p.sum = call.put(sum.data(), sum.size());
    p.channels = sum.shape(0), p.height = sum.shape(1), p.width = sum.shape(2), p.total_d = total_d;
    p.total_h = call.put(total_h.data(), total_h.size()), p.total_w = call.put(total_w.data(), total_w.size());
    p.y = call.room(y.size()), p.y_channel_stride = p.height * p.width, p.y_row_stride = p.width;
    float* y_host = y.mutable_data();
    const int64_t count = y.size();
    const py::gil_scoped_release nogil;
    stitch_plane(p, call.context());
    call.get(p.y, y_host, count);
    return y;
}

void run_stitch_half(const Strided<float>& x, const Place& place, float scale, const HalfArray& weight, HalfArray sum,
                     std::optional<HalfArray> count, const std::string& device, int threads) {
    Call call(device, threads, "stitch_half");
    StitchHalfParams p{};
    put_window(p, call, x, sum, place);
    COVFAST_REQUIRE(weight.size() == p.window[0] * p.window[1] * p.window[2], SHAPE, "weight: got ", weight.size(),
                    " numbers, expected one for each position of the window");
    COVFAST_REQUIRE(!count || count->size() == p.ring * p.height * p.width, SHAPE, "count: got ",
                    count ? count->size() : 0, " numbers, expected ", p.ring * p.height * p.width);
    p.scale = scale, p.weight = call.put(weight.data(), weight.size());
    const Changed<uint16_t> sums(call, sum);
    std::optional<Changed<uint16_t>> counts;
    if (count) counts.emplace(call, *count);
    p.sum = sums.data(), p.count = counts ? counts->data() : nullptr;
    const py::gil_scoped_release nogil;
    stitch_half(p, call.context());
    sums.get();
    if (counts) counts->get();
}

FloatArray run_stitch_half_plane(const HalfArray& sum, const HalfArray& count, const std::string& device, int threads) {
    require_axes(sum, 4, "sum", "(folds, C, H, W)");
    COVFAST_REQUIRE(count.size() == sum.shape(2) * sum.shape(3), SHAPE, "count: got ", count.size(),
                    " numbers, expected ", sum.shape(2) * sum.shape(3));
    FloatArray y({sum.shape(1), sum.shape(2), sum.shape(3)});
    Call call(device, threads, "stitch_half_plane");
    StitchHalfPlaneParams p{};
    p.sum = call.put(sum.data(), sum.size()), p.count = call.put(count.data(), count.size());
    p.folds = sum.shape(0), p.fold_stride = y.size();
    p.channels = sum.shape(1), p.height = sum.shape(2), p.width = sum.shape(3);
    p.y = call.room(y.size()), p.y_channel_stride = p.height * p.width, p.y_row_stride = p.width;
    float* y_host = y.mutable_data();
    const int64_t n = y.size();
    const py::gil_scoped_release nogil;
    stitch_half_plane(p, call.context());
    call.get(p.y, y_host, n);
    return y;
}

// Labels (rows, width) and the rows' flags.
std::pair<ByteArray, ByteArray> run_argmax(const FloatArray& x, const ByteArray& values, bool regions,
                                           const std::string& device, int threads) {
    require_axes(x, 3, "x", "(C, rows, width)");
    COVFAST_REQUIRE(values.size() == x.shape(0), SHAPE, "values: got ", values.size(), " labels, expected ", x.shape(0),
                    ", one for each channel of x");
    ByteArray y({x.shape(1), x.shape(2)}), bad(x.shape(1));
    Call call(device, threads, "argmax");
    ArgmaxParams p{};
    p.x = call.put(x.data(), x.size()), p.channels = x.shape(0), p.rows = x.shape(1), p.width = x.shape(2);
    p.channel_stride = p.rows * p.width, p.row_stride = p.width, p.regions = regions;
    p.values = call.put(values.data(), values.size());
    const Changed<uint8_t> labels(call, y), flags(call, bad);
    p.y = labels.data(), p.y_row_stride = p.width, p.y_stride = 1, p.bad = flags.data();
    {
        const py::gil_scoped_release nogil;
        argmax(p, call.context());
        labels.get(), flags.get();
    }
    return {std::move(y), std::move(bad)};
}

}  // namespace

void register_windows(py::module_& m) {
    const auto x = py::arg("x").noconvert(), sum = py::arg("sum").noconvert();
    const auto place = py::arg("place"), device = py::arg("device"), threads = py::arg("threads");
    m.def("gather", run_gather, x, py::arg("origin"), py::arg("window"), py::arg("flip"), py::arg("fill"), device,
          threads);
    m.def("stitch", run_stitch, x, place, py::arg("weights"), py::arg("floor"), sum, device, threads);
    m.def("stitch_plane", run_stitch_plane, sum, py::arg("total_d"), py::arg("total_h").noconvert(),
          py::arg("total_w").noconvert(), device, threads);
    m.def("stitch_half", run_stitch_half, x, place, py::arg("scale"), py::arg("weight").noconvert(), sum,
          py::arg("count").noconvert(), device, threads);
    m.def("stitch_half_plane", run_stitch_half_plane, sum, py::arg("count").noconvert(), device, threads);
    m.def("argmax", run_argmax, x, py::arg("values").noconvert(), py::arg("regions"), device, threads);
}

}  // namespace covfast::python
