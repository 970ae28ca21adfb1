#include "kernels/surface.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/arena.h"
#include "core/error.h"
#include "core/threads.h"
#include "kernels/backend.h"
#include "kernels/surface_area.h"
#include "kernels/surface_classes.h"
#include "kernels/surface_groups.h"

namespace covfast {
namespace {

constexpr int64_t kElementsWorthAThread = 200000;  // of both sides: fewer are grouped sooner than a thread wakes
constexpr int kSlabs = 32;  // blocks of the search for each direction; more than most machines' cores

// The maps' axes in the order in which they lie in memory: x slowest, z fastest. In 2-D x is an axis of one.
struct Axes {
    std::array<int, 3> source;  // the map's axis; -1 for the x of 2-D
    std::array<int64_t, 3> size;
    std::array<double, 3> spacing;
    LabelMap maps[2];
};

Axes memory_order(const SurfaceParams& params) {
    std::array<int, 3> order{0, 1, 2};
    const auto stride = [&](int axis) { return std::abs(params.stride[0][axis]) + std::abs(params.stride[1][axis]); };
    std::stable_sort(order.begin(), order.begin() + params.rank, [&](int a, int b) { return stride(a) > stride(b); });
    if (params.rank == 2) order = {-1, order[0], order[1]};
    Axes axes{order, {}, {}, {}};
    for (int side = 0; side < 2; ++side) axes.maps[side] = {params.maps[side], params.types[side], {}};
    for (int i = 0; i < 3; ++i) {
        const int from = order[i];
        axes.size[i] = from < 0 ? 1 : params.size[from];
        axes.spacing[i] = from < 0 ? 1.0 : params.spacing_mm[from];
        for (int side = 0; side < 2; ++side) axes.maps[side].stride[i] = from < 0 ? 0 : params.stride[side][from];
    }
    return axes;
}

// Where one label lies, and how many voxels it has.
struct Extent {
    int64_t truth = 0, prediction = 0, both = 0;
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
};

// Sizes of elements by the code that the passes make, whose axes are x, y, z.
std::array<double, 256> element_sizes(const SurfaceParams& params, const Axes& axes) {
    std::array<double, 256> sizes;
    sizes.fill(1.0);
    if (params.kind != SurfaceKind::kSurfels) return sizes;
    if (params.rank == 2) {
        const std::array<double, 256> lengths = contour_lengths({params.spacing_mm[0], params.spacing_mm[1]});
        const bool is_swapped = axes.source[1] == 1;
        for (int code = 0; code < 256; ++code) {
            const int swapped = (code & 0x99) | (code & 0x22) << 1 | (code & 0x44) >> 1;
            sizes[code] = lengths[is_swapped ? swapped : code];
        }
        return sizes;
    }
    const std::array<double, 256> areas =
        surfel_areas({params.spacing_mm[0], params.spacing_mm[1], params.spacing_mm[2]});
    for (int code = 0; code < 256; ++code) {
        int original = 0;
        for (int bit = 0; bit < 8; ++bit) {
            if (!(code >> bit & 1)) continue;
            int to = 0;
            for (int i = 0; i < 3; ++i) to |= (bit >> (2 - i) & 1) << (2 - axes.source[i]);
            original |= 1 << to;
        }
        sizes[code] = areas[original];
    }
    return sizes;
}

class Surface {
public:
    Surface(const SurfaceParams& params, const Context& context)
        : params_(params),
          context_(context),
          backend_(*context.backend),
          is_host_(backend_.adopt == nullptr),
          slabs_(is_host_ ? kSlabs : 1),
          axes_(memory_order(params)),
          arena_(backend_.allocate, backend_.release),
          far_arena_(backend_.allocate, backend_.release) {}

    std::vector<LabelMeasure> run_all() {
        const std::vector<Extent> extents = scan();
        std::vector<LabelMeasure> measures;
        for (const Extent& e : extents) {
            const int64_t voxels = axes_.size[0] * axes_.size[1] * axes_.size[2];
            const int64_t false_positives = e.prediction - e.both, false_negatives = e.truth - e.both;
            measures.push_back({e.both,
                                false_positives,
                                false_negatives,
                                voxels - e.both - false_positives - false_negatives,
                                {},
                                {}});
        }
        if (params_.kind == SurfaceKind::kNone) return measures;
        classes_ = near_classes({axes_.source, axes_.spacing});
        if (!is_host_) append_far_classes({axes_.source, axes_.spacing}, classes_);
        rank_sizes(element_sizes(params_, axes_));
        for (size_t label : by_size(extents))
            if (extents[label].truth + extents[label].prediction > 0) measure(extents[label], label, measures[label]);
        return measures;
    }

private:
    // The largest box first, so that the workspace is allocated once.
    static std::vector<size_t> by_size(const std::vector<Extent>& extents) {
        std::vector<size_t> order(extents.size());
        std::iota(order.begin(), order.end(), 0);
        const auto volume = [&](size_t l) {
            double product = 1;
            for (int i = 0; i < 3; ++i) product *= double(extents[l].high[i] - extents[l].low[i] + 1);
            return product;
        };
        std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return volume(a) > volume(b); });
        return order;
    }

    // Where a table will lie once send_tables has copied it. Tables are planned before all else in the arena, so that
    // one transfer takes them all.
    template <class T>
    T* place(Slot<T> slot, const std::vector<T>& table) {
        const size_t bytes = table.size() * sizeof(T);
        tables_.resize(std::max(tables_.size(), slot.offset + bytes));
        if (bytes > 0) std::memcpy(tables_.data() + slot.offset, table.data(), bytes);
        return arena_.get(slot);
    }

    void send_tables() {
        backend_.upload(arena_.get(Slot<std::byte>{}), tables_.data(), tables_.size(), context_.stream);
        tables_.clear();
    }

    // What a pass wrote, where the host can read it; `copy` keeps it if that is elsewhere.
    template <class T>
    const T* read(const T* from, int64_t count, std::vector<T>& copy) const {
        if (is_host_ || count == 0) return from;
        copy.resize(count);
        backend_.download(copy.data(), from, count * sizeof(T), context_.stream);
        return copy.data();
    }

    std::vector<Extent> scan() {
        const int labels = static_cast<int>(params_.values[0].size());
        std::vector<int64_t> values, first;
        for (int label = 0; label < labels; ++label)
            for (int side = 0; side < 2; ++side) {
                first.push_back(static_cast<int64_t>(values.size()));
                values.insert(values.end(), params_.values[side][label].begin(), params_.values[side][label].end());
            }
        first.push_back(static_cast<int64_t>(values.size()));
        const auto value_slot = arena_.plan<int64_t>(values.size()), first_slot = arena_.plan<int64_t>(first.size());
        const auto fraction_slot = arena_.plan<int32_t>(2);
        const auto tally_slot = arena_.plan<SurfaceTally>(axes_.size[0] * labels);
        arena_.commit();
        SurfaceScanParams scan{};
        for (int side = 0; side < 2; ++side) scan.maps[side] = axes_.maps[side];
        for (int i = 0; i < 3; ++i) scan.size[i] = axes_.size[i];
        scan.labels = labels;
        scan.values = place(value_slot, values), scan.first = place(first_slot, first);
        scan.tallies = arena_.get(tally_slot);
        scan.is_fraction = place(fraction_slot, {0, 0});
        send_tables();
        run(context_, &Backend::surface_scan, "surface_scan", scan);
        std::vector<int32_t> fraction_copy;
        const int32_t* is_fraction = read(scan.is_fraction, 2, fraction_copy);
        for (int side = 0; side < 2; ++side)
            COVFAST_REQUIRE(!is_fraction[side], VALUE_RANGE, side == 0 ? "truth" : "prediction",
                            ": got a float label map with a fraction, NaN or infinity, expected whole numbers");
        std::vector<SurfaceTally> tally_copy;
        return total(read(scan.tallies, axes_.size[0] * labels, tally_copy), labels);
    }

    std::vector<Extent> total(const SurfaceTally* tallies, int labels) const {
        std::vector<Extent> extents(labels);
        for (int64_t x = 0; x < axes_.size[0]; ++x)
            for (int label = 0; label < labels; ++label) {
                const SurfaceTally& t = tallies[x * labels + label];
                Extent& e = extents[label];
                e.truth += t.truth, e.prediction += t.prediction, e.both += t.both;
                if (t.truth + t.prediction == 0) continue;
                e.low[0] = std::min(e.low[0], x), e.high[0] = x;
                for (int i = 0; i < 2; ++i) {
                    e.low[i + 1] = std::min(e.low[i + 1], t.low[i]);
                    e.high[i + 1] = std::max(e.high[i + 1], t.high[i]);
                }
            }
        return extents;
    }

    void rank_sizes(const std::array<double, 256>& by_code) {
        sizes_.assign(by_code.begin(), by_code.end());
        std::sort(sizes_.begin(), sizes_.end());
        sizes_.erase(std::unique(sizes_.begin(), sizes_.end()), sizes_.end());
        for (double size : by_code)
            size_of_code_.push_back(std::lower_bound(sizes_.begin(), sizes_.end(), size) - sizes_.begin());
    }

    void measure(const Extent& extent, size_t label, LabelMeasure& out) {
        const bool is_flat = params_.rank == 2, is_surfels = params_.kind == SurfaceKind::kSurfels;
        SurfaceSearchParams search{};
        SurfaceBorderParams& border = search.planes;
        SurfacePackParams pack{};
        for (int i = 0; i < 3; ++i) border.voxel_size[i] = pack.size[i] = extent.high[i] - extent.low[i] + 1;
        border.is_flat = is_flat, border.is_surfels = is_surfels;
        const int64_t more = is_surfels ? 1 : 0;  // corners outnumber voxels
        border.grid = plane_grid(pack.size[0] + (is_flat ? 0 : more), pack.size[1] + more, pack.size[2] + more);
        for (int side = 0; side < 2; ++side) {
            pack.maps[side] = axes_.maps[side];
            int64_t offset = 0;
            for (int i = 0; i < 3; ++i) offset += extent.low[i] * axes_.maps[side].stride[i];
            pack.maps[side].data = static_cast<const char*>(pack.maps[side].data) + offset * item_bytes(side);
        }
        pack.grid = border.grid;
        layout(label, extent, pack, search);
        run(context_, &Backend::surface_pack, "surface_pack", pack);
        run(context_, &Backend::surface_border, "surface_border", border);
        find(search, extent.truth > 0 && extent.prediction > 0, out);
    }

    int64_t item_bytes(int side) const {
        constexpr int64_t kBytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
        return kBytes[static_cast<int>(params_.types[side])];
    }

    // Everything but the far lists, in one block of memory.
    void layout(size_t label, const Extent&, SurfacePackParams& pack, SurfaceSearchParams& search) {
        SurfaceBorderParams& border = search.planes;
        const PlaneGrid& grid = border.grid;
        const size_t stack = grid.total();
        arena_.rewind();
        Slot<int64_t> values[2];
        for (int side = 0; side < 2; ++side) values[side] = arena_.plan<int64_t>(params_.values[side][label].size());
        const std::vector<uint64_t> zeros(grid.plane + grid.pitch, 0);
        const auto empty = arena_.plan<uint64_t>(zeros.size());
        const auto classes = arena_.plan<SurfaceClass>(classes_.classes.size());
        const auto offsets = arena_.plan<SurfaceOffset>(classes_.offsets.size());
        const auto class_square = arena_.plan<double>(classes_.square.size());
        std::vector<double> squares[3];
        Slot<double> square_slot[3];
        for (int i = 0; i < 3; ++i) {
            for (int64_t n = 0; n <= grid.size[i] + 64; ++n) squares[i].push_back(square_of(i, n));
            square_slot[i] = arena_.plan<double>(squares[i].size());
        }
        const auto size_of_code = arena_.plan<uint8_t>(256);
        Slot<uint64_t> voxels[2], elements[2], levels[2][kLevels];
        const PlaneGrid* fine = &grid;
        for (int level = 0; level < kLevels; ++level) {
            border.level_grid[level] = plane_grid((fine->size[0] + 3) / 4, (fine->size[1] + 3) / 4, grid.size[2]);
            fine = &border.level_grid[level];
        }
        for (int side = 0; side < 2; ++side) {
            voxels[side] = arena_.plan<uint64_t>(stack), elements[side] = arena_.plan<uint64_t>(stack);
            for (int level = 0; level < kLevels; ++level)
                levels[side][level] = arena_.plan<uint64_t>(border.level_grid[level].total());
        }
        const auto counts_of_x = arena_.plan<int64_t>(2 * grid.size[0]);
        search.class_count = static_cast<int>(classes_.square.size()), search.slabs = slabs_;
        search.near_count = static_cast<int>(classes_.classes.size());
        search.size_count = static_cast<int>(sizes_.size());
        const auto counts = arena_.plan<uint32_t>(2 * size_t(slabs_) * search.class_count * search.size_count);
        const auto far_first = arena_.plan<int64_t>(2 * slabs_), far_count = arena_.plan<int64_t>(2 * slabs_);
        arena_.commit();
        for (int side = 0; side < 2; ++side) {
            pack.values[side] = place(values[side], params_.values[side][label]);
            pack.value_count[side] = static_cast<int64_t>(params_.values[side][label].size());
            pack.voxels[side] = arena_.get(voxels[side]), border.voxels[side] = pack.voxels[side];
            border.border[side] = arena_.get(elements[side]);
            for (int level = 0; level < kLevels; ++level) border.level[side][level] = arena_.get(levels[side][level]);
        }
        border.empty_plane = place(empty, zeros);
        border.element_count = arena_.get(counts_of_x);
        search.classes = place(classes, classes_.classes), search.offsets = place(offsets, classes_.offsets);
        search.class_square = place(class_square, classes_.square);
        for (int i = 0; i < 3; ++i) {
            search.square[i] = place(square_slot[i], squares[i]);
            search.spacing[i] = axes_.spacing[i];
            if (axes_.source[i] == params_.rank - 1) search.last_axis = i;
        }
        search.counts = arena_.get(counts), search.size_of_code = place(size_of_code, size_of_code_);
        far_first_ = arena_.get(far_first), search.far_first = far_first_;
        search.far_count = arena_.get(far_count);
        send_tables();
    }

    double square_of(int axis, int64_t steps) const {
        const double mm = axes_.source[axis] < 0 ? 0 : double(steps) * axes_.spacing[axis];
        return mm * mm;
    }

    // The search and what it found. The far lists get room for every element; only what is written becomes resident.
    void find(SurfaceSearchParams& search, bool has_target, LabelMeasure& out) {
        const PlaneGrid& grid = search.planes.grid;
        std::vector<int64_t> element_copy, far_count_copy, far_first;
        const int64_t* elements = read(search.planes.element_count, 2 * grid.size[0], element_copy);
        int64_t total = 0;
        for (int side = 0; side < 2; ++side)
            for (int slab = 0; slab < slabs_; ++slab) {
                far_first.push_back(total);
                for (int64_t x = slab_begin(search, slab); x < slab_begin(search, slab + 1); ++x)
                    total += elements[side * grid.size[0] + x];
            }
        backend_.upload(far_first_, far_first.data(), far_first.size() * sizeof(int64_t), context_.stream);
        far_arena_.rewind();
        const auto square = far_arena_.plan<double>(total);
        const auto size = far_arena_.plan<uint8_t>(total);
        const auto pending = far_arena_.plan<int64_t>(is_host_ ? 0 : 2 * slabs_ + total);
        far_arena_.commit();
        search.far_square = far_arena_.get(square), search.far_size = far_arena_.get(size);
        if (!is_host_) search.pending = far_arena_.get(pending);
        search.has_target = has_target;
        run(context_, &Backend::surface_search, "surface_search", search);
        const int64_t* far_count = read(search.far_count, 2 * slabs_, far_count_copy);
        std::vector<uint32_t> count_copy;
        const int64_t block_counts = int64_t(search.class_count) * search.size_count;
        const uint32_t* counts = read(search.counts, 2 * slabs_ * block_counts, count_copy);
        std::vector<std::vector<double>> squares(2 * slabs_);
        std::vector<std::vector<uint8_t>> far_sizes(2 * slabs_);
        std::vector<SurfaceCounts> found;
        for (int side = 0; side < 2; ++side) {
            found.push_back({&classes_.square, std::vector<int64_t>(block_counts), {}, has_target});
            for (int block = side * slabs_; block < (side + 1) * slabs_; ++block) {
                const uint32_t* from = counts + block * block_counts;
                for (int64_t i = 0; i < block_counts; ++i) found[side].counts[i] += from[i];
                const int64_t n = far_count[block], begin = far_first[block];
                found[side].far.push_back({read(search.far_square + begin, n, squares[block]),
                                           read(search.far_size + begin, n, far_sizes[block]), n});
            }
        }
        parallel_for(2, total < kElementsWorthAThread ? 2 : 1, context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t side = begin; side < end; ++side)
                (side == 0 ? out.truth_to_prediction : out.prediction_to_truth) = group_elements(found[side], sizes_);
        });
    }

    const SurfaceParams& params_;
    const Context& context_;
    const Backend& backend_;
    const bool is_host_;
    const int slabs_;  // a device cuts the work itself, and one slab is the least to download
    const Axes axes_;
    DistanceClasses classes_;
    std::vector<double> sizes_;  // the different sizes of elements, rising
    std::vector<uint8_t> size_of_code_;
    Arena arena_, far_arena_;
    std::vector<std::byte> tables_;
    int64_t* far_first_ = nullptr;
};

}  // namespace

std::vector<LabelMeasure> surface(const SurfaceParams& params, const Context& context) {
    COVFAST_REQUIRE(params.rank == 2 || params.rank == 3, SHAPE, "truth: got ", params.rank,
                    " axes, expected 2 or 3: (H, W) or (D, H, W)");
    COVFAST_REQUIRE(params.values[0].size() == params.values[1].size(), INTERNAL, "values: got ",
                    params.values[0].size(), " and ", params.values[1].size(),
                    " labels, expected as many of both maps");
    for (int axis = 0; axis < params.rank; ++axis) {
        const double mm = params.spacing_mm[axis];
        COVFAST_REQUIRE(mm > 0 && std::isfinite(mm), VALUE_RANGE, "spacing_mm: got ", mm,
                        ", expected positive, finite numbers");
        COVFAST_REQUIRE(params.size[axis] >= 0, SHAPE, "truth: got a size of ", params.size[axis],
                        ", expected 0 or more");
    }
    return Surface(params, context).run_all();
}

}  // namespace covfast
