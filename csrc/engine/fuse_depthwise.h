// Finds the 1x1 convolutions of few channels that only a depthwise convolution of stride 2 reads, as in MiniSeg's
// downsampling: their result, several times the input, would be written to memory and read again.
#pragma once
#include "engine/graph.h"

namespace covfast {

// Replaces each such pair by one node of the op pointwise_depthwise, which packages do not have. Of a planar graph.
void fuse_depthwise(Graph& graph);

}  // namespace covfast
