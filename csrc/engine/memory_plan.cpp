#include "engine/memory_plan.h"

#include <algorithm>

#include "core/error.h"

namespace covfast {
namespace {

constexpr int64_t kValueLimit = int64_t{1} << 35;  // bytes of one value: 32 GiB
constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A range of the memory that is in use.
struct Range {
    size_t begin, end;
    size_t last_use;  // node after which it is free
};

// The ranges in use, sorted; each new one takes the lowest gap. Their begins lie at different distances from a page's:
// a load that lies a multiple of 4 KiB from a store before it waits for that store, and such arrays share cache sets.
class Occupied {
public:
    void free_before(size_t node) {
        std::erase_if(in_use_, [node](const Range& range) { return range.last_use < node; });
    }
    size_t take(size_t bytes, size_t until) {
        bytes = aligned(std::max<size_t>(bytes, 1));
        const size_t within = taken_++ * kStagger % kPage;
        const auto staggered = [within](size_t at) { return at + (within + kPage - at % kPage) % kPage; };
        size_t at = staggered(0);
        for (const Range& range : in_use_) {
            if (range.begin >= at + bytes) break;
            at = std::max(at, staggered(range.end));
        }
        const Range range{at, at + bytes, until};
        const auto is_lower = [](const Range& a, const Range& b) { return a.begin < b.begin; };
        in_use_.insert(std::upper_bound(in_use_.begin(), in_use_.end(), range, is_lower), range);
        most_ = std::max(most_, range.end);
        return at;
    }
    void keep(size_t begin, size_t until) {
        for (Range& range : in_use_)
            if (range.begin == begin) range.last_use = until;
    }
    size_t most() const { return most_; }

private:
    static constexpr size_t kPage = 4096, kStagger = 1024 + 64;
    std::vector<Range> in_use_;
    size_t most_ = 0, taken_ = 0;
};

class Planner {
public:
    Planner(const Graph& graph, const std::vector<Shape>& shapes, const std::vector<size_t>& scratch_bytes)
        : graph_(graph), shapes_(shapes), scratch_bytes_(scratch_bytes), roots_(shapes.size()) {}

    MemoryPlan run() {
        find_roots();
        find_lives();
        plan_.offsets.assign(shapes_.size(), 0);
        plan_.scratch.assign(graph_.nodes.size(), 0);
        for (size_t i = 0; i < graph_.nodes.size(); ++i) {
            ranges_.free_before(i);
            const Node& node = graph_.nodes[i];
            taken_ = -1;
            for (const int made : {node.made, node.total})
                if (made >= 0) place(i, made);
            if (scratch_bytes_[i] > 0) plan_.scratch[i] = ranges_.take(scratch_bytes_[i], i);
        }
        plan_.bytes = ranges_.most();
        return std::move(plan_);
    }

private:
    struct Root {
        int members = 0;
        size_t last_use = 0;
        bool is_placed = false;
    };

    bool is_outside(int root) const { return root == 0 || root == graph_.output; }

    void find_roots() {
        plan_.places.resize(shapes_.size());
        for (size_t v = 0; v < shapes_.size(); ++v) {
            const Shape& shape = shapes_[v];
            int64_t row = 0;
            int at = static_cast<int>(v);
            for (; graph_.values[at].home >= 0; at = graph_.values[at].home) row += graph_.values[at].first;
            plan_.places[v] = {at, static_cast<size_t>(row * shape.plane() * element_bytes(shape.element))};
            ++roots_[at].members;
        }
    }

    // A root lives from the first node that writes into it to the last one that reads it or a part of it.
    void find_lives() {
        const auto use = [&](int v, size_t i) {
            if (v < 0) return;
            Root& root = roots_[plan_.places[v].root];
            root.last_use = std::max(root.last_use, i);
        };
        for (size_t i = 0; i < graph_.nodes.size(); ++i) {
            const Node& node = graph_.nodes[i];
            for (size_t k = 0; k < node.inputs.size() && k < node.op->read_inputs; ++k) use(node.inputs[k], i);
            for (const int v : {node.made, node.total, node.fused.before, node.fused.after, node.fused.other})
                use(v, i);
        }
    }

    void place(size_t i, int made) {
        const int r = plan_.places[made].root;
        Root& root = roots_[r];
        if (root.is_placed || is_outside(r)) return;
        root.is_placed = true;
        const int given = r == made && root.members == 1 ? reusable(i, made) : -1;
        if (given >= 0) {
            taken_ = given;
            plan_.offsets[r] = plan_.offsets[given];
            ranges_.keep(plan_.offsets[given], root.last_use);
        } else {
            plan_.offsets[r] = ranges_.take(bytes_of(shapes_[r]), root.last_use);
        }
    }

    // The operand whose memory the result may take, or -1: of the same size, not read later, nothing else inside.
    int reusable(size_t i, int made) const {
        const Node& node = graph_.nodes[i];
        const auto fits = [&](int v) {
            if (v < 0 || v == taken_) return false;
            const int r = plan_.places[v].root;
            return r == v && !is_outside(r) && shapes_[v].channels == shapes_[made].channels &&
                   roots_[r].members == 1 && roots_[r].last_use == i && bytes_of(shapes_[v]) == bytes_of(shapes_[made]);
        };
        if (made == node.total)
            return fits(node.fused.other) && is_once(node, node.fused.other) ? node.fused.other : -1;
        if (node.op->runs_in_place)
            for (size_t k = 0; k < node.inputs.size() && k < node.op->read_inputs; ++k)
                if (fits(node.inputs[k])) return node.inputs[k];
        if (node.fused.has_norm) return -1;  // sums are stored before the residual is read
        for (const int v : {node.fused.after, node.fused.before})
            if (fits(v) && is_once(node, v)) return v;
        return -1;
    }

    // Whether the node reads a value in one role alone.
    static bool is_once(const Node& node, int v) {
        const Fused& f = node.fused;
        const auto roles = std::count(node.inputs.begin(), node.inputs.end(), v);
        return roles + (f.before == v) + (f.after == v) + (f.other == v) == 1;
    }

    const Graph& graph_;
    const std::vector<Shape>& shapes_;
    const std::vector<size_t>& scratch_bytes_;
    std::vector<Root> roots_;
    MemoryPlan plan_;
    Occupied ranges_;
    int taken_ = -1;  // whose memory the node's other result has
};

}  // namespace

size_t bytes_of(const Shape& shape) {
    int64_t count = element_bytes(shape.element);
    for (const int64_t factor : {shape.rows(), shape.size[0], shape.size[1], shape.size[2]}) {
        const bool overflows = __builtin_mul_overflow(count, factor, &count);
        COVFAST_REQUIRE(!overflows && count <= kValueLimit, MEMORY_LIMIT, "size: got a value of ", shape.channels,
                        " x ", shape.size[0], " x ", shape.size[1], " x ", shape.size[2],
                        ", expected one that memory can hold");
    }
    return static_cast<size_t>(count);
}

MemoryPlan MemoryPlan::create(const Graph& graph, const std::vector<Shape>& shapes,
                              const std::vector<size_t>& scratch_bytes) {
    return Planner(graph, shapes, scratch_bytes).run();
}

}  // namespace covfast
