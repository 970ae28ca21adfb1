// covfast._core.Segmenter: a package, its recipe and its networks, opened once and run from any thread.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/network.h"
#include "engine/package.h"
#include "engine/recipe.h"
#include "engine/segment.h"
#include "engine/slice_recipe.h"
#include "engine/volume_recipe.h"
#include "python/arrays.h"
#include "python/bind.h"
#include "python/engine_options.h"
#include "python/progress.h"

namespace covfast::python {
namespace {

CaseInput case_input(const py::array& hu, const std::array<double, 3>& spacing_mm) {
    const HuView view = hu_view(hu);
    for (double mm : spacing_mm)
        COVFAST_REQUIRE(mm >= 1e-3 && mm <= 1e3, VALUE_RANGE, "spacing_mm: got ", mm, ", expected 0.001 to 1000 mm");
    return {view.data, view.is_float, view.size, view.stride, spacing_mm};
}

using Times = std::vector<std::pair<std::string, double>>;

Times named(const std::vector<StageTime>& stages) {
    Times times;
    for (const StageTime& time : stages) times.emplace_back(time.stage, time.ms);
    return times;
}

// What a run may have otherwise than the recipe.
struct Overrides {
    std::vector<std::string> members;  // some of the recipe's; empty: all of them
    bool mirror = true;                // false: no mirroring
    double step = 0;                   // of the windows; 0: the recipe's
    std::string accumulate = "float32";
};

class Segmenter {
public:
    Segmenter(const std::string& path, const std::string& device, int threads, const std::string& precision,
              const Overrides& overrides)
        : package_(Package::open(path)), recipe_(parse(*package_)) {
        std::vector<std::string> names{""};
        if (recipe_.kind == Recipe::Kind::kWindows) {
            apply(overrides);
            names = window_members(recipe_.volume);
        } else {
            COVFAST_REQUIRE(overrides.members.empty() && overrides.step == 0 && overrides.accumulate == "float32",
                            VALUE_RANGE,
                            "folds, step, accumulate: got settings of windows, expected none for a model without them");
            if (recipe_.kind == Recipe::Kind::kSlices) names = slice_members(recipe_.slices);
        }
        for (const std::string& name : names)
            if (members_.count(name) == 0)
                members_[name] = Network::create(package_, network_options(precision, false), name);
        const Backend& backend = choose_backend(device, needed_ops());
        // Recipes work in host memory: what a CUDA kernel would be given is not on its device.
        COVFAST_REQUIRE(std::string_view(backend.device) == "cpu", UNAVAILABLE, "device: got '", device,
                        "', expected 'cpu', where recipes run so far");
        context_ = {&backend, threads, nullptr};
    }

    bool finds_infection() const { return is_tiles() && recipe_.finds_lungs; }
    bool is_tiles() const { return recipe_.kind == Recipe::Kind::kTiles; }
    std::string orientation() const { return recipe_.orientation; }
    bool is_slices() const { return recipe_.kind == Recipe::Kind::kSlices; }
    int64_t image_channels() const {
        return recipe_.kind == Recipe::Kind::kWindows ? static_cast<int64_t>(recipe_.volume.norms.size()) : 1;
    }
    int64_t output_channels() const {
        if (is_tiles()) return 1;
        return static_cast<int64_t>(is_slices() ? recipe_.slices.values.size() : recipe_.volume.labels.values.size());
    }
    std::vector<std::string> members() const { return recipe_.volume.members; }

    std::string backend() const { return context_.backend->name; }
    std::string device() const { return context_.backend->device; }

    Times run(const py::array& hu, const std::array<double, 3>& spacing_mm, py::array labels, py::array lungs,
              std::optional<py::array> probability, py::object progress, py::object cancel, bool has_lungs) const {
        COVFAST_REQUIRE(is_tiles(), UNAVAILABLE,
                        "model: got one with labels of its own, expected one for lungs and infection");
        const CaseInput input = case_input(hu, spacing_mm);
        const CaseOutput output{output_view<uint8_t>(labels, "labels"), output_view<uint8_t>(lungs, "lungs"),
                                probability ? output_view<float>(*probability, "probability") : View3<float>{},
                                has_lungs};
        PyProgress watcher(std::move(progress), std::move(cancel));
        py::gil_scoped_release nogil;
        return named(segment_volume(recipe_, members_.at(""), input, output, context_, watcher.progress()));
    }

    // channels: (D, H, W) each, as the recipe's orientation has them; probabilities: (C, D, H, W) float32 or None.
    Times run_volume(const std::vector<py::array>& channels, const std::array<double, 3>& spacing_mm, py::array labels,
                     std::optional<py::array> probabilities, py::object progress, py::object cancel) const {
        COVFAST_REQUIRE(!finds_infection(), UNAVAILABLE,
                        "model: got one for lungs and infection, expected one with labels of its own");
        ImageInput image{{}, spacing_mm};
        for (const py::array& channel : channels) {
            const CaseInput one = case_input(channel, spacing_mm);
            COVFAST_REQUIRE(image.channels.empty() || image.channels.front().size == one.size, SHAPE,
                            "image: got channels of several sizes, expected one");
            image.channels.push_back({one.hu, one.is_float, one.size, one.stride});
        }
        LabelOutput output{output_view<uint8_t>(labels, "labels"), nullptr, {}};
        if (probabilities) attach_probabilities(*probabilities, output_channels(), output);
        PyProgress watcher(std::move(progress), std::move(cancel));
        py::gil_scoped_release nogil;
        if (is_tiles()) return named(run_tiles(image, output, watcher.progress()));
        if (is_slices()) return named(run_slices(image, output, watcher.progress()));
        return named(label_volume(recipe_.volume, members_, image, output, accumulate_, context_, watcher.progress()));
    }

    // Bytes that a volume of this size needs beside itself and its labels, at most.
    size_t bytes_for(const std::array<int64_t, 3>& size, const std::array<double, 3>& spacing_mm,
                     bool has_probabilities) const {
        COVFAST_REQUIRE(!finds_infection(), UNAVAILABLE,
                        "model: got one for lungs and infection, expected one with labels of its own");
        const py::gil_scoped_release nogil;
        if (is_tiles()) return 0;  // a slice's worth
        if (is_slices()) return slices_bytes(recipe_.slices, slice_networks(), size, context_);
        return volume_bytes(recipe_.volume, members_, size, spacing_mm, has_probabilities, accumulate_, context_);
    }

    // window: the values that become 0 and 1; None for the recipe's own.
    void run_slice(const py::array& image, std::optional<std::array<float, 2>> window, py::array probability) const {
        COVFAST_REQUIRE(is_tiles(), UNAVAILABLE, "model: got one for volumes, expected one for slices");
        const CaseInput input = case_input(image, {1.0, 1.0, 1.0});
        const View3<float> output = output_view<float>(probability, "probability");
        const stage::Window own = std::get<stage::Window>(recipe_.tile_stages.front());
        const stage::Window used = window ? stage::Window{(*window)[0], (*window)[1]} : own;
        PyProgress watcher;
        py::gil_scoped_release nogil;
        segment_slice(recipe_, members_.at(""), input, used, output, context_, watcher.progress());
    }

private:
    static Recipe parse(const Package& package) {
        const Json& json = package.metadata().at("recipe");
        COVFAST_REQUIRE(!json.is_null(), FORMAT, package.file_name(),
                        ": got a network without a recipe, expected one; covfast.load runs the network alone");
        try {
            return Recipe::parse(json);
        } catch (const Error& error) {
            fail(error.code(), package.file_name(), ": ", error.what());
        }
    }

    void apply(const Overrides& overrides) {
        VolumeRecipe& volume = recipe_.volume;
        for (const std::string& member : overrides.members)
            COVFAST_REQUIRE(std::find(volume.members.begin(), volume.members.end(), member) != volume.members.end(),
                            VALUE_RANGE, "folds: got '", member,
                            "', expected some of the model's own: ", joined(volume.members));
        if (!overrides.members.empty()) volume.members = overrides.members;
        COVFAST_REQUIRE(overrides.step == 0 || (overrides.step >= 0.01 && overrides.step <= 1), VALUE_RANGE,
                        "step: got ", overrides.step, ", expected 0.01 to 1");
        change_windows(overrides, volume);
        COVFAST_REQUIRE(overrides.accumulate == "float32" || overrides.accumulate == "nnunet", VALUE_RANGE,
                        "accumulate: got '", overrides.accumulate, "', expected 'float32' or 'nnunet'");
        accumulate_ = overrides.accumulate == "nnunet" ? Accumulate::kNnunet : Accumulate::kFloat32;
        const WindowOptions& windows = volume.windows.options;
        const bool is_of_version_2 =
            windows.importance == Importance::kGaussian && !windows.plain_if_single && !volume.has_softmax;
        COVFAST_REQUIRE(accumulate_ == Accumulate::kFloat32 || is_of_version_2, VALUE_RANGE,
                        "accumulate: got 'nnunet', expected 'float32' for a model that nnU-Net v2 did not train");
    }

    // Mirroring and step, of a cascade's first networks too.
    static void change_windows(const Overrides& overrides, VolumeRecipe& volume) {
        if (!overrides.mirror) volume.windows.mirrors = {};
        if (overrides.step != 0) volume.windows.options.step.fill(overrides.step);
        if (volume.previous.recipe == nullptr) return;
        VolumeRecipe before = *volume.previous.recipe;
        change_windows(overrides, before);
        volume.previous.recipe = std::make_shared<const VolumeRecipe>(std::move(before));
    }

    static std::string joined(const std::vector<std::string>& names) {
        std::string text;
        for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
        return text.empty() ? "none" : text;
    }

    static std::vector<std::string> window_members(const VolumeRecipe& volume) {
        std::vector<std::string> names = volume.members;
        if (names.empty()) names.push_back("");
        if (volume.previous.recipe == nullptr) return names;
        for (std::string& name : window_members(*volume.previous.recipe)) names.push_back(std::move(name));
        return names;
    }

    std::vector<std::shared_ptr<const Network>> slice_networks() const {
        std::vector<std::shared_ptr<const Network>> networks;
        for (const std::string& name : slice_members(recipe_.slices)) networks.push_back(members_.at(name));
        return networks;
    }

    static CaseInput only_channel(const ImageInput& image) {
        COVFAST_REQUIRE(image.channels.size() == 1, SHAPE, "image: got ", image.channels.size(),
                        " channels, expected 1: a CT");
        const RawChannel& hu = image.channels.front();
        return {hu.data, hu.is_float, hu.size, hu.stride, image.spacing_mm};
    }

    std::vector<StageTime> run_tiles(const ImageInput& image, const LabelOutput& output,
                                     const Progress& progress) const {
        CaseOutput found{output.labels, {}, {}};
        if (output.probabilities != nullptr)
            found.probability = {
                output.probabilities, output.labels.size, {output.stride[1], output.stride[2], output.stride[3]}};
        Recipe oriented = recipe_;
        oriented.orientation = "SPL";  // the caller's views already run as the recipe's
        return segment_volume(oriented, members_.at(""), only_channel(image), found, context_, progress);
    }

    std::vector<StageTime> run_slices(const ImageInput& image, const LabelOutput& output,
                                      const Progress& progress) const {
        COVFAST_REQUIRE(output.probabilities == nullptr, UNAVAILABLE,
                        "probabilities: got a request, expected none; this model's labels are cleaned as labels");
        return label_slices(recipe_, slice_networks(), only_channel(image), output.labels, context_, progress);
    }

    static void attach_probabilities(py::array& probabilities, int64_t channels, LabelOutput& output) {
        const std::array<int64_t, 3>& size = output.labels.size;
        COVFAST_REQUIRE(probabilities.ndim() == 4 && py::isinstance<py::array_t<float>>(probabilities), SHAPE,
                        "probabilities: got ", probabilities.ndim(), " axes, expected float32 (C, D, H, W)");
        for (int axis = 0; axis < 4; ++axis) {
            const int64_t expected = axis == 0 ? channels : size[axis - 1];
            const auto item = static_cast<int64_t>(sizeof(float));
            COVFAST_REQUIRE(probabilities.shape(axis) == expected && probabilities.strides(axis) % item == 0, SHAPE,
                            "probabilities: got ", probabilities.shape(axis), " along axis ", axis, ", expected ",
                            expected);
            output.stride[axis] = probabilities.strides(axis) / item;
        }
        output.probabilities = static_cast<float*>(probabilities.mutable_data());
    }

    // What the networks, the stages and the lungs run on the backend.
    std::vector<const char*> needed_ops() const {
        std::vector<const char*> ops;
        for (const auto& [name, network] : members_)
            ops.insert(ops.end(), network->kernels().begin(), network->kernels().end());
        if (finds_infection()) {
            ops.insert(ops.end(), {"window_hu", "resample_axis", "softmax", "lungs_shrink", "lungs_paint"});
        } else {
            ops.insert(ops.end(),
                       {"gather", "stitch", "stitch_plane", "argmax", "resample_argmax", "spline_axis", "softmax"});
        }
        return ops;
    }

    std::shared_ptr<const Package> package_;
    Recipe recipe_;
    Members members_;
    Accumulate accumulate_ = Accumulate::kFloat32;
    Context context_{};
};

}  // namespace

void register_segment(py::module_& m) {
    py::class_<Segmenter>(m, "Segmenter")
        .def(py::init([](const py::bytes& path, const std::string& device, int threads, const std::string& precision,
                         const std::vector<std::string>& members, bool mirror, double step,
                         const std::string& accumulate) {
                 const std::string file = path;  // bytes: a path need not be UTF-8
                 py::gil_scoped_release nogil;
                 return std::make_unique<Segmenter>(file, device, threads, precision,
                                                    Overrides{members, mirror, step, accumulate});
             }),
             py::arg("path"), py::arg("device"), py::arg("threads"), py::arg("precision") = "fp32",
             py::arg("members") = std::vector<std::string>{}, py::arg("mirror") = true, py::arg("step") = 0.0,
             py::arg("accumulate") = "float32")
        .def_property_readonly("finds_infection", &Segmenter::finds_infection)
        .def_property_readonly("takes_hu", &Segmenter::is_tiles)
        .def_property_readonly("orientation", &Segmenter::orientation)
        .def_property_readonly("image_channels", &Segmenter::image_channels)
        .def_property_readonly("output_channels", &Segmenter::output_channels)
        .def_property_readonly("members", &Segmenter::members)
        .def("run_volume", &Segmenter::run_volume, py::arg("channels"), py::arg("spacing_mm"), py::arg("labels"),
             py::arg("probabilities"), py::arg("progress"), py::arg("cancel"))
        .def("bytes_for", &Segmenter::bytes_for, py::arg("size"), py::arg("spacing_mm"), py::arg("has_probabilities"))
        .def_property_readonly("backend", &Segmenter::backend)
        .def_property_readonly("device", &Segmenter::device)
        .def("run", &Segmenter::run, py::arg("hu"), py::arg("spacing_mm"), py::arg("labels"), py::arg("lungs"),
             py::arg("probability"), py::arg("progress"), py::arg("cancel"), py::arg("has_lungs") = false)
        .def("run_slice", &Segmenter::run_slice, py::arg("image"), py::arg("window"), py::arg("probability"));
}

}  // namespace covfast::python
