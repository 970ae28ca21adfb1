// Passes over a graph before it runs: nodes that only touch what another node has just made become part of that node,
// so that no further pass reads it from memory.
#pragma once
#include "engine/graph.h"

namespace covfast {

// conv + instance norm (where `is_blocked`), sums with a residual, activations -> Fused; MiniSeg's pyramid of dilated
// depthwise convolutions with its gates -> one spatial_pyramid node; in a planar network a 1x1 convolution and the
// depthwise one of stride 2 behind it -> one pointwise_depthwise node.
void fuse(Graph& graph, bool is_blocked);

// Whether the network's weights lie in dense convolutions of many channels, so that the blocked layout pays.
bool is_of_many_channels(const Graph& graph);

// The nodes that read a value, each once; the graph's output counts as a reader of its own (nullptr).
std::vector<const Node*> readers_of(const Graph& graph, int value);

}  // namespace covfast
