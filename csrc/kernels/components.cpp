// Connected components by runs. Rows become runs of one value; touching runs of neighbouring rows are joined in a
// union-find whose root is always the first run, so roots in order are components in order of their first voxels.
//   1. Slabs of kSlabSlices slices, in parallel: runs of each row, joined with the rows before it inside the slab.
//   2. The slabs' runs one after the other; runs at the border of two slabs are joined.
//   3. One pass in order: a root takes the next number, another run its parent's, which stands before it.
// A run's field `component` holds its parent until step 3. Rows are scanned 8 voxels at a time: most of a label map is
// long runs, and reading it is what takes the time.
#include "kernels/components.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/polling.h"

namespace covfast {
namespace {

constexpr int64_t kSlabSlices = 8;  // cut whatever the number of threads; smaller would leave more borders to step 2
constexpr int64_t kMostIndices = std::numeric_limits<int32_t>::max();
constexpr int64_t kRowGrain = 64;

// A row before the current one whose runs may touch its runs.
struct NeighbourRow {
    int64_t d, h;   // offset of the row
    int32_t reach;  // 1: diagonally along W too
};

std::vector<NeighbourRow> neighbour_rows(int connectivity) {
    switch (connectivity) {
        case 4:
            return {{0, -1, 0}};
        case 8:
            return {{0, -1, 1}};
        case 6:
            return {{0, -1, 0}, {-1, 0, 0}};
        case 18:
            return {{0, -1, 1}, {-1, -1, 0}, {-1, 0, 1}, {-1, 1, 0}};
        case 26:
            return {{0, -1, 1}, {-1, -1, 1}, {-1, 0, 1}, {-1, 1, 1}};
    }
    fail(Code::VALUE_RANGE, "connectivity: got ", connectivity, ", expected 6, 18 or 26, or 4 or 8 within each slice");
}

template <class Body>
void polled_for(int64_t n, int64_t grain, int threads, const Body& body) {
    polled_parallel_for([](const void* p, int64_t begin, int64_t end) { (*static_cast<const Body*>(p))(begin, end); },
                        &body, n, grain, threads);
}

void require_same_size(const char* name, const std::array<int64_t, 3>& got, const std::array<int64_t, 3>& expected) {
    COVFAST_REQUIRE(got == expected, SHAPE, name, ": got (", got[0], ", ", got[1], ", ", got[2], "), expected (",
                    expected[0], ", ", expected[1], ", ", expected[2], "), the shape of labels");
}

// First position behind `x` whose byte is not row[x].
int64_t run_end(const uint8_t* row, int64_t x, int64_t n) {
    const uint8_t value = row[x];
    if constexpr (std::endian::native == std::endian::little) {
        const uint64_t same = value * 0x0101010101010101u;
        for (; x + 8 <= n; x += 8) {
            uint64_t word;
            std::memcpy(&word, row + x, 8);
            if (word != same) return x + std::countr_zero(word ^ same) / 8;
        }
    }
    while (x < n && row[x] == value) ++x;
    return x;
}

// Appends the runs of one row; each is its own parent. Values of one group make one run.
void append_runs(const uint8_t* row, int64_t n, const GroupTable* groups, std::vector<ComponentRun>& runs) {
    const size_t first = runs.size();
    for (int64_t x = 0; x < n;) {
        const uint8_t value = groups == nullptr ? row[x] : (*groups)[row[x]];
        const auto begin = static_cast<int32_t>(x);
        x = run_end(row, x, n);
        if (value == 0) continue;
        if (runs.size() > first && runs.back().value == value && runs.back().end == begin)
            runs.back().end = static_cast<int32_t>(x);
        else
            runs.push_back({begin, static_cast<int32_t>(x), static_cast<int32_t>(runs.size()), value});
    }
}

int32_t find_root(ComponentRun* runs, int32_t i) {
    while (runs[i].component != i) {
        runs[i].component = runs[runs[i].component].component;
        i = runs[i].component;
    }
    return i;
}

void join(ComponentRun* runs, int32_t a, int32_t b) {
    a = find_root(runs, a), b = find_root(runs, b);
    runs[std::max(a, b)].component = std::min(a, b);
}

// Joins the touching runs of two rows, given as ranges of indices.
void join_rows(ComponentRun* runs, int64_t a, int64_t a_end, int64_t b, int64_t b_end, int32_t reach) {
    for (; a < a_end; ++a) {
        while (b < b_end && runs[b].end + reach <= runs[a].begin) ++b;
        for (int64_t k = b; k < b_end && runs[k].begin < runs[a].end + reach; ++k)
            if (runs[k].value == runs[a].value) join(runs, static_cast<int32_t>(a), static_cast<int32_t>(k));
    }
}

struct Slab {
    std::vector<ComponentRun> runs;
    std::vector<int64_t> row_first;
};

class Finder {
public:
    Finder(const View3<const uint8_t>& labels, int connectivity, int threads, const GroupTable* groups)
        : labels_(labels), neighbours_(neighbour_rows(connectivity)), threads_(threads), groups_(groups) {
        for (int64_t n : labels.size)
            COVFAST_REQUIRE(n >= 0 && n < kMostIndices - 1, SHAPE, "labels: got an axis of ", n,
                            ", expected fewer than 2^31 voxels along each");
    }

    Components find() {
        const auto [depth, height, width] = labels_.size;
        result_.size = labels_.size;
        slabs_.resize((depth + kSlabSlices - 1) / kSlabSlices);
        polled_for(static_cast<int64_t>(slabs_.size()), 1, threads_, [this](int64_t begin, int64_t end) {
            for (int64_t slab = begin; slab < end; ++slab) scan(slab);
        });
        concatenate();
        for (int64_t d = kSlabSlices; d < depth; d += kSlabSlices)
            for (int64_t h = 0; h < height; ++h) join_before(result_.runs.data(), result_.row_first, d, h, 0, true);
        number();
        return std::move(result_);
    }

private:
    // Joins row (d, h) with the rows before it: those of slice d - 1 if `across`, else all from slice `first_d` on.
    // row_first begins with the slice first_d.
    void join_before(ComponentRun* runs, const std::vector<int64_t>& row_first, int64_t d, int64_t h, int64_t first_d,
                     bool across) const {
        const int64_t height = labels_.size[1], row = (d - first_d) * height + h;
        for (const NeighbourRow& near : neighbours_) {
            if (h + near.h < 0 || h + near.h >= height || d + near.d < first_d || (across && near.d == 0)) continue;
            const int64_t other = row + near.d * height + near.h;
            join_rows(runs, row_first[row], row_first[row + 1], row_first[other], row_first[other + 1], near.reach);
        }
    }

    void scan(int64_t index) {
        Slab& slab = slabs_[index];
        const int64_t first_d = index * kSlabSlices, height = labels_.size[1], width = labels_.size[2];
        std::vector<uint8_t> copy(labels_.stride[2] == 1 ? 0 : width);
        slab.row_first.push_back(0);
        for (int64_t d = first_d; d < std::min(first_d + kSlabSlices, labels_.size[0]); ++d)
            for (int64_t h = 0; h < height; ++h) {
                const uint8_t* row = labels_.data + d * labels_.stride[0] + h * labels_.stride[1];
                for (int64_t w = 0; w < static_cast<int64_t>(copy.size()); ++w) copy[w] = row[w * labels_.stride[2]];
                append_runs(copy.empty() ? row : copy.data(), width, groups_, slab.runs);
                COVFAST_REQUIRE(static_cast<int64_t>(slab.runs.size()) < kMostIndices, MEMORY_LIMIT, "labels: got ",
                                slab.runs.size(), " runs of voxels, expected fewer than 2^31");
                slab.row_first.push_back(static_cast<int64_t>(slab.runs.size()));
                join_before(slab.runs.data(), slab.row_first, d, h, first_d, false);
            }
    }

    // The slabs' runs one after the other, their parents shifted with them.
    void concatenate() {
        std::vector<int64_t> offset(slabs_.size() + 1);
        for (size_t s = 0; s < slabs_.size(); ++s)
            offset[s + 1] = offset[s] + static_cast<int64_t>(slabs_[s].runs.size());
        COVFAST_REQUIRE(offset.back() < kMostIndices, MEMORY_LIMIT, "labels: got ", offset.back(),
                        " runs of voxels, expected fewer than 2^31; is this a label map?");
        const int64_t height = labels_.size[1];
        result_.runs.resize(offset.back());
        result_.row_first.resize(labels_.size[0] * height + 1);
        polled_for(static_cast<int64_t>(slabs_.size()), 1, threads_, [&](int64_t begin, int64_t end) {
            for (int64_t s = begin; s < end; ++s) {
                Slab slab = std::move(slabs_[s]);
                for (ComponentRun& run : slab.runs) run.component += static_cast<int32_t>(offset[s]);
                std::copy(slab.runs.begin(), slab.runs.end(), result_.runs.begin() + offset[s]);
                for (size_t row = 0; row + 1 < slab.row_first.size(); ++row)
                    result_.row_first[s * kSlabSlices * height + row] = offset[s] + slab.row_first[row];
            }
        });
        result_.row_first.back() = offset.back();
    }

    void number() {
        std::vector<ComponentRun>& runs = result_.runs;
        const int64_t height = labels_.size[1];
        for (int64_t row = 0; row + 1 < static_cast<int64_t>(result_.row_first.size()); ++row)
            for (int64_t i = result_.row_first[row]; i < result_.row_first[row + 1]; ++i) {
                ComponentRun& run = runs[i];
                const int64_t d = row / height, h = row % height;
                if (run.component == i) {
                    run.component = static_cast<int32_t>(result_.list.size());
                    result_.list.push_back({run.value, 0, {d, h, run.begin}, {d + 1, h + 1, run.end}});
                } else {
                    run.component = runs[run.component].component;
                }
                Component& component = result_.list[run.component];
                component.voxels += run.end - run.begin;
                component.end[0] = d + 1;
                component.begin[1] = std::min(component.begin[1], h);
                component.end[1] = std::max(component.end[1], h + 1);
                component.begin[2] = std::min<int64_t>(component.begin[2], run.begin);
                component.end[2] = std::max<int64_t>(component.end[2], run.end);
            }
    }

    const View3<const uint8_t> labels_;
    const std::vector<NeighbourRow> neighbours_;
    const int threads_;
    const GroupTable* groups_;
    std::vector<Slab> slabs_;
    Components result_;
};

// Calls fn(row's first voxel, run) for every run, rows in parallel.
template <class T, class Fn>
void for_each_run(const Components& components, const View3<T>& view, int threads, const Fn& fn) {
    const int64_t height = components.size[1];
    polled_for(components.size[0] * height, kRowGrain, threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            T* const first = view.data + row / height * view.stride[0] + row % height * view.stride[1];
            for (int64_t i = components.row_first[row]; i < components.row_first[row + 1]; ++i)
                fn(first, components.runs[i]);
        }
    });
}

template <class T>
void paint(T* row, int64_t stride, const ComponentRun& run, T value) {
    if (stride == 1)
        std::fill(row + run.begin, row + run.end, value);
    else
        for (int64_t w = run.begin; w < run.end; ++w) row[w * stride] = value;
}

}  // namespace

Components find_components(const View3<const uint8_t>& labels, int connectivity, int threads,
                           const GroupTable* groups) {
    return Finder(labels, connectivity, threads, groups).find();
}

void write_numbers(const Components& components, const View3<int32_t>& numbers, int threads) {
    require_same_size("numbers", numbers.size, components.size);
    const auto [depth, height, width] = numbers.size;
    polled_for(depth * height, kRowGrain, threads, [&, height = height, width = width](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            paint(&numbers.at(row / height, row % height, 0), numbers.stride[2], {0, static_cast<int32_t>(width), 0, 0},
                  0);
    });
    for_each_run(components, numbers, threads,
                 [&](int32_t* row, const ComponentRun& run) { paint(row, numbers.stride[2], run, 1 + run.component); });
}

std::vector<uint8_t> largest_of_each(const Components& components, Ties ties) {
    std::array<int64_t, 256> most{}, which{};
    for (size_t c = 0; c < components.list.size(); ++c) {
        const Component& component = components.list[c];
        int64_t& voxels = most[component.value];
        if (component.voxels > voxels || (component.voxels == voxels && ties == Ties::kLast))
            voxels = component.voxels, which[component.value] = static_cast<int64_t>(c);
    }
    std::vector<uint8_t> kept(components.list.size());
    for (size_t c = 0; c < kept.size(); ++c) {
        const Component& component = components.list[c];
        kept[c] = ties == Ties::kAll ? component.voxels == most[component.value]
                                     : static_cast<int64_t>(c) == which[component.value];
    }
    return kept;
}

std::vector<uint8_t> at_least(const Components& components, int64_t voxels) {
    std::vector<uint8_t> kept(components.list.size());
    for (size_t c = 0; c < kept.size(); ++c) kept[c] = components.list[c].voxels >= voxels;
    return kept;
}

void clear_others(const Components& components, const std::vector<uint8_t>& kept, const View3<uint8_t>& labels,
                  int threads, uint8_t background) {
    require_same_size("labels", labels.size, components.size);
    for_each_run(components, labels, threads, [&](uint8_t* row, const ComponentRun& run) {
        if (kept[run.component] == 0) paint(row, labels.stride[2], run, background);
    });
}

void fill_holes(const View3<const uint8_t>& labels, uint8_t value, int connectivity, const View3<uint8_t>& out,
                int threads) {
    require_same_size("out", out.size, labels.size);
    GroupTable others;
    others.fill(1);
    others[value] = 0;
    const Components components = find_components(labels, connectivity, threads, &others);
    const bool is_planar = connectivity == 4 || connectivity == 8;
    std::vector<uint8_t> is_hole(components.list.size());
    for (size_t c = 0; c < is_hole.size(); ++c) {
        bool inside = true;
        for (int axis = is_planar ? 1 : 0; axis < 3; ++axis)
            inside =
                inside && components.list[c].begin[axis] > 0 && components.list[c].end[axis] < components.size[axis];
        is_hole[c] = inside;
    }
    for_each_run(components, out, threads, [&](uint8_t* row, const ComponentRun& run) {
        if (is_hole[run.component] != 0) paint(row, out.stride[2], run, value);
    });
}

}  // namespace covfast
