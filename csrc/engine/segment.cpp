#include "engine/segment.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/threads.h"
#include "engine/stage_clock.h"
#include "engine/tile_steps.h"
#include "engine/volume_input.h"
#include "kernels/lungs.h"

namespace covfast {
namespace {

using Clock = std::chrono::steady_clock;

void require_same_size(const char* name, const std::array<int64_t, 3>& got, const std::array<int64_t, 3>& expected) {
    COVFAST_REQUIRE(got == expected, SHAPE, name, ": got (", got[0], ", ", got[1], ", ", got[2], "), expected (",
                    expected[0], ", ", expected[1], ", ", expected[2], "), the shape of hu");
}

// "orient": the same memory seen with D, H, W growing as `to` says. The input's own orientation is SPL.
template <class Strided>
void orient(Strided& view, const std::string& to) {
    const Strided from = view;
    for (int axis = 0; axis < 3; ++axis) {
        // S, P, L grow with the input's D, H, W; I, A, R against them.
        const size_t source = to[axis] == 'S' || to[axis] == 'I' ? 0 : to[axis] == 'P' || to[axis] == 'A' ? 1 : 2;
        const bool backwards = to[axis] == 'I' || to[axis] == 'A' || to[axis] == 'R';
        view.size[axis] = from.size[source];
        view.stride[axis] = backwards ? -from.stride[source] : from.stride[source];
        if constexpr (requires { view.spacing_mm; }) view.spacing_mm[axis] = from.spacing_mm[source];
        const int64_t shift = backwards ? (from.size[source] - 1) * from.stride[source] : 0;
        if constexpr (requires { view.hu; }) {
            const int64_t item = view.is_float ? sizeof(float) : sizeof(int16_t);
            view.hu = static_cast<const char*>(view.hu) + shift * item;
        } else if (view.data != nullptr) {
            view.data += shift;
        }
    }
}

// Bounding box of the non-zero voxels, found slice by slice; empty (end <= begin) if there are none.
Box bounding_box(const View3<uint8_t>& mask, int threads) {
    const int64_t depth = mask.size[0];
    std::vector<Box> boxes(depth);
    parallel_for(depth, 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d) {
            Box box{{d, mask.size[1], mask.size[2]}, {d, 0, 0}};
            for (int64_t h = 0; h < mask.size[1]; ++h)
                for (int64_t w = 0; w < mask.size[2]; ++w) {
                    if (mask.at(d, h, w) == 0) continue;
                    box.end[0] = d + 1;
                    box.begin[1] = std::min(box.begin[1], h), box.end[1] = h + 1;
                    box.begin[2] = std::min(box.begin[2], w), box.end[2] = std::max(box.end[2], w + 1);
                }
            boxes[d] = box;
        }
    });
    Box all{mask.size, {0, 0, 0}};
    for (const Box& box : boxes) {
        if (box.end[0] <= box.begin[0]) continue;
        for (int axis = 0; axis < 3; ++axis) {
            all.begin[axis] = std::min(all.begin[axis], box.begin[axis]);
            all.end[axis] = std::max(all.end[axis], box.end[axis]);
        }
    }
    return all;
}

Box widen(Box box, const std::array<double, 3>& margin_mm, const CaseInput& input) {
    for (int axis = 0; axis < 3; ++axis) {
        const auto margin = static_cast<int64_t>(std::lround(margin_mm[axis] / input.spacing_mm[axis]));
        box.begin[axis] = std::max<int64_t>(0, box.begin[axis] - margin);
        box.end[axis] = std::min(input.size[axis], box.end[axis] + margin);
    }
    return box;
}

// "threshold" and "paste" of one tile, from its slice `skip` on: the slices before it belong to the tile before.
// Throws FORMAT where a probability is no number: it must not pass for "no infection".
void write_tile(const stage::Threshold& threshold, const float* tile, const std::array<int64_t, 3>& size,
                const std::array<int64_t, 3>& origin, int64_t skip, const CaseOutput& output, int threads) {
    std::atomic<bool> is_nan{false};
    parallel_for((size[0] - skip) * size[1], 16, threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin + skip * size[1]; row < end + skip * size[1]; ++row) {
            const int64_t d = origin[0] + row / size[1], h = origin[1] + row % size[1];
            for (int64_t w = 0; w < size[2]; ++w) {
                const float p = tile[row * size[2] + w];
                const int64_t at = origin[2] + w;
                if (p != p) is_nan.store(true, std::memory_order_relaxed);
                if (output.probability.data != nullptr) output.probability.at(d, h, at) = p;
                if (p > threshold.above && (!threshold.within_lungs || output.lungs.at(d, h, at) != 0))
                    output.labels.at(d, h, at) = threshold.label;
            }
        }
    });
    COVFAST_REQUIRE(!is_nan, FORMAT, "network: got NaN near slice ", origin[0],
                    ", expected probabilities; the model's weights are broken");
}

template <class T>
void fill(const View3<T>& view, const View3<uint8_t>* from, int threads) {
    parallel_for(view.size[0], 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < view.size[1]; ++h)
                for (int64_t w = 0; w < view.size[2]; ++w)
                    view.at(d, h, w) = from == nullptr ? T{} : static_cast<T>(from->at(d, h, w));
    });
}

void find_lungs(const CaseInput& input, const View3<uint8_t>& lungs_out, const Context& context,
                const Progress& progress) {
    LungsParams params{};
    params.hu = input.hu;
    params.is_float = input.is_float;
    for (int axis = 0; axis < 3; ++axis) {
        params.size[axis] = input.size[axis];
        params.stride[axis] = input.stride[axis];
        params.spacing_mm[axis] = input.spacing_mm[axis];
        params.label_stride[axis] = lungs_out.stride[axis];
    }
    params.labels = lungs_out.data;
    lungs(params, context, progress);
}

}  // namespace

std::vector<StageTime> segment_volume(const Recipe& recipe, std::shared_ptr<const Network> network,
                                      const CaseInput& volume, const CaseOutput& result, const Context& context,
                                      const Progress& progress) {
    require_same_size("labels", result.labels.size, volume.size);
    if (result.lungs.data != nullptr || recipe.finds_lungs) require_same_size("lungs", result.lungs.size, volume.size);
    if (result.probability.data != nullptr) require_same_size("probability", result.probability.size, volume.size);
    // Lungs are found in the canonical orientation, in which left and right are known; the rest runs as the recipe
    // says.
    std::vector<StageTime> times;
    StageClock timer(times);
    Box box{{0, 0, 0}, {}};
    CaseInput input = volume;
    CaseOutput output = result;
    if (recipe.finds_lungs && !result.has_lungs) find_lungs(volume, result.lungs, context, progress);
    timer.stop("lungs");
    orient(input, recipe.orientation);
    orient(output.labels, recipe.orientation);
    orient(output.lungs, recipe.orientation);
    orient(output.probability, recipe.orientation);
    box.end = input.size;
    if (recipe.crops) {
        box = bounding_box(output.lungs, context.threads);
        COVFAST_REQUIRE(box.begin[0] < box.end[0], NO_LUNGS, "hu: got a volume without lungs, expected a chest CT");
        box = widen(box, recipe.crop.margin_mm, input);
    }
    fill(output.labels, recipe.finds_lungs ? &output.lungs : nullptr, context.threads);
    if (output.probability.data != nullptr) fill(output.probability, nullptr, context.threads);
    timer.stop("crop");

    std::array<int64_t, 3> tile;
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t extent = box.end[axis] - box.begin[axis];
        tile[axis] = recipe.tile_size[axis] == 0 ? extent : std::min(extent, recipe.tile_size[axis]);
    }
    TileChain chain(recipe, std::move(network), input, tile, context);
    timer.stop("plan");
    double write_ms = 0;
    Position position{progress, "segment", 0, box.end[0] - box.begin[0]};
    const Progress inner = position.inner();
    for (int64_t d = box.begin[0]; d < box.end[0]; d += tile[0]) {
        position.done = d - box.begin[0];
        const std::array<int64_t, 3> origin{std::min(d, box.end[0] - tile[0]), box.begin[1], box.begin[2]};
        const float* probability = chain.run(origin, inner);
        const auto start = Clock::now();
        write_tile(recipe.threshold, probability, tile, origin, d - origin[0], output, context.threads);
        write_ms += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    }
    progress.poll("segment", position.total, position.total);
    for (StageTime& time : chain.times()) times.push_back(std::move(time));
    times.push_back({"threshold", write_ms});
    return times;
}

void segment_slice(const Recipe& recipe, std::shared_ptr<const Network> network, const CaseInput& slice,
                   const stage::Window& window, const View3<float>& probability, const Context& context,
                   const Progress& progress) {
    COVFAST_REQUIRE(slice.size[0] == 1 && slice.size[1] > 0 && slice.size[2] > 0, SHAPE, "image: got (", slice.size[0],
                    ", ", slice.size[1], ", ", slice.size[2], "), expected one slice");
    require_same_size("probability", probability.size, slice.size);
    Recipe whole = recipe;
    whole.tile_stages.front() = window;
    TileChain chain(whole, std::move(network), slice, slice.size, context);
    const float* tile = chain.run({0, 0, 0}, progress);
    for (int64_t h = 0; h < slice.size[1]; ++h)
        for (int64_t w = 0; w < slice.size[2]; ++w) probability.at(0, h, w) = tile[h * slice.size[2] + w];
}

}  // namespace covfast
