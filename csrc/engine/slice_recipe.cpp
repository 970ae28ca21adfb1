// One pass for each network:
//   1. Batches of slices: body box, zoom of order 1, [low, high] HU to [0, 1]; network; argmax.
//   2. The labels of the network's size, cleaned as a volume.
//   3. Each slice zoomed back, order 0, into its box; 0 outside.
// Then, with a second network: voxels that only it labels get a spare value, which joins its neighbours; voxels that
// it does not label are 0.
#include "engine/slice_recipe.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/threads.h"
#include "engine/body_crop.h"
#include "engine/endpoint_zoom.h"
#include "engine/lung_components.h"
#include "engine/session.h"
#include "kernels/argmax.h"

namespace covfast {
namespace {

constexpr int64_t kBatch = 16;             // slices prepared and labelled at a time: enough for the threads,
constexpr int64_t kBatchFloats = 1 << 24;  // and less where their numbers would take more than 64 MiB

using Networks = std::vector<std::shared_ptr<const Network>>;

View3<uint8_t> contiguous(std::vector<uint8_t>& memory, int64_t depth, int64_t height, int64_t width) {
    memory.resize(depth * height * width);
    return {memory.data(), {depth, height, width}, {height * width, width, 1}};
}

int64_t batch_of(const SliceRecipe& recipe, int64_t channels) {
    return std::clamp<int64_t>(kBatchFloats / (recipe.size[0] * recipe.size[1] * (1 + channels)), 1, kBatch);
}

HuSlice slice_of(const SliceRecipe& recipe, const CaseInput& input, int64_t d) {
    const int64_t offset = d * input.stride[0];
    const void* data = input.is_float ? static_cast<const void*>(static_cast<const float*>(input.hu) + offset)
                                      : static_cast<const int16_t*>(input.hu) + offset;
    return {data,          input.is_float, {input.size[1], input.size[2]}, {input.stride[1], input.stride[2]},
            recipe.low_hu, recipe.high_hu};
}

// x (size) of the box. False if a value is no number.
bool zoom_in(const SliceRecipe& recipe, const HuSlice& hu, const SliceBox& box, float* x) {
    const LinearZoom rows = linear_zoom(box.end[0] - box.begin[0], recipe.size[0]);
    const LinearZoom columns = linear_zoom(box.end[1] - box.begin[1], recipe.size[1]);
    const float low = recipe.low_hu, span = recipe.high_hu - recipe.low_hu;
    bool is_number = true;
    for (const LinearZoom::Tap& row : rows.taps)
        for (const LinearZoom::Tap& column : columns.taps) {
            float value = 0;
            if (row.first >= 0 && column.first >= 0) {
                const int64_t h[2] = {box.begin[0] + row.first, box.begin[0] + row.second};
                const int64_t w[2] = {box.begin[1] + column.first, box.begin[1] + column.second};
                double sum = 0;
                for (int a = 0; a < 2; ++a)
                    for (int b = 0; b < 2; ++b)
                        sum += static_cast<double>(hu.at(h[a], w[b])) * row.weight[a] * column.weight[b];
                // Whole numbers stay whole numbers: halves away from 0.
                value = static_cast<float>(hu.is_float ? sum : std::trunc(sum > 0 ? sum + 0.5 : sum - 0.5));
            }
            is_number = is_number && value == value;
            *x++ = (value - low) / span;
        }
    return is_number;
}

class SlicePass {
public:
    SlicePass(const SliceRecipe& recipe, std::shared_ptr<const Network> network, const CaseInput& input,
              const Context& context, std::vector<StageTime>& times)
        : recipe_(recipe),
          input_(input),
          context_(context),
          times_(times),
          session_(check(recipe, std::move(network)), context, {1, recipe.size[0], recipe.size[1]}),
          boxes_(input.size[0]) {
        COVFAST_REQUIRE(session_.out_shape().size == session_.in_shape().size, FORMAT,
                        "recipe stage 'network': got an output of another size than the input, expected the same");
    }

    void run(const View3<uint8_t>& labels, const Progress& progress, int64_t pass, int64_t passes) {
        const int64_t depth = input_.size[0], channels = session_.out_shape().channels;
        const int64_t batch = batch_of(recipe_, channels);
        std::vector<uint8_t> memory;
        const View3<uint8_t> small = contiguous(memory, depth, recipe_.size[0], recipe_.size[1]);
        std::vector<float> in(batch * pixels()), out(batch * pixels() * channels);
        StageClock clock(times_);
        for (int64_t d = 0; d < depth; d += batch) {
            const int64_t n = std::min(batch, depth - d);
            prepare_slices(recipe_, input_, d, n, &boxes_[d], in.data(), context_.threads);
            clock.stop("slices");
            for (int64_t i = 0; i < n; ++i) {
                Position position{progress, "slices", pass * depth + d + i, passes * depth};
                progress.poll("slices", position.done, position.total);
                session_.run(in.data() + i * pixels(), out.data() + i * pixels() * channels, 1, position.inner());
            }
            clock.stop("network");
            choose(d, n, out.data(), small);
            clock.stop("argmax");
        }
        if (recipe_.cleans) clean_lung_labels(small, 0, context_.threads, progress);
        clock.stop("lung_components");
        paste(small, labels);
        clock.stop("paste");
    }

private:
    static std::shared_ptr<const Network> check(const SliceRecipe& recipe, std::shared_ptr<const Network> network) {
        COVFAST_REQUIRE(network->rank() == 2 && network->in_channels() == 1, FORMAT,
                        "recipe stage 'network': got a network of ", network->rank(), " axes and ",
                        network->in_channels(), " channels, expected 2 and 1 behind 'slices'");
        const auto& graph = network->graph();
        const int64_t channels = graph.values[graph.output].channels;
        COVFAST_REQUIRE(channels == static_cast<int64_t>(recipe.values.size()), FORMAT,
                        "recipe stage 'argmax', values: got ", recipe.values.size(), ", expected ", channels,
                        ", the channels of the network's output");
        return network;
    }

    int64_t pixels() const { return recipe_.size[0] * recipe_.size[1]; }

    void choose(int64_t first, int64_t n, const float* scores, const View3<uint8_t>& small) {
        const int64_t channels = session_.out_shape().channels, rows = recipe_.size[0], width = recipe_.size[1];
        bad_rows_.resize(rows);
        for (int64_t i = 0; i < n; ++i) {
            argmax({scores + i * channels * pixels(), channels, rows, width, pixels(), width, recipe_.values.data(),
                    false, &small.at(first + i, 0, 0), width, 1, bad_rows_.data()},
                   context_);
            const bool is_bad = std::find(bad_rows_.begin(), bad_rows_.end(), 1) != bad_rows_.end();
            COVFAST_REQUIRE(!is_bad, FORMAT, "network: got NaN or infinity in slice ", first + i,
                            ", expected scores; the model's weights are broken");
        }
    }

    void paste(const View3<uint8_t>& small, const View3<uint8_t>& labels) const {
        parallel_for(labels.size[0], 1, context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t d = begin; d < end; ++d) {
                const SliceBox& box = boxes_[d];
                const std::vector<int32_t> rows = nearest_zoom(small.size[1], box.end[0] - box.begin[0]);
                const std::vector<int32_t> columns = nearest_zoom(small.size[2], box.end[1] - box.begin[1]);
                for (int64_t h = 0; h < labels.size[1]; ++h) {
                    const bool is_in = h >= box.begin[0] && h < box.end[0] && rows[h - box.begin[0]] >= 0;
                    const uint8_t* from = is_in ? &small.at(d, rows[h - box.begin[0]], 0) : nullptr;
                    for (int64_t w = 0; w < labels.size[2]; ++w) {
                        const bool has = is_in && w >= box.begin[1] && w < box.end[1] && columns[w - box.begin[1]] >= 0;
                        labels.at(d, h, w) = has ? from[columns[w - box.begin[1]]] : 0;
                    }
                }
            }
        });
    }

    const SliceRecipe& recipe_;
    const CaseInput& input_;
    const Context& context_;
    std::vector<StageTime>& times_;
    Session session_;
    std::vector<SliceBox> boxes_;
    std::vector<uint8_t> bad_rows_;  // scratch
};

// "fill_from": what only the filling labels have becomes `spare`, the value behind the highest; what they have not, 0.
uint8_t mark_spare(const View3<uint8_t>& labels, const View3<uint8_t>& filling, int threads) {
    std::vector<uint8_t> most(labels.size[0]);
    parallel_for(labels.size[0], 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < labels.size[1]; ++h)
                for (int64_t w = 0; w < labels.size[2]; ++w) most[d] = std::max(most[d], labels.at(d, h, w));
    });
    const int spare = *std::max_element(most.begin(), most.end()) + 1;
    COVFAST_REQUIRE(spare <= 255, FORMAT, "recipe stage 'fill_from': got the label 255, expected at most 254");
    parallel_for(labels.size[0], 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < labels.size[1]; ++h)
                for (int64_t w = 0; w < labels.size[2]; ++w) {
                    uint8_t& label = labels.at(d, h, w);
                    if (filling.at(d, h, w) == 0)
                        label = 0;
                    else if (label == 0)
                        label = static_cast<uint8_t>(spare);
                }
    });
    return static_cast<uint8_t>(spare);
}

// Bytes that one pass takes for so many slices, packed weights left out. Cleaning holds runs of labels and one label's
// mask: less than two bytes for each of what it cleans.
size_t pass_bytes(const SliceRecipe& recipe, const std::shared_ptr<const Network>& network, int64_t depth,
                  const Context& context) {
    const Session session(network, context, {1, recipe.size[0], recipe.size[1]});
    const int64_t channels = session.out_shape().channels, pixels = recipe.size[0] * recipe.size[1];
    const size_t batch = batch_of(recipe, channels) * pixels * (1 + channels) * sizeof(float);
    return session.workspace_bytes() + batch + 3 * depth * pixels;
}

}  // namespace

void prepare_slices(const SliceRecipe& recipe, const CaseInput& input, int64_t first, int64_t n, SliceBox* boxes,
                    float* x, int threads) {
    std::atomic<int64_t> bad{-1};
    parallel_for(n, 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const HuSlice hu = slice_of(recipe, input, first + i);
            boxes[i] = recipe.crops_body ? body_box(hu) : SliceBox{{0, 0}, hu.size};
            if (!zoom_in(recipe, hu, boxes[i], x + i * recipe.size[0] * recipe.size[1])) bad = first + i;
        }
    });
    COVFAST_REQUIRE(bad < 0, VALUE_RANGE, "hu: got NaN in slice ", bad.load(), ", expected finite numbers");
}

std::vector<std::string> slice_members(const SliceRecipe& recipe) {
    std::vector<std::string> members{recipe.member};
    if (recipe.fill != nullptr) members.push_back(recipe.fill->member);
    return members;
}

size_t slices_bytes(const SliceRecipe& recipe, const Networks& networks, const std::array<int64_t, 3>& size,
                    const Context& context) {
    size_t greatest = pass_bytes(recipe, networks.front(), size[0], context);
    size_t kept = networks.front()->package().file_bytes();
    for (const auto& network : networks) kept += network->packed_bytes();
    if (recipe.fill != nullptr) {
        greatest = std::max(greatest, pass_bytes(*recipe.fill, networks.back(), size[0], context));
        kept += 3 * size[0] * size[1] * size[2];  // the filling labels, and cleaning both together
    }
    return kept + greatest;
}

std::vector<StageTime> label_slices(const Recipe& recipe, const Networks& networks, const CaseInput& input,
                                    const View3<uint8_t>& labels, const Context& context, const Progress& progress) {
    const SliceRecipe& slices = recipe.slices;
    const int64_t passes = slices.fill == nullptr ? 1 : 2;
    COVFAST_REQUIRE(static_cast<int64_t>(networks.size()) == passes, FORMAT, "recipe: got ", networks.size(),
                    " networks, expected ", passes);
    COVFAST_REQUIRE(labels.size == input.size && input.size[0] > 0 && input.size[1] > 0 && input.size[2] > 0, SHAPE,
                    "labels: got (", labels.size[0], ", ", labels.size[1], ", ", labels.size[2], "), expected (",
                    input.size[0], ", ", input.size[1], ", ", input.size[2], "), the shape of hu, without empty axes");
    std::vector<StageTime> times;
    SlicePass(slices, networks.front(), input, context, times).run(labels, progress, 0, passes);
    if (slices.fill != nullptr) {
        std::vector<uint8_t> memory;
        const View3<uint8_t> filling = contiguous(memory, labels.size[0], labels.size[1], labels.size[2]);
        SlicePass(*slices.fill, networks.back(), input, context, times).run(filling, progress, 1, passes);
        StageClock clock(times);
        const uint8_t spare = mark_spare(labels, filling, context.threads);
        memory = {};
        clean_lung_labels(labels, spare, context.threads, progress);
        clock.stop("fill_from");
    }
    progress.poll("slices", passes * input.size[0], passes * input.size[0]);
    return times;
}

}  // namespace covfast
