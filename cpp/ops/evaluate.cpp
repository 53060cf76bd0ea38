// Evaluation of single nodes outside of a plan.
#include "ops/evaluate.h"

#include "ops/kernel.h"
#include "ops/named_error.h"

namespace sx {
namespace {

// Results above this size are computed again where they are needed rather than kept.
constexpr size_t kLarge = size_t{64} << 10;

class NoSharing : public PrepareHost {
 public:
  Tensor shared(const std::string&, FunctionRef<Tensor()> make) override { return make(); }
  std::shared_ptr<const BodyRunner> body(const Node&, size_t) override { return nullptr; }
  bool lasting(ValueId) const override { return false; }
};

// A node with what is known of its inputs and expected of its outputs, apart from any graph.
struct LoneNode {
  LoneNode(const Graph& graph, NodeId number, const FactTable& facts) : id(number) {
    const Node& from = graph.node(id);
    node.op = from.op, node.name = from.name, node.attributes = from.attributes, node.origin = from.origin;
    node.inputs = from.inputs, node.outputs = from.outputs;
    const auto known = [&](ValueId value) {
      return value == kNone ? std::nullopt : std::optional<Facts>(facts[static_cast<size_t>(value)]);
    };
    for (ValueId input : node.inputs) inputs.push_back(known(input));
    for (ValueId output : node.outputs) outputs.push_back(known(output));
  }

  std::vector<Tensor> run() const {
    std::vector<const Facts*> known, expected;
    for (const auto& input : inputs) known.push_back(input ? &*input : nullptr);
    for (const auto& output : outputs) expected.push_back(output ? &*output : nullptr);
    std::vector<Datum> values, results(outputs.size());
    for (const auto& input : inputs) values.push_back(input ? Datum(input->constant.borrow()) : Datum());
    std::vector<const Datum*> read;
    for (size_t i = 0; i < values.size(); ++i) read.push_back(known[i] ? &values[i] : nullptr);
    std::vector<OutputSlot> slots(outputs.size());
    for (size_t i = 0; i < slots.size(); ++i)
      if (expected[i]) slots[i] = {&results[i], expected[i]->type.dtype};
    NoSharing host;
    Prepare prepare(node, id, known, expected, &host);
    Run one(node, read, slots, nullptr);
    naming(node, [&] { node.op->kernel_factory()(prepare)(one); });
    std::vector<Tensor> tensors;
    for (Datum& result : results) tensors.push_back(std::move(result.tensor));
    return tensors;
  }

  NodeId id;
  Node node;
  std::vector<std::optional<Facts>> inputs, outputs;  // none where absent
};

}  // namespace

bool can_evaluate(const Graph& graph, NodeId id, const FactTable& facts) {
  const Node& node = graph.node(id);
  if (!node.op->deterministic() || !node.op->kernel_factory() || !node.bodies.empty()) return false;
  for (ValueId input : node.inputs)
    if (input != kNone && !facts[static_cast<size_t>(input)].constant.defined()) return false;
  for (ValueId output : node.outputs)
    if (output != kNone && !facts[static_cast<size_t>(output)].type.is_tensor()) return false;
  return true;
}

std::vector<Tensor> evaluate(const Graph& graph, NodeId id, const FactTable& facts) {
  const auto lone = std::make_shared<const LoneNode>(graph, id, facts);
  std::vector<Tensor> results = lone->run();
  for (size_t i = 0; i < results.size(); ++i) {
    const Tensor& result = results[i];
    // Operators of users may be slow, or not be what they say.
    if (result.bytes() > kLarge && result.dtype() != DType::kString && lone->node.op->domain().empty())
      results[i] = Tensor::on_demand(result.dtype(), result.shape(), [lone, i] { return lone->run()[i]; }, result);
  }
  const int viewed = lone->node.op->aliased_input();
  if (viewed != kNone) results[0] = lone->inputs[static_cast<size_t>(viewed)]->constant.reshaped(results[0].shape());
  return results;
}

bool settle_elements(const Graph& graph, NodeId id, FactTable& facts) {
  bool all = true;
  for (ValueId output : graph.node(id).outputs) {
    if (output == kNone) continue;
    Facts& fact = facts[static_cast<size_t>(output)];
    if (fact.constant.defined()) continue;
    const auto shape = fact.type.concrete_shape();
    const bool integers = fact.type.dtype == DType::kInt64 || fact.type.dtype == DType::kInt32;
    bool known = fact.elements && shape && integers && shape->size() == static_cast<int64_t>(fact.elements->size());
    for (size_t i = 0; known && i < fact.elements->size(); ++i) {
      const Dim& element = (*fact.elements)[i];
      known = element.known() &&
              (fact.type.dtype == DType::kInt64 || (element.value() >= INT32_MIN && element.value() <= INT32_MAX));
    }
    if (!known) {
      all = false;
      continue;
    }
    fact.constant = Tensor(fact.type.dtype, *shape);
    for (size_t i = 0; i < fact.elements->size(); ++i) {
      const int64_t element = (*fact.elements)[i].value();
      if (fact.type.dtype == DType::kInt64) fact.constant.data<int64_t>()[i] = element;
      else fact.constant.data<int32_t>()[i] = static_cast<int32_t>(element);
    }
  }
  return all;
}

}  // namespace sx
