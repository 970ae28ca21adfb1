// Post-training quantisation of a network in the blocked layout: what only convolutions read becomes u8 with one scale
// a value, taken from the greatest magnitude that calibration images gave it; weights become s8 when they are packed.
// The rest, sums and residuals among it, stays bf16.
#pragma once
#include <map>
#include <string>

#include "engine/graph.h"

namespace covfast {

// Greatest magnitude of each value, by the name of the node that makes it in the package.
using Ranges = std::map<std::string, float>;

// The graph has its blocked layout, of bf16. Values that `ranges` lacks stay as they are.
void quantise(Graph& graph, const Ranges& ranges);

}  // namespace covfast
