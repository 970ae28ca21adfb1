// A network ready to run: the graph, fused and laid out, and its weights; shared between threads, never changed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "engine/graph.h"
#include "engine/package.h"
#include "engine/quantise.h"

namespace covfast {

struct NetworkOptions {
    Element element = Element::kF32;  // of the values of a network of many channels; kU8: of those that it may
    bool exact = false;               // no algorithm with fewer operations than the definition (Winograd)
    Ranges ranges{};                  // of kU8
};

struct Packed {
    Arena arena;
    const void* weight = nullptr;
    std::vector<float> scale, bias;  // of u8 products; the bias makes up for 128 standing for 0
};

class Network {
public:
    // member: of a package with several networks, such as the folds of an ensemble; "" is the main one. Throws FORMAT
    // naming the package if its graph, tensors, input contract or recipe do not fit, or it has no such member.
    static std::shared_ptr<const Network> create(std::shared_ptr<const Package> package,
                                                 const NetworkOptions& options = {}, const std::string& member = "");
    // Names of the networks in a package, the main one first. Throws FORMAT.
    static std::vector<std::string> members(const Package& package);

    const Package& package() const { return *package_; }
    const Graph& graph() const { return graph_; }
    const NetworkOptions& options() const { return options_; }
    int rank() const { return graph_.rank; }
    int64_t in_channels() const { return graph_.in_channels; }
    const std::vector<const char*>& kernels() const { return kernels_; }  // ops of the backend table that it needs

    // Throws SHAPE if the network does not take an input of this size.
    void require_size(const Axes& size) const;

    // The weights of a blocked node as a kernel wants them: packed when first asked for, kept for all sessions.
    const Packed& packed_weights(size_t node, bool is_winograd) const;
    size_t packed_bytes() const;  // of all that have been packed

private:
    Network() = default;
    void read_input_contract(const Json& json);
    void compile();

    std::shared_ptr<const Package> package_;
    NetworkOptions options_;
    Graph graph_;
    Axes multiple_{1, 1, 1};    // every size must be a multiple of this
    Axes fixed_size_{0, 0, 0};  // 0: any
    std::vector<const char*> kernels_;
    mutable std::mutex packing_;
    mutable std::map<std::pair<size_t, bool>, Packed> packed_;
};

}  // namespace covfast
