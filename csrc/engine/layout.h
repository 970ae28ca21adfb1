// Decides where and how every value of a fused graph lies: planar or blocked, which channel in which lane, and which
// values are part of another one's memory, so that concats and slices are read in place.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/graph.h"

namespace covfast {

// Blocked rows for nodes that have one, with reorders where layouts meet; the output is planar. Channels that a slice
// takes from a convolution begin at a block. Fills in_lanes and out_lanes.
void assign_blocked_layout(Graph& graph, Element element);

// Sets Value::home: parts of a concat lie in it, a slice lies in what it is taken from. What cannot is copied.
void place_values(Graph& graph);

// Fills the numbers per row of each node's result (bias, slope, norm), as its value lies in memory.
void fill_rows(Graph& graph);

// Channel in each lane, -1 for none, where each run of channels begins at a block of its own.
std::vector<int32_t> lanes_of(const std::vector<int64_t>& runs);

// Channels that a value's memory has room for: lanes, where it is blocked.
int64_t rows_of(const Value& value);

}  // namespace covfast
