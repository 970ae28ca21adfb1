// A network as data: one input, nodes in topological order, one output, every name, channel and tensor checked.
//
//   {"inputs": [{"name": "x", "channels": 3, "rank": 2}], "outputs": ["y"],
//    "nodes": [{"op": "conv", "inputs": ["x"], "output": "a", "weight": "w", "bias": "b", "stride": [2, 2],
//               "padding": [1, 1], "dilation": [1, 1], "groups": 1},
//              {"op": "sigmoid", "inputs": ["a"], "output": "y"}]}
//
// The list of ops is closed; covfast/package.py documents each op's attributes. A new op is one row of op_rows.cpp.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json.h"
#include "engine/package.h"
#include "kernels/backend.h"
#include "kernels/blocked.h"
#include "kernels/epilogue.h"
#include "kernels/resize_axis.h"

namespace covfast {

struct Shape {
    int64_t channels = 0;
    std::array<int64_t, 3> size{};  // (D, H, W); D is 1 for a 2-D network
    int64_t lanes = 0;              // 0: planar; else the channels that the blocked memory has room for
    Element element = Element::kF32;
    int64_t plane() const { return size[0] * size[1] * size[2]; }
    int64_t rows() const { return lanes == 0 ? channels : lanes; }  // channels in memory
};

using Axes = std::array<int64_t, 3>;  // (D, H, W)

// What a node reads and makes. Planar (channels, D, H, W) f32, or blocked (kernels/blocked.h) in a network of many
// channels. `runs` are the channels of each stretch that begins at a block of its own.
struct Value {
    int64_t channels = 0;
    bool is_blocked = false;
    Element element = Element::kF32;
    std::vector<int64_t> runs{};
    int home = -1;      // the value in whose memory it lies, from row `first` on (a slice, or a part of a concat)
    int64_t first = 0;  // channels; lanes where blocked
    std::vector<float> lane_scale{};  // of u8: what one unit is worth in each lane
};

struct OpRow;

// What a node does with its result before it is stored (kernels/epilogue.h); values, or -1. Numbers per channel.
struct Fused {
    EpilogueKind kind = EpilogueKind::kNone;
    const float* slope = nullptr;  // null: slope_value
    float slope_value = 0;
    int before = -1, after = -1, other = -1;
    bool has_norm = false;  // an instance norm between the sum and the activation
    double eps = 0;
    const float *norm_weight = nullptr, *norm_bias = nullptr;
    bool is_plain() const { return kind == EpilogueKind::kNone && before < 0 && after < 0 && other < 0; }
};

// One op of the network; of the parameters, those that its op has. Tensors lie in the package or in the node.
struct Node {
    const OpRow* op = nullptr;
    std::string output;
    std::vector<int> inputs;  // values: 0 is the network's input
    int made = -1;            // the value that it makes
    int total = -1;           // the second one, its sum with fused.other; or -1
    int64_t out_channels = 0;

    Axes kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, padding{0, 0, 0};
    Axes after{0, 0, 0};  // of a padding, whose `padding` stands before; of a transposed convolution its output padding
    Axes pooled{0, 0, 0};  // size that an adaptive pooling gives
    int64_t groups = 1, first = 0;
    bool ceil_mode = false, count_include_pad = true;
    ResizeKind resize = ResizeKind::kLinear;
    double eps = 0;
    std::array<double, 3> factor{};          // of a resize; 0: the size of the second input
    const float *a = nullptr, *b = nullptr;  // weight and bias, or scale (slope) and shift per channel
    float a_value = 0, b_value = 0;          // where they are one number

    Fused fused;
    float u8_scale = 1;                                             // what one unit of a u8 result is worth
    std::vector<int64_t> dilations;                                 // of a spatial pyramid, one per branch
    const float* gate_bias = nullptr;                               // of a spatial pyramid
    std::vector<float> branch_weight;                               // of a spatial pyramid
    const float* fuse_weight = nullptr;                             // of a spatial pyramid
    const float* mix_weight = nullptr;                              // of a pointwise_depthwise
    std::vector<float> bias, scale, slope, norm_weight, norm_bias;  // per row of the value made; empty: none
    std::vector<int32_t> in_lanes, out_lanes;                       // channel in each lane, -1: none; of blocked nodes
};

// What a row needs to read one node.
struct NodeSource {
    const Json& json;
    const Package& package;
    int rank;
    std::vector<int64_t> channels;  // of each input
};

// What a row needs to run one node on one image.
struct Operands {
    std::vector<const void*> x;  // of each input, (channels, size)
    std::vector<Shape> in;
    void* y = nullptr;
    Shape out;
    Epilogue epilogue{};
    void* scratch = nullptr;         // as many bytes as the row's scratch() says
    std::array<ResizeAxis, 3> axes;  // of a resize
    const void* weight = nullptr;    // packed for the blocked layout
    const float* scale = nullptr;    // of u8 products (kernels/conv_blocked.h)
    bool is_winograd = false;

    const float* in_f32(size_t i) const { return static_cast<const float*>(x[i]); }
    float* out_f32() const { return static_cast<float*>(y); }
};

struct OpRow {
    const char* name;
    const char* kernel;                          // the op of the backend table that it needs
    size_t min_inputs, max_inputs, read_inputs;  // of the inputs beyond read_inputs only the size is used
    bool runs_in_place;                          // the output may take the memory of an input of the same shape
    std::string_view attributes;                 // that a node may have, each within spaces
    void (*parse)(Node&, const NodeSource&);     // fills the parameters and out_channels
    Axes (*out_size)(const Node&, const std::vector<Shape>& in);  // throws SHAPE where the sizes do not fit
    void (*prepare)(const Node&, Operands&);                      // tables of one size; null: none
    void (*run)(const Node&, const Operands&, const Context&);
    size_t (*scratch)(const Node&, const Operands&, const Context&) = nullptr;  // bytes while it runs; null: none
    const OpRow* (*blocked)(const Node&) = nullptr;  // the row that runs it in the blocked layout, or null; null: none
};

// The row of an op, or null.
const OpRow* find_op(const std::string& name);

inline bool is(const Node& node, std::string_view op) { return op == node.op->name; }

constexpr int64_t kAxisLimit = 1 << 20;  // of an axis

struct Graph {
    int rank = 2;
    int64_t in_channels = 0;
    std::vector<Value> values;  // 0 is the network's input
    std::vector<Node> nodes;
    int output = 0;  // value

    // Throws FORMAT naming the node: unknown op, attribute or value, a value defined twice, a missing tensor, channels
    // that differ.
    static Graph parse(const Json& json, const Package& package);
};

}  // namespace covfast
