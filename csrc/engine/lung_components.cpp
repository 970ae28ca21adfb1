#include "engine/lung_components.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/polling.h"
#include "core/threads.h"
#include "kernels/components.h"

namespace covfast {
namespace {

constexpr int64_t kLeastVoxels = 3;      // smaller regions join nothing; that no largest one is left of them is likely
constexpr int64_t kLargestHole = 63;     // of a volume of one slice, in pixels
constexpr int64_t kPollEvery = 1 << 14;  // spans, a region one at least: about a millisecond

struct Span {
    int64_t row;  // d * H + h
    int32_t begin, end;
};

// Regions as they join each other. A region is named by the component that it began as.
class Regions {
public:
    Regions(const View3<const uint8_t>& labels, uint8_t spare, int threads)
        : found_(find_components(labels, 26, threads)), spare_(spare), size_(labels.size) {
        const auto n = static_cast<int32_t>(found_.list.size());
        joined_.resize(n);
        std::iota(joined_.begin(), joined_.end(), 0);
        last_member_ = order_ = joined_;
        next_member_.assign(n, -1);
        for (const Component& component : found_.list) voxels_.push_back(component.voxels);
        std::stable_sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return voxels_[a] < voxels_[b]; });
        final_value_.resize(n);
        for (const int32_t region : order_) {
            int64_t& most = most_[value_of(region)];
            if (voxels_[region] > most) most = voxels_[region], final_value_[region] = value_of(region);
        }
        sort_runs();
    }

    void join_small(const Progress& progress, const PollScope& scope) {
        int64_t done = 0, handled = kPollEvery;
        for (const int32_t region : order_) {
            if (handled >= kPollEvery) {
                progress.poll("lung_components", done, static_cast<int64_t>(order_.size()));
                handled = 0;
            }
            ++done, ++handled;
            const bool is_smaller = voxels_[region] < most_[value_of(region)] || is_spare(region);
            if (!is_smaller || voxels_[region] < kLeastVoxels) continue;
            join(region, neighbour_of(region, scope));
            handled += static_cast<int64_t>(reach_.size());
        }
    }

    // What each component becomes, spare regions 0.
    void paint(const View3<uint8_t>& labels, int threads) const {
        const int64_t height = size_[1];
        parallel_for(size_[0] * height, 64, threads, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row)
                for (int64_t i = found_.row_first[row]; i < found_.row_first[row + 1]; ++i) {
                    const ComponentRun& run = found_.runs[i];
                    const uint8_t value = final_value_[joined_[run.component]];
                    if (value == run.value && value != spare_) continue;
                    for (int64_t w = run.begin; w < run.end; ++w)
                        labels.at(row / height, row % height, w) = value == spare_ ? 0 : value;
                }
        });
    }

private:
    uint8_t value_of(int32_t region) const { return found_.list[region].value; }
    bool is_spare(int32_t region) const { return spare_ != 0 && value_of(region) == spare_; }

    // The runs of each component, side by side.
    void sort_runs() {
        first_span_.resize(found_.list.size() + 1);
        for (const ComponentRun& run : found_.runs) ++first_span_[run.component + 1];
        std::partial_sum(first_span_.begin(), first_span_.end(), first_span_.begin());
        spans_.resize(found_.runs.size());
        std::vector<int64_t> next(first_span_.begin(), first_span_.end() - 1);
        for (int64_t row = 0; row + 1 < static_cast<int64_t>(found_.row_first.size()); ++row)
            for (int64_t i = found_.row_first[row]; i < found_.row_first[row + 1]; ++i) {
                const ComponentRun& run = found_.runs[i];
                spans_[next[run.component]++] = {row, run.begin, run.end};
            }
    }

    // In parts of kPollEvery that are merged: a spare region may be as large as the volume.
    void sort_reach(const PollScope& scope) {
        const auto is_before = [](const Span& a, const Span& b) {
            return a.row != b.row ? a.row < b.row : a.begin < b.begin;
        };
        const auto n = static_cast<int64_t>(reach_.size());
        const auto at = [&](int64_t i) { return reach_.begin() + std::min(i, n); };
        for (int64_t i = 0; i < n; i += kPollEvery) {
            std::sort(at(i), at(i + kPollEvery), is_before);
            if (n > kPollEvery) scope.poll();
        }
        for (int64_t part = kPollEvery; part < n; part *= 2)
            for (int64_t i = 0; i + part < n; i += 2 * part) {
                std::inplace_merge(at(i), at(i + part), at(i + 2 * part), is_before);
                scope.poll();
            }
    }

    // The voxels that a cross around the region's reaches, row by row, those of the region included; each once.
    void reach(int32_t region, const PollScope& scope) {
        reach_.clear();
        const int64_t height = size_[1], depth = size_[0];
        const auto width = static_cast<int32_t>(size_[2]);
        for (int32_t member = region; member >= 0; member = next_member_[member])
            for (int64_t i = first_span_[member]; i < first_span_[member + 1]; ++i) {
                const Span& span = spans_[i];
                const int64_t d = span.row / height, h = span.row % height;
                reach_.push_back({span.row, std::max(span.begin - 1, 0), std::min(span.end + 1, width)});
                if (h > 0) reach_.push_back({span.row - 1, span.begin, span.end});
                if (h + 1 < height) reach_.push_back({span.row + 1, span.begin, span.end});
                if (d > 0) reach_.push_back({span.row - height, span.begin, span.end});
                if (d + 1 < depth) reach_.push_back({span.row + height, span.begin, span.end});
            }
        sort_reach(scope);
        size_t kept = 0;
        for (size_t i = 1; i < reach_.size(); ++i) {
            if (reach_[i].row == reach_[kept].row && reach_[i].begin <= reach_[kept].end)
                reach_[kept].end = std::max(reach_[kept].end, reach_[i].end);
            else
                reach_[++kept] = reach_[i];
        }
        reach_.resize(std::min(kept + 1, reach_.size()));
    }

    // The region that most of the reached voxels belong to, the first one of equals; itself if there is none.
    int32_t neighbour_of(int32_t region, const PollScope& scope) {
        reach(region, scope);
        counts_.resize(found_.list.size());
        touched_.clear();
        int64_t handled = 0;
        for (const Span& span : reach_) {
            if (++handled % kPollEvery == 0) scope.poll();
            const auto row_end = found_.runs.begin() + found_.row_first[span.row + 1];
            auto run = std::partition_point(found_.runs.begin() + found_.row_first[span.row], row_end,
                                            [&](const ComponentRun& r) { return r.end <= span.begin; });
            for (; run != row_end && run->begin < span.end; ++run) {
                const int32_t other = joined_[run->component];
                if (other == region || is_spare(other)) continue;
                if (counts_[other] == 0) touched_.push_back(other);
                counts_[other] += std::min(run->end, span.end) - std::max(run->begin, span.begin);
            }
        }
        int32_t best = region;
        int64_t most = 0;
        for (const int32_t other : touched_) {
            if (counts_[other] > most || (counts_[other] == most && other < best)) best = other, most = counts_[other];
            counts_[other] = 0;
        }
        return best;
    }

    void join(int32_t region, int32_t into) {
        if (into == region) return;
        for (int32_t member = region; member >= 0; member = next_member_[member]) joined_[member] = into;
        next_member_[last_member_[into]] = region;
        last_member_[into] = last_member_[region];
        // A region as large as the largest of its value is taken for it, and the largest grows with it.
        int64_t& most = most_[value_of(into)];
        if (voxels_[into] == most) most += voxels_[region];
        voxels_[into] += voxels_[region];
    }

    const Components found_;
    const uint8_t spare_;
    const std::array<int64_t, 3> size_;
    std::vector<int32_t> joined_;                     // component -> its region
    std::vector<int32_t> next_member_, last_member_;  // the components of a region, itself first
    std::vector<int64_t> voxels_;                     // of each region
    std::vector<int32_t> order_;
    std::vector<uint8_t> final_value_;
    std::array<int64_t, 256> most_{};  // largest of each value
    std::vector<int64_t> first_span_;
    std::vector<Span> spans_;
    std::vector<Span> reach_;       // scratch
    std::vector<int64_t> counts_;   // scratch, zeros
    std::vector<int32_t> touched_;  // scratch
};

View3<uint8_t> part(const View3<uint8_t>& view, const Component& box) {
    View3<uint8_t> inner = view;
    inner.data = &view.at(box.begin[0], box.begin[1], box.begin[2]);
    for (int axis = 0; axis < 3; ++axis) inner.size[axis] = box.end[axis] - box.begin[axis];
    return inner;
}

View3<const uint8_t> values(const View3<uint8_t>& view) { return {view.data, view.size, view.stride}; }

// Holes of an only slice, the small ones.
void fill_small_holes(const View3<const uint8_t>& kept, uint8_t value, const View3<uint8_t>& labels) {
    GroupTable others;
    others.fill(1);
    others[value] = 0;
    const Components components = find_components(kept, 4, 1, &others);
    std::vector<uint8_t> stays(components.list.size());
    for (size_t c = 0; c < stays.size(); ++c) {
        const Component& hole = components.list[c];
        stays[c] = hole.voxels > kLargestHole || hole.begin[1] == 0 || hole.begin[2] == 0 ||
                   hole.end[1] == kept.size[1] || hole.end[2] == kept.size[2];
    }
    clear_others(components, stays, labels, 1, value);
}

// Step 3. A component's holes lie inside its box: behind the box's border all is open.
void keep_largest_filled(const View3<uint8_t>& labels, int threads) {
    const Components found = find_components(values(labels), 26, threads);
    const std::vector<uint8_t> largest = largest_of_each(found, Ties::kLast);
    clear_others(found, largest, labels, threads);
    std::vector<uint8_t> memory(labels.size[0] * labels.size[1] * labels.size[2]);
    const View3<uint8_t> kept{memory.data(), labels.size, {labels.size[1] * labels.size[2], labels.size[2], 1}};
    parallel_for(labels.size[0], 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d)
            for (int64_t h = 0; h < labels.size[1]; ++h)
                for (int64_t w = 0; w < labels.size[2]; ++w) kept.at(d, h, w) = labels.at(d, h, w);
    });
    std::vector<const Component*> by_value;
    for (size_t c = 0; c < largest.size(); ++c)
        if (largest[c] != 0) by_value.push_back(&found.list[c]);
    std::sort(by_value.begin(), by_value.end(), [](auto* a, auto* b) { return a->value < b->value; });
    for (const Component* component : by_value) {
        const View3<const uint8_t> from = values(part(kept, *component));
        const View3<uint8_t> to = part(labels, *component);
        // What an earlier value filled of this one is taken back.
        GroupTable own{};
        own[component->value] = 1;
        const Components self = find_components(from, 6, threads, &own);
        clear_others(self, std::vector<uint8_t>(self.list.size()), to, threads, component->value);
        if (labels.size[0] == 1)
            fill_small_holes(from, component->value, to);
        else
            fill_holes(from, component->value, 6, to, threads);
    }
}

}  // namespace

void clean_lung_labels(const View3<uint8_t>& labels, uint8_t spare, int threads, const Progress& progress) {
    const PollScope scope(progress, "lung_components", 0, 1);
    Regions regions(values(labels), spare, threads);
    regions.join_small(progress, scope);
    regions.paint(labels, threads);
    keep_largest_filled(labels, threads);
    scope.poll();
}

}  // namespace covfast
