#include "engine/volume_recipe.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/polling.h"
#include "core/threads.h"
#include "engine/session.h"
#include "engine/stitcher.h"
#include "kernels/components.h"
#include "kernels/gather.h"
#include "kernels/softmax.h"

namespace covfast {
namespace {

using Axes3 = std::array<int64_t, 3>;

constexpr double kMostFloats = double{1LL << 38};  // of a prepared input: 1 TiB; products of sizes stay exact

template <class T>
std::array<T, 3> permuted(const std::array<T, 3>& values, const std::array<int, 3>& axes) {
    return {values[axes[0]], values[axes[1]], values[axes[2]]};
}

template <class T>
View3<T> permuted(const View3<T>& view, const std::array<int, 3>& axes) {
    return {view.data, permuted(view.size, axes), permuted(view.stride, axes)};
}

int64_t voxels(const Axes3& size) { return size[0] * size[1] * size[2]; }

// The order of resampling along each axis, and the axis of slices that are far apart (-1: none): those of nnU-Net's
// determine_do_sep_z_and_axis (facts in docs/nnunet.md).
struct AxisOrders {
    std::array<int, 3> order;
    int separate = -1;
};

bool is_anisotropic(const std::array<double, 3>& spacing, double threshold) {
    const auto [low, high] = std::minmax_element(spacing.begin(), spacing.end());
    return *high / *low > threshold;
}

AxisOrders axis_orders(const stage::GridOrders& orders, const std::array<double, 3>& from,
                       const std::array<double, 3>& to) {
    AxisOrders found{{orders.order, orders.order, orders.order}};
    const std::array<double, 3>* coarse = nullptr;
    if (orders.separate_z == stage::GridOrders::kAlways) coarse = &from;
    if (orders.separate_z == stage::GridOrders::kAuto)
        coarse = is_anisotropic(from, orders.anisotropy) ? &from
                 : is_anisotropic(to, orders.anisotropy) ? &to
                                                         : nullptr;
    if (coarse == nullptr) return found;
    const double greatest = *std::max_element(coarse->begin(), coarse->end());
    if (std::count(coarse->begin(), coarse->end(), greatest) != 1) return found;
    found.separate = static_cast<int>(std::find(coarse->begin(), coarse->end(), greatest) - coarse->begin());
    found.order[found.separate] = orders.order_z;
    return found;
}

// Where everything lies and how large it is, for one image.
struct Layout {
    Axes3 size;                        // of the image, transposed as all below
    std::array<double, 3> spacing_mm;  // of the image
    std::array<double, 3> target_mm;   // of the network's input
    InputPlan input;
    WindowPlan windows;
    LogitsGrid grid;

    Layout(const VolumeRecipe& recipe, const Axes3& image_size, const std::array<double, 3>& image_mm, const Box& box)
        : size(permuted(image_size, recipe.axes)), spacing_mm(permuted(image_mm, recipe.axes)), target_mm(spacing_mm) {
        input.begin = box.begin, input.end = box.end;
        input.normalise_first = recipe.normalises_first;
        for (int axis = 0; axis < 3; ++axis) {
            if (recipe.spacing_mm[axis] != 0) target_mm[axis] = recipe.spacing_mm[axis];
            const int64_t extent = box.end[axis] - box.begin[axis];
            const double resampled = std::nearbyint(spacing_mm[axis] / target_mm[axis] * static_cast<double>(extent));
            COVFAST_REQUIRE(resampled >= 1 && resampled <= 1 << 20, SHAPE, "image: got ", extent, " voxels of ",
                            spacing_mm[axis], " mm, which are ", resampled, " of the model's ", target_mm[axis],
                            " mm, expected 1 to ", 1 << 20);
            input.size[axis] = static_cast<int64_t>(resampled);
            grid.out[axis] = extent;
        }
        const double floats = static_cast<double>(recipe.norms.size() + recipe.previous.labels.size()) *
                              static_cast<double>(input.size[0]) * static_cast<double>(input.size[1]) *
                              static_cast<double>(input.size[2]);
        COVFAST_REQUIRE(floats <= kMostFloats, MEMORY_LIMIT, "image: got ", floats,
                        " voxels and channels at the model's spacing, expected at most ", kMostFloats);
        const AxisOrders in = axis_orders(recipe.input_orders, spacing_mm, target_mm);
        input.order = in.order, input.separate_axis = in.separate;
        windows = WindowPlan::create(input.size, recipe.windows.options);
        grid.size = input.size;
        grid.order = axis_orders(recipe.logits_orders, target_mm, spacing_mm).order;
    }
};

// The networks of a recipe, ready for windows of its size.
class Ensemble {
public:
    Ensemble(const VolumeRecipe& recipe, const Members& members, const Context& context) : context_(context) {
        std::vector<std::string> names = recipe.members;
        if (names.empty()) names.push_back("");
        for (const std::string& name : names) {
            const auto found = members.find(name);
            COVFAST_REQUIRE(found != members.end(), FORMAT, "recipe stage 'network', members: got '", name,
                            "', expected a network of the package");
            const Session* lender = sessions_.empty() ? nullptr : sessions_.front().get();
            sessions_.push_back(
                std::make_unique<Session>(found->second, context, recipe.windows.options.window, lender));
            networks_.push_back(found->second);
        }
        for (int bits = 0; bits < 8; ++bits) {
            const std::array<bool, 3> flip{(bits & 4) != 0, (bits & 2) != 0, (bits & 1) != 0};
            bool is_asked = true;
            for (int axis = 0; axis < 3; ++axis) is_asked = is_asked && (!flip[axis] || recipe.windows.mirrors[axis]);
            if (is_asked) mirrors_.push_back(flip);
        }
        // nnU-Net sums mirrorings in this order: first those along one axis, D before H before W.
        const auto axes = [](const std::array<bool, 3>& flip) { return flip[0] + flip[1] + flip[2]; };
        std::stable_sort(mirrors_.begin(), mirrors_.end(),
                         [&](const auto& a, const auto& b) { return axes(a) != axes(b) ? axes(a) < axes(b) : a > b; });
        const Shape in = sessions_.front()->in_shape(), out = sessions_.front()->out_shape();
        COVFAST_REQUIRE(out.size == in.size, FORMAT, "recipe stage 'network': got an output of ", out.size[0], "x",
                        out.size[1], "x", out.size[2], ", expected the window's size");
        for (const auto& session : sessions_)
            COVFAST_REQUIRE(
                session->in_shape().channels == in.channels && session->out_shape().channels == out.channels, FORMAT,
                "recipe stage 'network', members: got other channels, expected ", in.channels, " in and ", out.channels,
                " out for all");
        const auto wanted = static_cast<int64_t>(recipe.norms.size() + recipe.previous.labels.size());
        COVFAST_REQUIRE(in.channels == wanted, FORMAT, "recipe: got ", wanted, " channels, expected ", in.channels,
                        ", the network's input");
    }

    int64_t in_channels() const { return sessions_.front()->in_shape().channels; }
    int64_t out_channels() const { return sessions_.front()->out_shape().channels; }
    Readings readings() const {
        return {static_cast<int64_t>(sessions_.size()), static_cast<int64_t>(mirrors_.size())};
    }
    const std::array<bool, 3>& flip(int64_t reading) const { return mirrors_[reading % mirrors_.size()]; }
    Session& session(int64_t reading) { return *sessions_[reading / mirrors_.size()]; }

    size_t bytes() const {
        size_t bytes = 0;
        for (size_t i = 0; i < sessions_.size(); ++i)
            bytes += sessions_[i]->workspace_bytes() + networks_[i]->packed_bytes();
        return bytes;
    }

private:
    Context context_;
    std::vector<std::shared_ptr<const Network>> networks_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<std::array<bool, 3>> mirrors_;
};

LogitsGrid with_channels(LogitsGrid grid, int64_t channels) {
    grid.channels = channels;
    return grid;
}

// The part of an output that the crop box covers.
LabelOutput inside(const LabelOutput& output, const VolumeRecipe& recipe, const Box& box) {
    LabelOutput part = output;
    part.labels = permuted(output.labels, recipe.axes);
    for (int axis = 0; axis < 3; ++axis) {
        part.stride[axis + 1] = output.stride[recipe.axes[axis] + 1];
        part.labels.data += box.begin[axis] * part.labels.stride[axis];
        part.labels.size[axis] = box.end[axis] - box.begin[axis];
        if (part.probabilities != nullptr) part.probabilities += box.begin[axis] * part.stride[axis + 1];
    }
    return part;
}

// Nothing is found outside the crop box: background, for certain.
void clear(const LabelOutput& output, const LabelRule& rule, const Context& context) {
    const Axes3& size = output.labels.size;
    const auto channels = static_cast<int64_t>(output.probabilities == nullptr ? 0 : rule.values.size());
    struct Plan {
        const LabelOutput& output;
        const Axes3& size;
        bool is_regions;
    } const plan{output, size, rule.is_regions};
    // Rows of the labels, then those of each channel's probabilities.
    const RangeFn rows = [](const void* params, int64_t begin, int64_t end) {
        const Plan& p = *static_cast<const Plan*>(params);
        for (int64_t row = begin; row < end; ++row) {
            const int64_t c = row / (p.size[0] * p.size[1]) - 1, d = row / p.size[1] % p.size[0], h = row % p.size[1];
            if (c < 0) {
                for (int64_t w = 0; w < p.size[2]; ++w) p.output.labels.at(d, h, w) = 0;
                continue;
            }
            const std::array<int64_t, 4>& stride = p.output.stride;
            float* at = p.output.probabilities + c * stride[0] + d * stride[1] + h * stride[2];
            for (int64_t w = 0; w < p.size[2]; ++w) at[w * stride[3]] = c == 0 && !p.is_regions ? 1.0f : 0.0f;
        }
    };
    polled_parallel_for(rows, &plan, (1 + channels) * size[0] * size[1], 64, context.threads);
}

void keep_components(const std::vector<stage::KeepComponents>& stages, const View3<uint8_t>& labels, int threads,
                     const Progress& progress) {
    const View3<const uint8_t> seen{labels.data, labels.size, labels.stride};
    for (const stage::KeepComponents& stage : stages)
        for (const std::vector<int>& group : stage.labels) {
            progress.poll("components", 0, 1);
            GroupTable table{};
            for (const int label : group) table[label] = 1;
            const Components components = find_components(seen, stage.connectivity, threads, &table);
            std::vector<uint8_t> kept = at_least(components, stage.min_voxels);
            if (stage.only_largest) {
                const std::vector<uint8_t> largest = largest_of_each(components, Ties::kAll);  // as nnU-Net
                for (size_t i = 0; i < kept.size(); ++i) kept[i] = kept[i] != 0 && largest[i] != 0;
            }
            clear_others(components, kept, labels, threads);
        }
}

class VolumeRun {
public:
    VolumeRun(const VolumeRecipe& recipe, const Members& members, const ImageInput& image, Accumulate accumulate,
              const Context& context, const Progress& progress)
        : recipe_(recipe),
          members_(members),
          image_(image),
          accumulate_(accumulate),
          context_(context),
          progress_(progress) {
        COVFAST_REQUIRE(image.channels.size() == recipe.norms.size(), SHAPE, "image: got ", image.channels.size(),
                        " channels, expected ", recipe.norms.size(), ", as the model was trained on");
        for (RawChannel& channel : image_.channels) {
            channel.size = permuted(channel.size, recipe.axes);
            channel.stride = permuted(channel.stride, recipe.axes);
        }
    }

    std::vector<StageTime> run(const LabelOutput& output) {
        StageClock clock(times_);
        const PollScope scope(progress_, "prepare", 0, 1);
        const Axes3 size = image_.channels.front().size;
        Box box{{0, 0, 0}, size};
        if (recipe_.crops) {
            const Box found = nonzero_box(image_.channels, context_.threads);
            if (found.begin[0] < found.end[0]) box = found;  // an image of zeros: all of it
        }
        clear(output, recipe_.labels, context_);
        clock.stop("crop");
        Ensemble ensemble(recipe_, members_, context_);
        const Layout layout(recipe_, original_size(), image_.spacing_mm, box);
        clock.stop("plan");
        prepare(layout, ensemble.in_channels(), output);
        clock.stop("resample");
        const LabelOutput part = inside(output, recipe_, box);
        LabelRule rule = recipe_.labels;
        rule.is_probability = recipe_.has_softmax;
        rule.rounds_to_half = accumulate_ == Accumulate::kNnunet;  // of a cascade's first network too
        LabelSink sink(with_channels(layout.grid, ensemble.out_channels()), rule, part, context_);
        stitch_windows(layout, ensemble, sink, clock);
        keep_components(recipe_.components, output.labels, context_.threads, progress_);
        clock.stop("components");
        return times_;
    }

private:
    Axes3 original_size() const {
        Axes3 size;
        for (int axis = 0; axis < 3; ++axis) size[recipe_.axes[axis]] = image_.channels.front().size[axis];
        return size;
    }

    void prepare(const Layout& layout, int64_t channels, const LabelOutput& output) {
        channel_floats_ = input_channel_floats(layout.input);
        input_ = arena_.plan<float>(channels * channel_floats_);
        arena_.commit();
        float* input = arena_.get(input_);
        if (recipe_.previous.recipe != nullptr) {
            // The labels of the stage before lie where ours will.
            ImageInput image = image_;
            for (RawChannel& channel : image.channels) {
                const RawChannel seen = channel;
                for (int axis = 0; axis < 3; ++axis) {
                    channel.size[recipe_.axes[axis]] = seen.size[axis];
                    channel.stride[recipe_.axes[axis]] = seen.stride[axis];
                }
            }
            LabelOutput before = output;
            before.probabilities = nullptr;
            label_volume(*recipe_.previous.recipe, members_, image, before, accumulate_, context_, progress_);
            const View3<uint8_t> labels = permuted(output.labels, recipe_.axes);
            prepare_previous({labels.data, labels.size, labels.stride}, recipe_.previous.labels, layout.input,
                             input + static_cast<int64_t>(recipe_.norms.size()) * channel_floats_, channel_floats_,
                             context_, progress_, image_.channels);
            clear(output, recipe_.labels, context_);
        }
        prepare_input(image_.channels, recipe_.norms, layout.input, input, context_, progress_);
    }

    void stitch_windows(const Layout& layout, Ensemble& ensemble, PlaneSink& sink, StageClock& clock) {
        const WindowPlan& plan = layout.windows;
        const Readings readings = ensemble.readings();
        const int64_t channels = ensemble.out_channels(), window = voxels(plan.window);
        Stitcher stitcher(plan, channels, accumulate_, readings, sink, context_);
        Arena arena;
        const Slot<float> in = arena.plan<float>(ensemble.in_channels() * window),
                          out = arena.plan<float>(channels * window);
        arena.commit();
        const std::array<int64_t, 4> stride{window, plan.window[1] * plan.window[2], plan.window[2], 1};
        Position position{progress_, "predict", 0, plan.count() * readings.count()};
        const Progress inner = position.inner();
        const Team team(context_.threads);
        for (int64_t index = 0; index < plan.count(); ++index)
            for (int64_t reading = 0; reading < readings.count(); ++reading, ++position.done) {
                const std::array<bool, 3>& flip = ensemble.flip(reading);
                cut_window(layout, ensemble.in_channels(), plan.origin(index), flip, arena.get(in));
                clock.stop("gather");
                ensemble.session(reading).run(arena.get(in), arena.get(out), 1, inner);
                if (recipe_.has_softmax)
                    softmax({arena.get(out), arena.get(out), 1, channels, window, false}, context_);
                clock.stop("network");
                const PollScope scope(inner, "predict", position.done, position.total);
                stitcher.add(index, reading, arena.get(out), stride, flip);
                clock.stop("stitch");
            }
        stitcher.finish();
        clock.stop("stitch");
        progress_.poll("predict", position.total, position.total);
    }

    void cut_window(const Layout& layout, int64_t channels, const Axes3& origin, const std::array<bool, 3>& flip,
                    float* to) const {
        const Axes3 &size = layout.input.size, &window = layout.windows.window;
        gather({arena_.get(input_),
                channels,
                {size[0], size[1], size[2]},
                {channel_floats_, size[1] * size[2], size[2], 1},
                {origin[0], origin[1], origin[2]},
                {window[0], window[1], window[2]},
                {flip[0], flip[1], flip[2]},
                0.0f,
                to},
               context_);
    }

    const VolumeRecipe& recipe_;
    const Members& members_;
    ImageInput image_;  // transposed
    Accumulate accumulate_;
    Context context_;
    const Progress& progress_;
    std::vector<StageTime> times_;
    Arena arena_;
    Slot<float> input_;
    int64_t channel_floats_ = 0;
};

}  // namespace

std::vector<StageTime> label_volume(const VolumeRecipe& recipe, const Members& members, const ImageInput& image,
                                    const LabelOutput& output, Accumulate accumulate, const Context& context,
                                    const Progress& progress) {
    COVFAST_REQUIRE(!image.channels.empty(), SHAPE, "image: got no channel, expected ", recipe.norms.size());
    COVFAST_REQUIRE(output.labels.size == image.channels.front().size, SHAPE,
                    "labels: got another size than the image");
    return VolumeRun(recipe, members, image, accumulate, context, progress).run(output);
}

size_t volume_bytes(const VolumeRecipe& recipe, const Members& members, Axes3 size, std::array<double, 3> spacing_mm,
                    bool has_probabilities, Accumulate accumulate, const Context& context) {
    const Ensemble ensemble(recipe, members, context);
    const Layout layout(recipe, size, spacing_mm, Box{{0, 0, 0}, permuted(size, recipe.axes)});
    const int64_t in = ensemble.in_channels(), out = ensemble.out_channels();
    const LogitsGrid grid = with_channels(layout.grid, out);
    const int threads = context.threads > 0 ? context.threads : hardware_threads();
    const size_t prepared = in * input_channel_floats(layout.input) * sizeof(float);
    const size_t preparing = input_scratch_bytes(recipe.norms, layout.input, threads);
    const size_t running = ensemble.bytes() + (in + out) * voxels(layout.windows.window) * sizeof(float) +
                           Stitcher::workspace_bytes(layout.windows, out, accumulate, ensemble.readings()) +
                           LabelSink::workspace_bytes(grid, has_probabilities);
    size_t bytes = prepared + std::max(preparing, running);
    if (recipe.previous.recipe != nullptr)
        bytes += volume_bytes(*recipe.previous.recipe, members, size, spacing_mm, false, accumulate, context);
    return bytes;
}

}  // namespace covfast
