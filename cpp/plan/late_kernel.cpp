// Infers and prepares a node during the run that first brings inputs of its types.
#include "plan/late_kernel.h"

#include <map>
#include <memory>
#include <mutex>

namespace sx {
namespace {

Type type_of(const Datum& datum) {
  switch (datum.kind) {
    case Datum::Kind::kTensor: return Type::tensor(datum.tensor.dtype());
    case Datum::Kind::kMap: return Type::map(datum.map->keys.dtype(), datum.map->values.dtype());
    case Datum::Kind::kSequence:
      return Type::sequence(datum.sequence->empty() ? Type() : type_of(datum.sequence->front()));
    case Datum::Kind::kNone: break;
  }
  return {};
}

class LateKernel {
 public:
  LateKernel(const Graph& graph, NodeId id, const FactTable& facts, PrepareHost& host)
      : graph_(graph), id_(id), host_(host) {
    for (ValueId read : graph.reads(id))
      if (read != kNone) known_.emplace(read, facts[static_cast<size_t>(read)]);
  }

  void operator()(Run& run) {
    const std::shared_ptr<const Prepared> prepared = prepared_for(run);
    for (size_t i = 0; i < prepared->outputs.size(); ++i)
      if (run.wants(static_cast<int>(i))) run.expect(static_cast<int>(i), prepared->outputs[i]);
    prepared->kernel(run);
  }

 private:
  struct Prepared {
    FactTable facts;  // what the kernel was prepared with; it may refer to constants in here
    Kernel kernel;
    std::vector<DType> outputs;
  };

  std::shared_ptr<const Prepared> prepared_for(const Run& run) {
    std::map<ValueId, Type> met;
    std::string key;
    for (int i = 0; i < run.inputs(); ++i) {
      const ValueId input = run.node().inputs[static_cast<size_t>(i)];
      if (input == kNone || known_.at(input).type.kind != Type::Kind::kUnknown || !run.has(i)) continue;
      const Type type = type_of(run.datum(i));
      key += join(i, ':', type.str(), ';');
      met.emplace(input, type);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = prepared_.find(key);
      if (found != prepared_.end()) return found->second;
    }
    // Outside of the lock, since inference may call a function of the user; two threads may prepare the same once.
    const std::shared_ptr<const Prepared> prepared = prepare(met);
    const std::lock_guard<std::mutex> lock(mutex_);
    return prepared_.emplace(key, prepared).first->second;
  }

  std::shared_ptr<const Prepared> prepare(const std::map<ValueId, Type>& met) const {
    auto result = std::make_shared<Prepared>();
    FactTable& facts = result->facts;
    facts.resize(graph_.value_limit());
    for (const auto& [value, fact] : known_) facts[static_cast<size_t>(value)] = fact;
    for (const auto& [value, type] : met) facts[static_cast<size_t>(value)].type = type;
    infer_node(graph_, id_, facts);
    const Node& node = graph_.node(id_);
    const auto facts_of_all = [&](const std::vector<ValueId>& values) {
      std::vector<const Facts*> found;
      for (ValueId value : values) found.push_back(value == kNone ? nullptr : &facts[static_cast<size_t>(value)]);
      return found;
    };
    const std::vector<const Facts*> outputs = facts_of_all(node.outputs);
    for (const Facts* fact : outputs) result->outputs.push_back(fact ? fact->type.dtype : DType::kUndefined);
    Prepare prepare(node, id_, facts_of_all(node.inputs), outputs, &host_);
    result->kernel = node.op->kernel_factory()(prepare);
    return result;
  }

  const Graph& graph_;
  const NodeId id_;
  PrepareHost& host_;
  std::map<ValueId, Facts> known_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Prepared>> prepared_;
};

}  // namespace

bool has_unknown_input(const Node& node, const FactTable& facts) {
  for (ValueId input : node.inputs)
    if (input != kNone && facts[static_cast<size_t>(input)].type.kind == Type::Kind::kUnknown) return true;
  return false;
}

Kernel make_late_kernel(const Graph& graph, NodeId id, const FactTable& facts, PrepareHost& host) {
  auto late = std::make_shared<LateKernel>(graph, id, facts, host);
  return [late](Run& run) { (*late)(run); };
}

}  // namespace sx
