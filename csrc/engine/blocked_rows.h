// Rows that run a node in the blocked layout. Each function gives the row for a node of its op, or null where only the
// planar row can run it. Lane maps and layouts are those of engine/layout.h.
#pragma once
#include <cstddef>
#include <cstdint>

#include "engine/graph.h"
#include "engine/network.h"

namespace covfast {

const OpRow* blocked_conv(const Node& node);            // groups 1
const OpRow* blocked_conv_transpose(const Node& node);  // kernel = stride: windows that do not overlap
const OpRow* blocked_norm(const Node& node);            // an instance norm
const OpRow* blocked_map(const Node& node);             // pooling, resizes, activations, operations on two values
const OpRow* blocked_copy(const Node& node);            // concat and slice

// From one layout to the other; only the engine makes such nodes.
const OpRow& reorder_row();
// From bf16 to u8; only the engine makes such nodes.
const OpRow& quantise_row();

bool has_packed_weights(const Node& node);
bool may_use_winograd(const Node& node, const NetworkOptions& options);
// Whether it is faster at these sizes.
bool winograd_pays(const Node& node, const Operands& o);

// Packs the weights of a node that has_packed_weights() in its kernel's order.
void pack_weights(const Graph& graph, const Node& node, bool is_winograd, Packed& packed);

}  // namespace covfast
