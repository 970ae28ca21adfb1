// How nodes that move a window over their input are read, sized and run: convolution, transposed convolution, pooling.
#pragma once
#include <vector>

#include "engine/graph.h"
#include "kernels/pool3d.h"

namespace covfast {

void parse_conv(Node& node, const NodeSource& source);
Axes size_of_conv(const Node& node, const std::vector<Shape>& in);
void run_conv(const Node& node, const Operands& o, const Context& context);

void parse_conv_transpose(Node& node, const NodeSource& source);
Axes size_of_conv_transpose(const Node& node, const std::vector<Shape>& in);
void run_conv_transpose(const Node& node, const Operands& o, const Context& context);

template <PoolKind kKind>
void parse_pool(Node& node, const NodeSource& source);
Axes size_of_pool(const Node& node, const std::vector<Shape>& in);
template <PoolKind kKind>
void run_pool(const Node& node, const Operands& o, const Context& context);

// Windows that share the input among `pooled` outputs, without overlap.
void parse_adaptive_pool(Node& node, const NodeSource& source);
Axes size_of_adaptive_pool(const Node& node, const std::vector<Shape>& in);
template <PoolKind kKind>
void run_adaptive_pool(const Node& node, const Operands& o, const Context& context);

}  // namespace covfast
