#include "kernels/surface.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "core/arena.h"
#include "core/error.h"
#include "core/threads.h"
#include "kernels/backend.h"
#include "kernels/surface_axes.h"
#include "kernels/surface_groups.h"

namespace covfast {
namespace {

constexpr int64_t kElementsWorthAThread = 200000;  // of both sides: fewer are grouped sooner than a thread wakes
constexpr int64_t kMostSlabs = 64;                 // blocks of the search for each direction
constexpr int64_t kPlacesInBlock = 1 << 17;        // of which each has at least so many places for elements

// Where one label lies, and how many voxels it has.
struct Extent {
    int64_t truth = 0, prediction = 0, both = 0;
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
};

// Plans memory in an arena together with who is to point at it: commit() allocates, sets the pointers, and copies all
// tables to the backend in one transfer, for which they lie before all else. What holds the pointers must live until
// then.
class Layout {
public:
    Layout(Arena& arena, const Backend& backend, void* stream) : arena_(arena), backend_(backend), stream_(stream) {
        arena.rewind();
    }

    // `to` will point at a copy of the table.
    template <class T>
    void table(const T*& to, const std::vector<T>& table) {
        const Slot<T> slot = arena_.plan<T>(table.size());
        const size_t bytes = table.size() * sizeof(T);
        tables_.resize(slot.offset + bytes);
        if (bytes > 0) std::memcpy(tables_.data() + slot.offset, table.data(), bytes);
        pointers_.push_back([&to, slot, this] { to = arena_.get(slot); });
    }

    // `to` will point at room for `count` items. After the last table.
    template <class T>
    void room(T*& to, size_t count) {
        const Slot<T> slot = arena_.plan<T>(count);
        pointers_.push_back([&to, slot, this] { to = arena_.get(slot); });
    }

    void commit() {
        arena_.commit();
        for (const auto& set : pointers_) set();
        backend_.upload(arena_.get(Slot<std::byte>{}), tables_.data(), tables_.size(), stream_);
    }

private:
    Arena& arena_;
    const Backend& backend_;
    void* stream_;
    std::vector<std::byte> tables_;
    std::vector<std::function<void()>> pointers_;
};

class Surface {
public:
    Surface(const SurfaceParams& params, const Context& context)
        : params_(params),
          context_(context),
          backend_(*context.backend),
          is_host_(backend_.adopt == nullptr),
          axes_(memory_order(params)),
          arena_(is_host_ ? Arena() : Arena(backend_.allocate, backend_.release)),
          far_arena_(is_host_ ? Arena(Arena::kSparse) : Arena(backend_.allocate, backend_.release)) {}

    std::vector<LabelMeasure> run_all() {
        const std::vector<Extent> extents = scan();
        std::vector<LabelMeasure> measures;
        for (const Extent& e : extents) {
            const int64_t false_positives = e.prediction - e.both, false_negatives = e.truth - e.both;
            measures.push_back({e.both,
                                false_positives,
                                false_negatives,
                                axes_.voxels() - e.both - false_positives - false_negatives,
                                {},
                                {}});
        }
        if (params_.kind == SurfaceKind::kNone) return measures;
        classes_ = near_classes(axes_.search);
        if (!is_host_) append_far_classes(axes_.search, classes_);
        sizes_ = element_sizes(params_, axes_.search);
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
        SurfaceScanParams scan{};
        for (int side = 0; side < 2; ++side) scan.maps[side] = axes_.maps[side];
        for (int i = 0; i < 3; ++i) scan.size[i] = axes_.size[i];
        scan.labels = labels;
        Layout layout(arena_, backend_, context_.stream);
        layout.table(scan.values, values);
        layout.table(scan.first, first);
        layout.room(scan.is_fraction, 2);
        layout.room(scan.tallies, axes_.size[0] * labels);
        layout.commit();
        const int32_t none[2] = {0, 0};
        backend_.upload(scan.is_fraction, none, sizeof none, context_.stream);
        run(context_, &Backend::surface_scan, "surface_scan", scan);
        std::vector<int32_t> fraction_copy;
        const int32_t* is_fraction = read(scan.is_fraction, 2, fraction_copy);
        for (int side = 0; side < 2; ++side)
            COVFAST_REQUIRE(!is_fraction[side], VALUE_RANGE, side == 0 ? "truth" : "pred",
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
            pack.maps[side].data =
                static_cast<const char*>(pack.maps[side].data) + offset * label_bytes(params_.types[side]);
        }
        pack.grid = border.grid;
        set_tables_and_room(label, pack, search);
        for (int side = 0; side < 2; ++side) border.voxels[side] = pack.voxels[side];
        run(context_, &Backend::surface_pack, "surface_pack", pack);
        run(context_, &Backend::surface_border, "surface_border", border);
        find(search, extent.truth > 0 && extent.prediction > 0, out);
    }

    // Everything but the far lists, in one block of memory.
    void set_tables_and_room(size_t label, SurfacePackParams& pack, SurfaceSearchParams& search) {
        SurfaceBorderParams& border = search.planes;
        const PlaneGrid& grid = border.grid;
        const PlaneGrid* fine = &grid;
        for (PlaneGrid& level : border.level_grid) {
            level = plane_grid((fine->size[0] + 3) / 4, (fine->size[1] + 3) / 4, grid.size[2]);
            fine = &level;
        }
        // Blocks large enough for what their counts cost to clear and add up, and enough of them for many cores.
        const int64_t box = grid.size[0] * grid.size[1] * grid.size[2];
        if (is_host_)
            slabs_ = static_cast<int>(std::clamp<int64_t>(box / kPlacesInBlock, 1, std::min(kMostSlabs, grid.size[0])));
        search.class_count = static_cast<int>(classes_.square.size()), search.slabs = slabs_;
        search.near_count = static_cast<int>(classes_.classes.size());
        search.size_count = static_cast<int>(sizes_.sizes.size());
        for (int i = 0; i < 3; ++i) {
            search.spacing[i] = axes_.search.spacing[i];
            if (axes_.search.source[i] == params_.rank - 1) search.last_axis = i;
        }
        Layout layout(arena_, backend_, context_.stream);
        for (int side = 0; side < 2; ++side) {
            const std::vector<int64_t>& values = params_.values[side][label];
            layout.table(pack.values[side], values);
            pack.value_count[side] = static_cast<int64_t>(values.size());
        }
        layout.table(border.empty_plane, std::vector<uint64_t>(grid.plane + grid.pitch, 0));
        layout.table(search.classes, classes_.classes);
        layout.table(search.offsets, classes_.offsets);
        layout.table(search.class_square, classes_.square);
        for (int i = 0; i < 3; ++i) layout.table(search.square[i], squares(i, grid.size[i]));
        layout.table(search.size_of_code, sizes_.of_code);
        for (int side = 0; side < 2; ++side) {
            layout.room(pack.voxels[side], grid.total());
            layout.room(border.border[side], grid.total());
            for (int level = 0; level < kLevels; ++level)
                layout.room(border.level[side][level], border.level_grid[level].total());
        }
        layout.room(border.element_count, 2 * grid.size[0]);
        layout.room(search.counts, 2 * slabs_ * block_counts(search));
        layout.room(search.far_first, 2 * slabs_);
        layout.room(search.far_count, 2 * slabs_);
        layout.commit();
    }

    // Counts that one block of the search makes.
    static int64_t block_counts(const SurfaceSearchParams& search) {
        return int64_t(search.class_count) * search.size_count;
    }

    // (steps * spacing)^2 along an axis, for every step inside the grid, and inside the rows that its end joins.
    std::vector<double> squares(int axis, int64_t size) const {
        std::vector<double> found;
        const double spacing = axes_.search.source[axis] < 0 ? 0 : axes_.search.spacing[axis];
        for (int64_t n = 0; n <= size + (int64_t(1) << 2 * kLevels); ++n)
            found.push_back(double(n) * spacing * (double(n) * spacing));
        return found;
    }

    // The search and what it found. The far lists get room for every element; only what is written becomes resident.
    void find(SurfaceSearchParams& search, bool has_target, LabelMeasure& out) {
        const PlaneGrid& grid = search.planes.grid;
        std::vector<int64_t> element_copy, far_first;
        const int64_t* elements = read(search.planes.element_count, 2 * grid.size[0], element_copy);
        int64_t total = 0;
        for (int side = 0; side < 2; ++side)
            for (int slab = 0; slab < slabs_; ++slab) {
                far_first.push_back(total);
                for (int64_t x = slab_begin(search, slab); x < slab_begin(search, slab + 1); ++x)
                    total += elements[side * grid.size[0] + x];
            }
        COVFAST_REQUIRE(total <= UINT32_MAX, MEMORY_LIMIT, "truth, pred: got ", total,
                        " surface elements, expected at most ", UINT32_MAX, " of a label");
        backend_.upload(search.far_first, far_first.data(), far_first.size() * sizeof(int64_t), context_.stream);
        Layout layout(far_arena_, backend_, context_.stream);
        layout.room(search.far_square, total);
        layout.room(search.far_size, total);
        if (!is_host_) layout.room(search.pending, 2 * slabs_ + total);
        layout.commit();
        search.has_target = has_target;
        run(context_, &Backend::surface_search, "surface_search", search);
        group(search, far_first, total, out);
    }

    // Both directions' groups of what the search left in its blocks.
    void group(const SurfaceSearchParams& search, const std::vector<int64_t>& far_first, int64_t elements,
               LabelMeasure& out) const {
        std::vector<int64_t> far_count_copy;
        std::vector<uint32_t> count_copy;
        const int64_t per_block = block_counts(search);
        const int64_t* far_count = read(search.far_count, 2 * slabs_, far_count_copy);
        const uint32_t* counts = read(search.counts, 2 * slabs_ * per_block, count_copy);
        std::vector<std::vector<double>> squares(2 * slabs_);
        std::vector<std::vector<uint8_t>> far_sizes(2 * slabs_);
        std::vector<SurfaceCounts> found(2, {&classes_.square, std::vector<int64_t>(per_block), {}, search.has_target});
        for (int block = 0; block < 2 * slabs_; ++block) {
            const int64_t n = far_count[block], begin = far_first[block];
            found[block / slabs_].far.push_back({read(search.far_square + begin, n, squares[block]),
                                                 read(search.far_size + begin, n, far_sizes[block]), n});
        }
        const int64_t grain = elements < kElementsWorthAThread ? 2 : 1;
        parallel_for(2, grain, context_.threads, [&](int64_t begin, int64_t end) {
            for (int64_t side = begin; side < end; ++side) {
                const uint32_t* from = counts + side * slabs_ * per_block;
                for (int slab = 0; slab < slabs_; ++slab, from += per_block)
                    for (int64_t i = 0; i < per_block; ++i) found[side].counts[i] += from[i];
                SurfaceGroups& groups = side == 0 ? out.truth_to_prediction : out.prediction_to_truth;
                groups = group_elements(found[side], sizes_.sizes);
            }
        });
    }

    const SurfaceParams& params_;
    const Context& context_;
    const Backend& backend_;
    const bool is_host_;
    int slabs_ = 1;  // of the label at work; a device cuts the work itself, and one slab is the least to download
    const MapAxes axes_;
    DistanceClasses classes_;
    ElementSizes sizes_;
    Arena arena_, far_arena_;
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
        COVFAST_REQUIRE(mm >= 1e-50 && mm <= 1e50, VALUE_RANGE, "spacing_mm: got ", mm,
                        ", expected numbers from 1e-50 to 1e50, whose squares keep their digits");
        COVFAST_REQUIRE(params.size[axis] >= 0, SHAPE, "truth: got a size of ", params.size[axis],
                        ", expected 0 or more");
    }
    return Surface(params, context).run_all();
}

}  // namespace covfast
