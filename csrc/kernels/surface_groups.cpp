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
    Tally() : slots_(1024) {}

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
    struct Slot {
        uint64_t key = 0;
        uint32_t size = 0;
        uint32_t count = 0;
    };

    size_t place(uint64_t key, uint32_t size) const {
        const uint64_t hash = (key ^ uint64_t(size) << 50) * 0x9e3779b97f4a7c15ull;
        size_t at = (hash ^ hash >> 29) & (slots_.size() - 1);
        while (slots_[at].count != 0 && (slots_[at].key != key || slots_[at].size != size))
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void grow() {
        std::vector<Slot> old(slots_.size() * 4);
        old.swap(slots_);
        for (const Slot& slot : old)
            if (slot.count > 0) slots_[place(slot.key, slot.size)] = slot;
    }

    std::vector<Slot> slots_;
    size_t used_ = 0;
};

struct Group {
    double square, element;
    int64_t count;
};

}  // namespace

SurfaceGroups group_elements(const SurfaceCounts& counts, const std::vector<double>& sizes) {
    std::vector<Group> groups;
    for (size_t i = 0; i < counts.counts.size(); ++i)
        if (counts.counts[i] > 0)
            groups.push_back({(*counts.class_square)[i / sizes.size()], sizes[i % sizes.size()], counts.counts[i]});
    Tally tally;
    for (const SurfaceCounts::FarList& far : counts.far)
        for (int64_t i = 0; i < far.count; ++i) tally.add(far.square[i], far.size[i]);
    tally.each([&](double square, uint32_t size, uint32_t count) { groups.push_back({square, sizes[size], count}); });
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
        return a.square != b.square ? a.square < b.square : a.element < b.element;
    });
    SurfaceGroups out;
    const Group* last = nullptr;
    for (const Group& group : groups) {
        if (last != nullptr && last->square == group.square && last->element == group.element) {
            out.count.back() += group.count;
        } else {
            const double distance =
                counts.has_target ? std::sqrt(group.square) : std::numeric_limits<double>::infinity();
            out.distance_mm.push_back(distance);
            out.element.push_back(group.element);
            out.count.push_back(group.count);
        }
        last = &group;
    }
    return out;
}

}  // namespace covfast
