#include "engine/pyramid_row.h"

#include <algorithm>

#include "kernels/spatial_pyramid.h"

namespace covfast {
namespace {

Axes size_of_pyramid(const Node& node, const std::vector<Shape>& in) {
    Axes size = in[0].size;
    for (int a = 1; a < 3; ++a) size[a] = (size[a] - 1) / node.stride[a] + 1;
    return size;
}

void run_pyramid(const Node& node, const Operands& o, const Context& context) {
    SpatialPyramidParams p{};
    p.x = o.in_f32(0), p.y = o.out_f32(), p.epilogue = o.epilogue;
    p.branch_weight = node.branch_weight.data(), p.fuse_weight = node.fuse_weight;
    p.gate_weight = node.a, p.gate_bias = node.gate_bias;
    p.branches = static_cast<int64_t>(node.dilations.size()), p.m = o.in[0].channels;
    p.out_per_branch = o.out.channels / p.branches, p.stride = node.stride[1];
    std::copy(node.dilations.begin(), node.dilations.end(), p.dilation);
    for (int a = 0; a < 2; ++a) p.in_size[a] = o.in[0].size[a + 1], p.out_size[a] = o.out.size[a + 1];
    spatial_pyramid(p, context);
}

constexpr OpRow kPyramid = {"spatial_pyramid", "spatial_pyramid", 1,       1,          1, false, "",
                            nullptr,           size_of_pyramid,   nullptr, run_pyramid};

}  // namespace

const OpRow& pyramid_row() { return kPyramid; }

}  // namespace covfast
