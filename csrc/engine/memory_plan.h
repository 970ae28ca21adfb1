// Where every value of a graph lies in one session's memory. Values that live at different times share it; a part of a
// concat or a slice lies in the other value's; a result takes the memory of an operand that nothing reads later.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/graph.h"

namespace covfast {

struct MemoryPlan {
    struct Place {
        int root = 0;       // the value whose memory it is: 0 and the graph's output lie with the caller
        size_t offset = 0;  // bytes from the root's begin
    };
    std::vector<Place> places;    // of each value
    std::vector<size_t> offsets;  // of each root, in bytes
    std::vector<size_t> scratch;  // of each node, in bytes
    size_t bytes = 0;

    // shapes: of each value; scratch_bytes: of each node. Throws MEMORY_LIMIT where a value cannot be held.
    static MemoryPlan create(const Graph& graph, const std::vector<Shape>& shapes,
                             const std::vector<size_t>& scratch_bytes);
};

// Bytes of a value. Throws MEMORY_LIMIT where no memory can hold it.
size_t bytes_of(const Shape& shape);

}  // namespace covfast
