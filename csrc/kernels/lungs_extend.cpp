// A front goes out from both lungs at once, a step at a time. In each step the left lung moves first: order within a
// step does not matter then, and so neither do threads nor the order of memory.
#include "kernels/lungs_extend.h"

#include <array>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/threads.h"

namespace covfast {
namespace {

constexpr uint8_t kLeft = 1, kRight = 2;

using Voxel = std::array<int64_t, 3>;

class Front {
public:
    Front(const View3<uint8_t>& lungs, const View3<const uint8_t>& found) : lungs_(lungs), found_(found) {}

    // The lung's voxels in slice d that touch a found one.
    void start(int64_t d, uint8_t side, std::vector<Voxel>& edge) const {
        for (int64_t h = 0; h < lungs_.size[1]; ++h)
            for (int64_t w = 0; w < lungs_.size[2]; ++w)
                if (lungs_.at(d, h, w) == side && touches({d, h, w})) edge.push_back({d, h, w});
    }
    // Takes the free neighbours of the edge, which become the next one.
    void step(uint8_t side, std::vector<Voxel>& edge) const {
        std::vector<Voxel> next;
        for (const Voxel& v : edge)
            each_neighbour(v, [&](const Voxel& n) {
                if (is_free(n)) lungs_.at(n[0], n[1], n[2]) = side, next.push_back(n);
                return false;
            });
        edge = std::move(next);
    }

private:
    // Until body(neighbour) is true; whether it was.
    template <class Body>
    bool each_neighbour(const Voxel& v, Body&& body) const {
        for (int axis = 0; axis < 3; ++axis)
            for (int64_t way : {-1, 1}) {
                Voxel n = v;
                n[axis] += way;
                if (n[axis] >= 0 && n[axis] < lungs_.size[axis] && body(n)) return true;
            }
        return false;
    }
    bool is_free(const Voxel& v) const { return found_.at(v[0], v[1], v[2]) != 0 && lungs_.at(v[0], v[1], v[2]) == 0; }
    bool touches(const Voxel& v) const {
        return each_neighbour(v, [this](const Voxel& n) { return is_free(n); });
    }

    View3<uint8_t> lungs_;
    View3<const uint8_t> found_;
};

}  // namespace

void lungs_extend(const View3<uint8_t>& lungs, const View3<const uint8_t>& found, int threads) {
    COVFAST_REQUIRE(lungs.size == found.size, SHAPE, "found: got (", found.size[0], ", ", found.size[1], ", ",
                    found.size[2], "), expected the shape of lungs, (", lungs.size[0], ", ", lungs.size[1], ", ",
                    lungs.size[2], ")");
    const Front front(lungs, found);
    std::vector<std::array<std::vector<Voxel>, 2>> slices(lungs.size[0]);
    parallel_for(lungs.size[0], 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d)
            for (uint8_t side : {kLeft, kRight}) front.start(d, side, slices[d][side - 1]);
    });
    std::array<std::vector<Voxel>, 2> edges;
    for (auto& slice : slices)
        for (int i = 0; i < 2; ++i) {
            edges[i].insert(edges[i].end(), slice[i].begin(), slice[i].end());
            slice[i] = {};
        }
    while (!edges[0].empty() || !edges[1].empty())
        for (uint8_t side : {kLeft, kRight}) front.step(side, edges[side - 1]);
}

}  // namespace covfast
