#include "engine/stitcher.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/threads.h"
#include "kernels/stitch.h"
#include "kernels/stitch_half.h"

namespace covfast {
namespace {

int64_t voxels(const std::array<int64_t, 3>& size) { return size[0] * size[1] * size[2]; }

// Planes that windows of one depth touch at most, and with them the ring.
int64_t ring_planes(const WindowPlan& plan) { return std::min(plan.window[0], plan.size[0]); }

}  // namespace

Stitcher::Stitcher(const WindowPlan& plan, int64_t channels, Accumulate accumulate, const Readings& readings,
                   PlaneSink& sink, const Context& context)
    : plan_(plan),
      channels_(channels),
      plane_floats_(channels * plan.size[1] * plan.size[2]),
      readings_(readings),
      accumulate_(accumulate),
      sink_(sink),
      context_(context) {
    const int64_t ring = ring_planes(plan);
    if (accumulate == Accumulate::kFloat32) {
        ring_ = arena_.plan<float>(ring * plane_floats_);
        total_ = arena_.plan<float>(plan.floor > 0 ? plan.size[1] * plan.size[2] : 0);
    } else {
        half_ = arena_.plan<uint16_t>(readings.members * ring * plane_floats_);
        count_ = arena_.plan<uint16_t>(ring * plan.size[1] * plan.size[2]);
        importance_ = arena_.plan<uint16_t>(voxels(plan.window));
        mirrored_ = arena_.plan<float>(readings.mirrors > 1 ? channels * voxels(plan.window) : 0);
        plane_ = arena_.plan<float>(plane_floats_);
    }
    arena_.commit();
    if (accumulate == Accumulate::kNnunet) {
        const std::vector<uint16_t> importance = nnunet_importance(plan.window);
        std::copy(importance.begin(), importance.end(), arena_.get(importance_));
    }
    for (int64_t slot = 0; slot < ring; ++slot) clear(slot);
}

size_t Stitcher::workspace_bytes(const WindowPlan& plan, int64_t channels, Accumulate accumulate,
                                 const Readings& readings) {
    const int64_t area = plan.size[1] * plan.size[2], ring = ring_planes(plan);
    if (accumulate == Accumulate::kFloat32) return (ring * channels + (plan.floor > 0 ? 1 : 0)) * area * sizeof(float);
    return (readings.members * ring * channels * area + ring * area + voxels(plan.window)) * sizeof(uint16_t) +
           channels * (area + (readings.mirrors > 1 ? voxels(plan.window) : 0)) * sizeof(float);
}

void Stitcher::add(int64_t index, int64_t reading, const float* x, const std::array<int64_t, 4>& stride,
                   const std::array<bool, 3>& flip) {
    const int64_t n = readings_.count();
    COVFAST_REQUIRE(reading < n && index * n + reading == next_ && index < plan_.count(), VALUE_RANGE,
                    "window: got reading ", reading, " of window ", index, ", expected ", next_ % n, " of ", next_ / n,
                    "; windows come in the plan's order");
    ++next_;
    const std::array<int64_t, 3> origin = plan_.origin(index);
    flush(std::max<int64_t>(0, origin[0]));
    const std::array<int64_t, 3>&window = plan_.window, &size = plan_.size;
    const StitchParams params{x,
                              channels_,
                              {window[0], window[1], window[2]},
                              {stride[0], stride[1], stride[2], stride[3]},
                              {flip[0], flip[1], flip[2]},
                              {plan_.weight[0].data(), plan_.weight[1].data(), plan_.weight[2].data()},
                              arena_.get(ring_),
                              ring_planes(plan_),
                              size[0],
                              size[1],
                              size[2],
                              {origin[0], origin[1], origin[2]},
                              plan_.floor};
    if (accumulate_ == Accumulate::kNnunet) {
        add_half(reading, params);
    } else {
        stitch(params, context_);
    }
}

// nnU-Net sums the mirrorings of a window, divides, weighs and rounds once.
void Stitcher::add_half(int64_t reading, const StitchParams& window) {
    const int64_t mirror = reading % readings_.mirrors, member = reading / readings_.mirrors;
    StitchHalfParams params{window.x,
                            channels_,
                            {window.window[0], window.window[1], window.window[2]},
                            {window.stride[0], window.stride[1], window.stride[2], window.stride[3]},
                            {window.flip[0], window.flip[1], window.flip[2]},
                            1.0f / static_cast<float>(readings_.mirrors),
                            arena_.get(importance_),
                            arena_.get(half_) + member * window.ring * plane_floats_,
                            member == 0 ? arena_.get(count_) : nullptr,
                            window.ring,
                            window.depth,
                            window.height,
                            window.width,
                            {window.origin[0], window.origin[1], window.origin[2]}};
    if (readings_.mirrors > 1) {
        const int64_t depth = window.window[0], height = window.window[1], width = window.window[2];
        float* sum = arena_.get(mirrored_);
        if (mirror == 0) std::memset(sum, 0, mirrored_.count * sizeof(float));
        const std::vector<float> ones(std::max({depth, height, width}), 1.0f);
        StitchParams into = window;
        std::fill(into.weight, into.weight + 3, ones.data());
        into.sum = sum, into.ring = into.depth = depth, into.height = height, into.width = width;
        std::fill(into.origin, into.origin + 3, 0);
        stitch(into, context_);
        if (mirror + 1 < readings_.mirrors) return;
        params.x = sum;
        const int64_t stride[] = {height * width, channels_ * height * width, width, 1};
        std::copy(stride, stride + 4, params.stride);
        std::fill(params.flip, params.flip + 3, false);
    }
    stitch_half(params, context_);
}

void Stitcher::finish() {
    COVFAST_REQUIRE(next_ == plan_.count() * readings_.count(), VALUE_RANGE, "windows: got ", next_ / readings_.count(),
                    ", expected ", plan_.count());
    flush(plan_.size[0]);  // clears each plane behind it
    flushed_ = next_ = 0;
}

void Stitcher::flush(int64_t end) {
    for (; flushed_ < end; ++flushed_) {
        float* destination = sink_.destination(flushed_);
        sink_.plane(flushed_, finish_plane(flushed_, destination));
        clear(flushed_ % ring_planes(plan_));
    }
}

// An importance with a floor is no product over the axes: how much the plane's voxels count is added up as they were.
void Stitcher::divide_by_totals(int64_t d, const float* sum, float* destination) {
    const int64_t height = plan_.size[1], width = plan_.size[2];
    const float reading = static_cast<float>(readings_.count());
    float* total = arena_.get(total_);
    std::memset(total, 0, total_.count * sizeof(float));
    for (int64_t index = 0; index < plan_.count(); ++index) {
        const std::array<int64_t, 3> origin = plan_.origin(index);
        const int64_t p = d - origin[0];
        if (p < 0 || p >= plan_.window[0]) continue;
        stitch({&reading,
                1,
                {1, plan_.window[1], plan_.window[2]},
                {},
                {},
                {plan_.weight[0].data() + p, plan_.weight[1].data(), plan_.weight[2].data()},
                total,
                1,
                1,
                height,
                width,
                {0, origin[1], origin[2]},
                plan_.floor},
               context_);
    }
    parallel_for(channels_ * height, 64, context_.threads, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r)
            for (int64_t w = 0; w < width; ++w)
                destination[r * width + w] = sum[r * width + w] / total[r % height * width + w];
    });
}

const float* Stitcher::finish_plane(int64_t d, float* destination) {
    const int64_t height = plan_.size[1], width = plan_.size[2], ring = ring_planes(plan_);
    if (accumulate_ == Accumulate::kNnunet) {
        if (destination == nullptr) destination = arena_.get(plane_);
        stitch_half_plane(
            {arena_.get(half_) + d % ring * plane_floats_, arena_.get(count_) + d % ring * height * width,
             readings_.members, ring * plane_floats_, channels_, height, width, destination, height * width, width},
            context_);
        return destination;
    }
    const float* sum = arena_.get(ring_) + d % ring * plane_floats_;
    if (destination == nullptr) return sum;
    if (plan_.floor > 0) {
        divide_by_totals(d, sum, destination);
        return destination;
    }
    stitch_plane({sum, channels_, height, width, plan_.total[0][d] * static_cast<float>(readings_.count()),
                  plan_.total[1].data(), plan_.total[2].data(), destination, height * width, width},
                 context_);
    return destination;
}

void Stitcher::clear(int64_t slot) {
    const int64_t area = plan_.size[1] * plan_.size[2], ring = ring_planes(plan_);
    parallel_for(channels_, 1, context_.threads, [&](int64_t begin, int64_t end) {
        const size_t at = slot * plane_floats_ + begin * area, count = (end - begin) * area;
        if (accumulate_ == Accumulate::kFloat32) std::memset(arena_.get(ring_) + at, 0, count * sizeof(float));
        for (int64_t m = 0; accumulate_ == Accumulate::kNnunet && m < readings_.members; ++m)
            std::memset(arena_.get(half_) + m * ring * plane_floats_ + at, 0, count * sizeof(uint16_t));
    });
    if (accumulate_ == Accumulate::kNnunet) std::memset(arena_.get(count_) + slot * area, 0, area * sizeof(uint16_t));
}

}  // namespace covfast
