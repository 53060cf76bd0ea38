// Inlines model-local functions: renames values, substitutes attribute references, recurses.
#include "onnx/functions.h"

#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"

namespace sx {
namespace {

constexpr int kMaxCalls = 64;           // functions that call each other may be nested this deep
constexpr size_t kMaxNodes = 1u << 19;  // nodes that inlining may make

class Inliner {
 public:
  explicit Inliner(proto::Model& model) {
    for (const proto::Function& function : model.functions) {
      const bool added = functions_.emplace(Key{function.domain, function.name, function.overload}, &function).second;
      SX_REQUIRE(added, kInvalidGraph, "the model defines the function '", function.name, "' of domain '",
                 function.domain, "' twice");
    }
    collect_names(model.graph);
    expand(model.graph, 0);
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;
  // The values of one call, by the function's names.
  using Names = std::unordered_map<std::string, std::string>;

  struct Call {
    const proto::Function& function;
    const proto::Node& node;
    std::string stem;
    Names names;
  };

  void collect_names(const proto::Graph& graph) {
    for (const auto& input : graph.inputs) taken_.insert(input.name);
    for (const auto& tensor : graph.initializers) taken_.insert(tensor.name);
    for (const auto& tensor : graph.sparse_initializers) taken_.insert(tensor.values.name);
    for (const auto& node : graph.nodes) {
      taken_.insert(node.inputs.begin(), node.inputs.end());
      taken_.insert(node.outputs.begin(), node.outputs.end());
      for (const auto& attribute : node.attributes)
        for (const auto& body : attribute.graphs) collect_names(*body);
    }
  }

  const proto::Function* function_of(const proto::Node& node) const {
    auto found = functions_.find(Key{node.domain, node.op_type, node.overload});
    return found == functions_.end() ? nullptr : found->second;
  }

  // `depth` counts the calls around.
  void expand(proto::Graph& graph, int depth) {
    std::vector<proto::Node> nodes;
    nodes.reserve(graph.nodes.size());
    for (proto::Node& node : graph.nodes) add(std::move(node), depth, nodes);
    graph.nodes = std::move(nodes);
  }

  void add(proto::Node node, int depth, std::vector<proto::Node>& to) {
    for (auto& attribute : node.attributes)
      for (auto& body : attribute.graphs) expand(*body, depth);
    const proto::Function* function = function_of(node);
    if (function == nullptr) to.push_back(std::move(node));
    else call(node, *function, depth, to);
  }

  void call(const proto::Node& node, const proto::Function& function, int depth, std::vector<proto::Node>& to) {
    SX_REQUIRE(depth < kMaxCalls, kInvalidGraph, "the function '", function.name,
               "' calls itself, or functions call each other more than ", kMaxCalls, " deep");
    SX_REQUIRE(node.inputs.size() <= function.inputs.size() && node.outputs.size() <= function.outputs.size(),
               kInvalidGraph, proto::origin_of(node), " calls a function of ", function.inputs.size(), " inputs and ",
               function.outputs.size(), " outputs with ", node.inputs.size(), " and ", node.outputs.size());
    Call call{
        function, node, node.name.empty() ? (node.outputs.empty() ? function.name : node.outputs[0]) : node.name, {}};
    for (size_t i = 0; i < function.inputs.size(); ++i)
      call.names[function.inputs[i]] = i < node.inputs.size() ? node.inputs[i] : std::string();
    std::vector<std::pair<std::string, std::string>> copies;  // outputs that are inputs or other outputs
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty()) continue;
      const bool added = call.names.emplace(function.outputs[i], node.outputs[i]).second;
      if (!added) copies.emplace_back(call.names[function.outputs[i]], node.outputs[i]);
    }
    for (const proto::Node& inner : function.nodes) {
      proto::Node copy = inner;
      rewrite(copy, call);
      add(std::move(copy), depth + 1, to);
    }
    for (const auto& [from, name] : copies) {
      proto::Node copy;
      copy.op_type = "Identity";
      copy.name = call.stem;
      copy.inputs = {from};
      copy.outputs = {name};
      copy.opsets = node.opsets;
      to.push_back(std::move(copy));
    }
  }

  const std::string& renamed(const std::string& name, Call& call) {
    auto [found, added] = call.names.emplace(name, name);
    if (added && !name.empty()) {
      const std::string stem = call.stem + "/" + name;
      std::string fresh = stem;
      for (size_t i = 1; !taken_.insert(fresh).second; ++i) fresh = stem + "_" + std::to_string(i);
      found->second = fresh;
    }
    return found->second;
  }

  // Gives a copy of one of the function's nodes the call's names, attributes and opsets.
  void rewrite(proto::Node& node, Call& call) {
    SX_REQUIRE(++made_ <= kMaxNodes, kInvalidGraph, "the model's functions unfold to more than ", kMaxNodes, " nodes");
    for (std::string& name : node.inputs) name = renamed(name, call);
    for (std::string& name : node.outputs) name = renamed(name, call);
    if (!node.name.empty() && !call.node.name.empty()) node.name = call.node.name + "/" + node.name;
    node.opsets = &call.function.opsets;
    std::vector<proto::Attribute> attributes;
    for (proto::Attribute& attribute : node.attributes) {
      if (!attribute.reference.empty()) {
        // A graph given by the caller keeps the caller's names.
        const proto::Attribute* given = argument(attribute.reference, call);
        if (given == nullptr) continue;
        const std::string name = attribute.name;
        attribute = *given;
        attribute.name = name;
      } else {
        for (auto& body : attribute.graphs) {
          body = std::make_shared<proto::Graph>(*body);
          rewrite(*body, call);
        }
      }
      attributes.push_back(std::move(attribute));
    }
    node.attributes = std::move(attributes);
  }

  void rewrite(proto::Graph& graph, Call& call) {
    for (auto& tensor : graph.initializers) tensor.name = renamed(tensor.name, call);
    for (auto& tensor : graph.sparse_initializers) tensor.values.name = renamed(tensor.values.name, call);
    for (auto* list : {&graph.inputs, &graph.outputs, &graph.value_infos})
      for (auto& info : *list) info.name = renamed(info.name, call);
    for (auto& node : graph.nodes) rewrite(node, call);
  }

  // What the call, or else the function's default, gives for an attribute; nullptr where it is not given.
  static const proto::Attribute* argument(const std::string& name, const Call& call) {
    for (const auto& attribute : call.node.attributes)
      if (attribute.name == name) return &attribute;
    for (const auto& attribute : call.function.defaults)
      if (attribute.name == name) return &attribute;
    return nullptr;
  }

  std::map<Key, const proto::Function*> functions_;
  std::unordered_set<std::string> taken_;
  size_t made_ = 0;
};

}  // namespace

void inline_functions(proto::Model& model) {
  if (!model.functions.empty()) Inliner inliner(model);
}

}  // namespace sx
