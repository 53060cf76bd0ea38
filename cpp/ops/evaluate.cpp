// Evaluation of single nodes outside of a plan.
#include "ops/evaluate.h"

#include "ops/kernel.h"
#include "ops/named_error.h"

namespace sx {
namespace {

const Facts* at(const FactTable& facts, ValueId id) { return id == kNone ? nullptr : &facts[static_cast<size_t>(id)]; }

class NoSharing : public PrepareHost {
 public:
  Tensor shared(const std::string&, FunctionRef<Tensor()> make) override { return make(); }
  std::shared_ptr<const BodyRunner> body(const Node&, size_t) override { return nullptr; }
  bool lasting(ValueId) const override { return false; }
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
  const Node& node = graph.node(id);
  std::vector<const Facts*> known;
  std::vector<const Facts*> expected;
  for (ValueId input : node.inputs) known.push_back(at(facts, input));
  for (ValueId output : node.outputs) expected.push_back(at(facts, output));
  std::vector<Datum> values;
  for (const Facts* fact : known) values.push_back(fact ? Datum(fact->constant) : Datum());
  std::vector<Datum> results(node.outputs.size());
  std::vector<const Datum*> inputs;
  for (size_t i = 0; i < values.size(); ++i) inputs.push_back(known[i] ? &values[i] : nullptr);
  std::vector<OutputSlot> slots(node.outputs.size());
  for (size_t i = 0; i < slots.size(); ++i)
    if (expected[i]) slots[i] = {&results[i], expected[i]->type.dtype};
  NoSharing host;
  Prepare prepare(node, id, known, expected, &host);
  Run run(node, inputs, slots, nullptr);
  naming(node, [&] { node.op->kernel_factory()(prepare)(run); });
  std::vector<Tensor> tensors;
  for (Datum& result : results) tensors.push_back(std::move(result.tensor));
  return tensors;
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
