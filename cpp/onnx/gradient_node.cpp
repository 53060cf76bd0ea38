// ai.onnx.preview.training.Gradient: replaced by the nodes that compute the derivatives it names.
#include <algorithm>

#include "autodiff/differentiate.h"
#include "onnx/graph_builder.h"
#include "ops/early_selection.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

const std::vector<std::string>& strings_of(const proto::Node& node, const std::string& name) {
  static const std::vector<std::string> kNone;
  for (const proto::Attribute& attribute : node.attributes)
    if (attribute.name == name) return attribute.strings;
  return kNone;
}

std::string result_of(const proto::Node& node) {
  for (const proto::Attribute& attribute : node.attributes)
    if (attribute.name == "y") return attribute.s;
  return "";
}

}  // namespace

bool is_gradient(const proto::Node& node) {
  return node.op_type == "Gradient" && node.domain == "ai.onnx.preview.training";
}

std::vector<std::string> names_in_gradient(const proto::Node& node) {
  std::vector<std::string> names = strings_of(node, "xs");
  const std::vector<std::string>& zs = strings_of(node, "zs");
  names.insert(names.end(), zs.begin(), zs.end());
  names.push_back(result_of(node));
  return names;
}

std::unordered_set<ValueId> GraphBuilder::lasting() const {
  std::unordered_set<ValueId> found;
  const auto add = [&](const std::string& name) {
    const auto known = names_.find(name);
    if (known != names_.end()) found.insert(known->second);
  };
  for (const proto::ValueInfo& output : from_.outputs) add(output.name);
  for (const proto::Node& node : from_.nodes)
    if (is_gradient(node))
      for (const std::string& name : names_in_gradient(node)) add(name);
  return found;
}

void GraphBuilder::add_gradient_node(const proto::Node& from, size_t index) {
  const std::string where = proto::origin_of(from);
  const std::vector<std::string> names = names_in_gradient(from);
  const size_t xs = strings_of(from, "xs").size();
  SX_REQUIRE(xs > 0 && !names.back().empty(), kInvalidGraph, where, " lacks the attribute '", xs == 0 ? "xs" : "y",
             "', which names what to differentiate");
  SX_REQUIRE(from.inputs.size() == names.size() - 1, kInvalidGraph, where, " has ", from.inputs.size(),
             " inputs; one for each of the ", names.size() - 1, " names in its attributes xs and zs expected");
  SX_REQUIRE(!from.outputs.empty() && from.outputs.size() <= xs, kInvalidGraph, where, " has ", from.outputs.size(),
             " outputs; 1 to ", xs, " expected, one for each name in xs");
  // A name may stand for a value of this graph only: a body cannot differentiate what is computed outside of it.
  std::vector<ValueId> values;
  for (const std::string& name : names) {
    auto known = names_.find(name);
    SX_REQUIRE(known != names_.end(), kInvalidGraph, where, " names '", name,
               "' in its attributes, which is no value of its graph");
    if (poisoned(known->second)) return poison_outputs(from);
    values.push_back(known->second);
  }
  const ValueId y = values.back();
  values.pop_back();
  select_early(*graph_, lasting());
  Emitter emitter(*graph_, from.name, where);
  std::unordered_map<ValueId, ValueId> replaced;
  std::vector<ValueId> given;
  for (size_t i = 0; i < values.size(); ++i) {
    ValueId input = resolve(from.inputs[i]);
    SX_REQUIRE(input != kNone, kInvalidGraph, where, " reads '", from.inputs[i],
               "', which is no input, initializer or output of another node");
    if (poisoned(input)) return poison_outputs(from);
    // The same value in two places is two independent variables.
    if (std::find(given.begin(), given.end(), input) != given.end())
      input = emitter.op("Identity", {emitter.expr(input)}).id();
    given.push_back(input);
    if (input != values[i]) replaced.emplace(values[i], input);
  }
  GradientRequest request;
  request.ys = {replaced.empty() ? y : recompute(*graph_, y, std::move(replaced))};
  request.seeds = {kNone};
  request.xs.assign(given.begin(), given.begin() + static_cast<std::ptrdiff_t>(xs));
  request.independent.insert(given.begin(), given.end());
  const std::vector<ValueId> gradients = add_gradients(*graph_, request);
  for (size_t i = 0; i < from.outputs.size(); ++i) {
    const ValueId output = from.outputs[i].empty() ? kNone : output_of(from.outputs[i], index);
    if (output == kNone) continue;
    const Expr x = emitter.expr(request.xs[i]);
    const Expr gradient = gradients[i] == kNone ? emitter.zeros_like(x) : emitter.expr(gradients[i]);
    Node identity;
    identity.op = &get_op("Identity");
    identity.name = from.name;
    identity.origin = where;
    identity.inputs = {gradient.id()};
    identity.outputs = {output};
    finish_node(graph_->add_node(std::move(identity)));
  }
}

}  // namespace sx
