#include "engine/network.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "engine/blocked_rows.h"
#include "engine/fuse.h"
#include "engine/layout.h"
#include "engine/recipe.h"

namespace covfast {
namespace {

constexpr size_t kMostMembers = 64;

// What describes the member: the metadata itself for the main network.
const Json& member_named(const Json& metadata, const std::string& name) {
    const Json *main = metadata.find("member"), *others = metadata.find("members");
    if (name.empty() || (main != nullptr && !main->is_null() && main->as_text("member") == name)) return metadata;
    if (others != nullptr && !others->is_null())
        for (const Json& other : others->as_array("members"))
            if (other.text("name") == name) return other;
    fail(Code::FORMAT, "member: got '", name, "', expected one of the package's networks");
}

}  // namespace

std::vector<std::string> Network::members(const Package& package) {
    const Json *main = package.metadata().find("member"), *others = package.metadata().find("members");
    std::vector<std::string> names{main == nullptr || main->is_null() ? "" : main->as_text("member")};
    if (others == nullptr || others->is_null()) return names;
    for (const Json& other : others->as_array("members")) {
        const std::string& name = other.text("name");
        COVFAST_REQUIRE(!name.empty() && std::find(names.begin(), names.end(), name) == names.end(), FORMAT,
                        package.file_name(), ": members: got '", name, "', expected names that differ");
        names.push_back(name);
        COVFAST_REQUIRE(names.size() <= kMostMembers, FORMAT, package.file_name(), ": members: got more than ",
                        kMostMembers, ", expected fewer");
    }
    return names;
}

std::shared_ptr<const Network> Network::create(std::shared_ptr<const Package> package, const NetworkOptions& options,
                                               const std::string& member) {
    std::shared_ptr<Network> network(new Network);
    network->package_ = std::move(package);
    network->options_ = options;
    const Package& from = *network->package_;
    try {
        const Json& description = member_named(from.metadata(), member);
        network->graph_ = Graph::parse(description.at("graph"), from);
        network->read_input_contract(description.at("input"));
        const Json* recipe = from.metadata().find("recipe");
        if (recipe != nullptr && !recipe->is_null()) Recipe::parse(*recipe);
        network->compile();
    } catch (const Error& error) {
        fail(error.code(), from.file_name(), ": ", error.what());
    }
    return network;
}

void Network::compile() {
    const bool is_blocked = is_of_many_channels(graph_);
    fuse(graph_, is_blocked);
    if (is_blocked) assign_blocked_layout(graph_, options_.element == Element::kU8 ? Element::kBf16 : options_.element);
    if (is_blocked && options_.element == Element::kU8) quantise(graph_, options_.ranges);
    place_values(graph_);
    fill_rows(graph_);
    const auto need = [&](const char* kernel) {
        const auto same = [&](const char* known) { return std::string_view(known) == kernel; };
        if (std::none_of(kernels_.begin(), kernels_.end(), same)) kernels_.push_back(kernel);
    };
    for (const Node& node : graph_.nodes) {
        need(node.op->kernel);
        if (node.fused.has_norm) need("norm_blocked");
        if (may_use_winograd(node, options_)) need("conv_winograd");
    }
}

const Packed& Network::packed_weights(size_t node, bool is_winograd) const {
    const std::lock_guard lock(packing_);
    const std::pair key{node, is_winograd};
    if (const auto known = packed_.find(key); known != packed_.end()) return known->second;
    Packed packed;
    pack_weights(graph_, graph_.nodes[node], is_winograd, packed);
    return packed_.emplace(key, std::move(packed)).first->second;
}

size_t Network::packed_bytes() const {
    const std::lock_guard lock(packing_);
    size_t bytes = 0;
    for (const auto& [key, packed] : packed_) bytes += packed.arena.bytes();
    return bytes;
}

void Network::read_input_contract(const Json& json) {
    const size_t rank = static_cast<size_t>(graph_.rank);
    const int64_t stated_rank = json.integer("rank", 2, 3), channels = json.integer("channels", 1, kAxisLimit);
    COVFAST_REQUIRE(stated_rank == graph_.rank && channels == graph_.in_channels, FORMAT, "input: got rank ",
                    stated_rank, " and ", channels, " channels, expected ", graph_.rank, " and ", graph_.in_channels,
                    ", as the graph has them");
    const std::vector<int64_t> multiple = json.integers("multiple", rank, 1, kAxisLimit);
    std::copy(multiple.begin(), multiple.end(), multiple_.end() - rank);
    if (json.find("size") == nullptr || json.at("size").is_null()) return;
    const std::vector<int64_t> size = json.integers("size", rank, 1, kAxisLimit);
    std::copy(size.begin(), size.end(), fixed_size_.end() - rank);
}

void Network::require_size(const Axes& size) const {
    COVFAST_REQUIRE(graph_.rank == 3 || size[0] == 1, SHAPE, "size: got ", size[0],
                    " along D, expected 1 for a 2-D network");
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(size[a] >= 1 && size[a] <= kAxisLimit, SHAPE, "size: got ", size[a], ", expected 1 to ",
                        kAxisLimit);
        COVFAST_REQUIRE(size[a] % multiple_[a] == 0, SHAPE, "size: got ", size[a], ", expected a multiple of ",
                        multiple_[a]);
        COVFAST_REQUIRE(fixed_size_[a] == 0 || size[a] == fixed_size_[a], SHAPE, "size: got ", size[a], ", expected ",
                        fixed_size_[a]);
    }
}

}  // namespace covfast
