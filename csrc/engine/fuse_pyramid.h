// Finds MiniSeg's attentive pyramid in a graph: depthwise 3x3 convolutions of one value with several dilations, whose
// running sums d_k are gated by themselves and mixed within each branch,
//   y_k = fuse_k . (d_k + d_k sigmoid(gate_k . d_k)).
#pragma once
#include "engine/graph.h"

namespace covfast {

// Replaces each by one node of the op spatial_pyramid, which packages do not have.
void fuse_pyramids(Graph& graph);

}  // namespace covfast
