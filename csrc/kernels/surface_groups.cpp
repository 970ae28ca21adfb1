#include "kernels/surface_groups.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace covfast {
namespace {

// Counts of (squared distance, size), by open addressing: far elements are many and their distinct distances few, and
// sorting those alone is ten times faster than sorting the elements.
class Tally {
public:
    Tally() : slots_(size_t(1) << kFirstBits) {}

    void add(double square, uint8_t size) {
        const uint64_t key = std::bit_cast<uint64_t>(square);
        size_t at = place(key, size);
        if (slots_[at].count == 0) {
            if (++used_ * 2 > slots_.size()) {
                grow();
                at = place(key, size);
            }
            slots_[at].key = key, slots_[at].size = size;
        }
        ++slots_[at].count;
    }

    template <class Body>
    void each(Body&& body) const {
        for (const Slot& slot : slots_)
            if (slot.count > 0) body(std::bit_cast<double>(slot.key), slot.size, slot.count);
    }

private:
    static constexpr int kFirstBits = 10, kGrowBits = 2;

    struct Slot {
        uint64_t key = 0;
        uint32_t size = 0;
        uint32_t count = 0;
    };

    size_t place(uint64_t key, uint32_t size) const {
        const uint64_t hash = (key ^ uint64_t(size) << 50) * 0x9e3779b97f4a7c15ull;
        size_t at = hash >> shift_;  // the highest bits: squares often end in zeros, and so does the lower part
        while (slots_[at].count != 0 && (slots_[at].key != key || slots_[at].size != size))
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void grow() {
        shift_ -= kGrowBits;
        std::vector<Slot> old(slots_.size() << kGrowBits);
        old.swap(slots_);
        for (const Slot& slot : old)
            if (slot.count > 0) slots_[place(slot.key, slot.size)] = slot;
    }

    std::vector<Slot> slots_;
    int shift_ = 64 - kFirstBits;
    size_t used_ = 0;
};

struct Group {
    double distance_mm, element;
    int64_t count;
};

}  // namespace

SurfaceGroups group_elements(const SurfaceCounts& counts, const std::vector<double>& sizes) {
    std::vector<Group> groups;
    const auto add = [&](double square, size_t size, int64_t count) {
        const double mm = counts.has_target ? std::sqrt(square) : std::numeric_limits<double>::infinity();
        groups.push_back({mm, sizes[size], count});
    };
    for (size_t i = 0; i < counts.counts.size(); ++i)
        if (counts.counts[i] > 0) add((*counts.class_square)[i / sizes.size()], i % sizes.size(), counts.counts[i]);
    Tally tally;
    for (const SurfaceCounts::FarList& far : counts.far)
        for (int64_t i = 0; i < far.count; ++i) tally.add(far.square[i], far.size[i]);
    // By the distance, not its square: two squares that differ in the last bit may have one root.
    const auto is_before = [](const Group& a, const Group& b) {
        return a.distance_mm != b.distance_mm ? a.distance_mm < b.distance_mm : a.element < b.element;
    };
    // The classes come in rising order, all but those of one root, and most far elements lie beyond them.
    const auto near = static_cast<std::ptrdiff_t>(groups.size());
    if (!std::is_sorted(groups.begin(), groups.end(), is_before)) std::sort(groups.begin(), groups.end(), is_before);
    tally.each(add);
    std::sort(groups.begin() + near, groups.end(), is_before);
    std::inplace_merge(groups.begin(), groups.begin() + near, groups.end(), is_before);
    SurfaceGroups out;
    for (const Group& group : groups) {
        const bool is_same =
            !out.count.empty() && out.distance_mm.back() == group.distance_mm && out.element.back() == group.element;
        if (is_same) {
            out.count.back() += group.count;
        } else {
            out.distance_mm.push_back(group.distance_mm);
            out.element.push_back(group.element);
            out.count.push_back(group.count);
        }
    }
    return out;
}

}  // namespace covfast
