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
#include "kernels/resize_axis.h"

namespace covfast {

struct Shape {
    int64_t channels = 0;
    std::array<int64_t, 3> size{};  // (D, H, W); D is 1 for a 2-D network
    int64_t plane() const { return size[0] * size[1] * size[2]; }
};

using Axes = std::array<int64_t, 3>;  // (D, H, W)

struct OpRow;

// One op of the network; of the parameters, those that its op has. Tensors lie in the package.
struct Node {
    const OpRow* op = nullptr;
    std::string output;
    std::vector<int> inputs;  // values: 0 is the network's input, i + 1 the output of node i
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
};

// What a row needs to read one node.
struct NodeSource {
    const Json& json;
    const Package& package;
    int rank;
    std::vector<int64_t> channels;  // of each input
};

// What a row needs to run one node.
struct Operands {
    std::vector<const float*> x;  // of each input, (n, channels, size)
    std::vector<Shape> in;
    float* y = nullptr;
    Shape out;
    int64_t n = 0;
    float* scratch = nullptr;        // as many floats as the row's scratch() says
    std::array<ResizeAxis, 3> axes;  // of a resize
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
    int64_t (*scratch)(const Node&, const Shape& in, int64_t n) = nullptr;  // floats while it runs; null: none
};

// The row of an op, or null.
const OpRow* find_op(const std::string& name);

struct Graph {
    int rank = 2;
    int64_t in_channels = 0;
    std::vector<Node> nodes;
    int output = 0;  // value

    // Throws FORMAT naming the node: unknown op, attribute or value, a value defined twice, a missing tensor, channels
    // that differ.
    static Graph parse(const Json& json, const Package& package);
};

}  // namespace covfast
