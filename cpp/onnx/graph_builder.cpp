// Builds graphs from decoded models: values, constants, nodes in dependency order, bodies with their captures.
#include "onnx/graph_builder.h"

#include <algorithm>

#include "base/suggest.h"
#include "ops/infer.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

constexpr int kMinOverridableIr = 4;  // before, every initializer had to be listed among the inputs

// Names that a graph reads from the graphs around it.
void add_free_names(const proto::Graph& graph, std::set<std::string>& free) {
  std::set<std::string> defined;
  std::set<std::string> read;
  for (const auto& input : graph.inputs) defined.insert(input.name);
  for (const auto& tensor : graph.initializers) defined.insert(tensor.name);
  for (const auto& tensor : graph.sparse_initializers) defined.insert(tensor.values.name);
  for (const auto& node : graph.nodes) {
    defined.insert(node.outputs.begin(), node.outputs.end());
    read.insert(node.inputs.begin(), node.inputs.end());
    for (const auto& attribute : node.attributes)
      for (const auto& body : attribute.graphs) add_free_names(*body, read);
  }
  for (const auto& output : graph.outputs) read.insert(output.name);
  for (const std::string& name : read)
    if (!name.empty() && defined.count(name) == 0) free.insert(name);
}

// Every name that a node reads, those that its bodies capture included.
std::vector<std::string> reads_of(const proto::Node& node) {
  std::vector<std::string> reads = node.inputs;
  if (is_gradient(node)) {
    const std::vector<std::string> names = names_in_gradient(node);
    reads.insert(reads.end(), names.begin(), names.end());
  }
  std::set<std::string> free;
  for (const auto& attribute : node.attributes)
    for (const auto& body : attribute.graphs) add_free_names(*body, free);
  reads.insert(reads.end(), free.begin(), free.end());
  return reads;
}

std::string full_name(const proto::Node& node) {
  return node.domain.empty() ? node.op_type : node.domain + "::" + node.op_type;
}

bool is_standard(const std::string& domain) { return domain.empty() || domain.compare(0, 8, "ai.onnx.") == 0; }

// What to do about an operator of another domain that nobody has registered in the version that the model asks for.
std::string how_to_register(const proto::Node& node) {
  const std::vector<int> versions = process_ops().versions(node.op_type, node.domain);
  if (!versions.empty()) return join("; it is registered from version ", versions.front(), " of its domain on");
  return join("; to provide it, register a Python function with sardonyx.register_operator('", node.domain, "', '",
              node.op_type, "', function), or load a library that has it with sardonyx.load_operators(path)");
}

// What an input of a control-flow node tells of the body's formal input: the element type; extents may change from
// step to step.
Type formal_type(const Type& given, bool elementwise) {
  if (given.kind == Type::Kind::kSequence && elementwise) return *given.element;
  return given.is_tensor() ? Type::tensor(given.dtype) : given;
}

}  // namespace

int64_t ImportState::opset_of(const proto::Node& node) const {
  for (const proto::Opsets* opsets : {node.opsets, &model.opsets}) {
    if (opsets == nullptr) continue;
    auto found = opsets->find(node.domain);
    if (found != opsets->end()) return found->second;
  }
  // Domains beside the standard ones have had one version so far.
  const bool versioned = node.domain.empty() || node.domain == "ai.onnx.ml";
  SX_REQUIRE(!versioned || model.ir_version < 3, kInvalidGraph, "the model has no opset_import for the domain '",
             node.domain.empty() ? "ai.onnx" : node.domain, "' of ", proto::origin_of(node));
  return 1;
}

const OpDef* ImportState::op_of(const proto::Node& node) {
  if (const OpDef* op = find_op(node.op_type, node.domain)) return op;
  const int64_t version = opset_of(node);
  std::shared_ptr<const OpDef> op;
  if (options.operators) op = options.operators->find(node.op_type, node.domain, version);
  if (!op) op = process_ops().find(node.op_type, node.domain, version);
  if (op && std::find(user_ops.begin(), user_ops.end(), op) == user_ops.end()) user_ops.push_back(op);
  return op.get();
}

GraphBuilder::GraphBuilder(ImportState& state, const proto::Graph& from, GraphBuilder* parent)
    : state_(state),
      from_(from),
      parent_(parent),
      depth_(parent == nullptr ? 0 : parent->depth_ + 1),
      graph_(std::make_unique<Graph>()) {
  SX_REQUIRE(depth_ < proto::kMaxGraphDepth, kInvalidGraph, "the model's graphs are nested more than ",
             proto::kMaxGraphDepth, " deep");
  graph_->name = from.name;
}

void GraphBuilder::record(const Error& error, const std::string& where) {
  // Messages of operators begin with the node's label.
  const std::string text = error.what();
  const bool named = text.compare(0, 1, "[") == 0 || text.find(where) != std::string::npos;
  record(error.kind(), where, named ? text : where + ": " + text);
  if (named) state_.problems.back().thrown = std::current_exception();
}

void GraphBuilder::build(const std::vector<Type>& formal_types) {
  for (const auto* list : {&from_.value_infos, &from_.outputs}) {
    for (const auto& info : *list) {
      try {
        const Type type = declared_type(info.type, state_.dims);
        if (type.kind != Type::Kind::kUnknown) declared_[info.name] = type;
      } catch (const Error& error) {
        record(error, "value '" + info.name + "'");
      }
    }
  }
  add_inputs(formal_types);
  add_initializers();
  declare_outputs_of_nodes();
  for (size_t index : sorted_nodes()) {
    const proto::Node& node = from_.nodes[index];
    try {
      add_node(node, index);
    } catch (const Error& error) {
      record(error, proto::origin_of(node));
      poison_outputs(node);
    }
  }
  add_outputs();
}

Type GraphBuilder::type_of(const proto::ValueInfo& info, const char* what) {
  try {
    return declared_type(info.type, state_.dims);
  } catch (const Error& error) {
    record(error, join(what, " '", info.name, "'"));
    return {};
  }
}

const Type& GraphBuilder::declared(const std::string& name) const {
  static const Type kUndeclared;
  auto found = declared_.find(name);
  return found == declared_.end() ? kUndeclared : found->second;
}

void GraphBuilder::add_inputs(const std::vector<Type>& formal_types) {
  std::set<std::string> initialized;
  if (parent_ == nullptr) {
    for (const auto& tensor : from_.initializers) initialized.insert(tensor.name);
    for (const auto& tensor : from_.sparse_initializers) initialized.insert(tensor.values.name);
  }
  for (size_t i = 0; i < from_.inputs.size(); ++i) {
    const proto::ValueInfo& info = from_.inputs[i];
    const std::string where = "input '" + info.name + "'";
    if (info.name.empty() || !inputs_.insert(info.name).second) {
      record(ErrorKind::kInvalidGraph, where,
             info.name.empty() ? "an input of the graph has no name" : where + " is listed twice");
      continue;
    }
    Type type = type_of(info, "input");
    if (initialized.count(info.name) != 0) {
      declared_[info.name] = type;
      if (state_.model.ir_version >= kMinOverridableIr) overridable.push_back({info.name, kNone, type});
      continue;
    }
    if (type.kind == Type::Kind::kUnknown && i < formal_types.size()) type = formal_types[i];
    if (type.kind == Type::Kind::kUnknown && parent_ == nullptr)
      record(ErrorKind::kInvalidGraph, where, where + " has no type");
    names_[info.name] = graph_->add_input(info.name, type);
    declared_inputs.push_back(type);
  }
}

void GraphBuilder::add_initializers() {
  for (const auto& tensor : from_.initializers) add_initializer(tensor.name, &tensor, nullptr);
  for (const auto& sparse : from_.sparse_initializers) add_initializer(sparse.values.name, nullptr, &sparse);
  for (OverridableInitializer& entry : overridable) {
    auto found = names_.find(entry.name);
    if (found == names_.end()) continue;
    entry.value = found->second;
    overridable_.insert(found->second);
  }
}

void GraphBuilder::add_initializer(const std::string& name, const proto::Tensor* dense,
                                   const proto::SparseTensor* sparse) {
  const std::string where = "initializer '" + name + "'";
  try {
    SX_REQUIRE(!name.empty(), kInvalidGraph, "an initializer of the graph has no name");
    SX_REQUIRE(names_.count(name) == 0, kInvalidGraph, where, " has the name of ",
               inputs_.count(name) != 0 ? "an input of its graph" : "another initializer");
    SX_REQUIRE(!shadows(name), kInvalidGraph, where,
               " of a nested graph has the name of a value of the graph around it");
    auto replacement = parent_ == nullptr ? state_.options.initializers.find(name) : state_.options.initializers.end();
    Tensor tensor;
    if (replacement != state_.options.initializers.end()) {
      tensor = replacement->second;
      state_.replaced.insert(name);
      const auto& dims = dense != nullptr ? dense->dims : sparse->dims;
      const int number = dense != nullptr ? dense->data_type : sparse->values.data_type;
      SX_REQUIRE(tensor.shape().vector() == dims && static_cast<int>(tensor.dtype()) == number, kInvalidArgument, where,
                 " is to be replaced by ", name_of(tensor.dtype()), tensor.shape().str(), "; ",
                 name_of(dtype_from_onnx(number)), "[",
                 dims.size() > static_cast<size_t>(kMaxRank) ? "..." : Shape(dims).str().substr(1), " expected");
    } else {
      tensor = dense != nullptr ? state_.tensors.read(*dense, where) : state_.tensors.read_sparse(*sparse, where);
    }
    const Type& type = declared(name);
    SX_REQUIRE(!type.is_tensor() || type.dtype == tensor.dtype(), kInvalidGraph, where, " is ", name_of(tensor.dtype()),
               tensor.shape().str(), " but is declared as ", type.str());
    names_[name] = graph_->add_constant(name, tensor);
  } catch (const Error& error) {
    record(error, where);
    if (!name.empty() && names_.count(name) == 0) {
      names_[name] = graph_->add_value(name, declared(name));
      poison_.insert(names_[name]);
    }
  }
}

void GraphBuilder::declare_outputs_of_nodes() {
  for (size_t i = 0; i < from_.nodes.size(); ++i) {
    const proto::Node& node = from_.nodes[i];
    for (const std::string& name : node.outputs) {
      if (name.empty()) continue;
      auto earlier = producers_.find(name);
      const std::string where = proto::origin_of(node);
      if (earlier != producers_.end()) {
        record(ErrorKind::kInvalidGraph, where,
               join("the name '", name, "' is given to two values: outputs of ",
                    proto::origin_of(from_.nodes[earlier->second]), " and ", where));
      } else if (names_.count(name) != 0) {
        record(ErrorKind::kInvalidGraph, where,
               join("the name '", name, "' is given to two values: an ",
                    inputs_.count(name) != 0 ? "input" : "initializer", " of the graph and an output of ", where));
      } else if (shadows(name)) {
        record(ErrorKind::kInvalidGraph, where,
               join("the output '", name, "' of ", where,
                    " in a nested graph has the name of a value of the graph around it"));
      } else {
        producers_[name] = i;
        names_[name] = graph_->add_value(name, declared(name));
      }
    }
  }
}

bool GraphBuilder::shadows(const std::string& name) const {
  for (const GraphBuilder* around = parent_; around != nullptr; around = around->parent_) {
    auto found = around->names_.find(name);
    if (found == around->names_.end()) continue;
    const Value& value = around->graph_->value(found->second);
    if (value.producer != kNone || around->producers_.count(name) == 0) return true;
  }
  return false;
}

std::vector<size_t> GraphBuilder::sorted_nodes() {
  const size_t count = from_.nodes.size();
  std::vector<std::vector<size_t>> sources(count);
  bool sorted = true;
  for (size_t i = 0; i < count; ++i) {
    for (const std::string& name : reads_of(from_.nodes[i])) {
      auto producer = producers_.find(name);
      if (producer == producers_.end()) continue;
      sources[i].push_back(producer->second);
      sorted = sorted && producer->second < i;
    }
  }
  std::vector<size_t> order;
  order.reserve(count);
  if (sorted) {
    for (size_t i = 0; i < count; ++i) order.push_back(i);
    return order;
  }
  std::vector<std::vector<size_t>> readers(count);
  std::vector<size_t> waiting(count);
  std::set<size_t> ready;
  for (size_t i = 0; i < count; ++i) {
    waiting[i] = sources[i].size();
    for (size_t source : sources[i]) readers[source].push_back(i);
    if (waiting[i] == 0) ready.insert(i);
  }
  while (!ready.empty()) {
    const size_t next = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(next);
    for (size_t reader : readers[next])
      if (--waiting[reader] == 0) ready.insert(reader);
  }
  if (order.size() < count) {
    std::string cycle;
    int shown = 0;
    for (size_t i = 0; i < count; ++i) {
      if (waiting[i] == 0) continue;
      if (shown++ < 5) cycle += (cycle.empty() ? "" : ", ") + proto::origin_of(from_.nodes[i]);
      poison_outputs(from_.nodes[i]);
    }
    record(ErrorKind::kInvalidGraph, "", "the graph has a cycle; it goes through or feeds " + cycle);
  }
  return order;
}

ValueId GraphBuilder::resolve(const std::string& name) {
  auto known = names_.find(name);
  if (known != names_.end()) return known->second;
  if (parent_ == nullptr) return kNone;
  const ValueId outer = parent_->resolve(name);
  if (outer == kNone) return kNone;
  const Value& value = parent_->graph_->value(outer);
  ValueId id;
  if (parent_->graph_->is_constant(outer) && parent_->overridable_.count(outer) == 0) {
    // A constant is known in the body too: it shares the memory and needs no capture.
    id = graph_->add_constant(graph_->fresh_name(name), value.facts.constant);
  } else {
    id = graph_->add_input(graph_->fresh_name(name), value.facts.type);
    graph_->value(id).facts.elements = value.facts.elements;
    captures_.push_back(outer);
  }
  if (parent_->poisoned(outer)) poison_.insert(id);
  names_[name] = id;
  return id;
}

void GraphBuilder::poison_outputs(const proto::Node& from) {
  for (const std::string& name : from.outputs) {
    auto found = names_.find(name);
    if (found != names_.end()) poison_.insert(found->second);
  }
}

void GraphBuilder::unsupported(const proto::Node& from) {
  const std::string op = full_name(from);
  auto [known, added] = state_.suggestions.emplace(op, "");
  if (added) {
    std::vector<std::string> names;
    for (const OpDef* other : all_ops()) names.push_back(other->full_name());
    known->second = suggestion(op, names);
  }
  const std::string version = join("opset ", state_.opset_of(from));
  std::string input = "no input";
  for (const std::string& name : from.inputs) {
    const ValueId id = name.empty() ? kNone : resolve(name);
    if (id == kNone) continue;
    const Type& type = graph_->type(id);
    input = "input " + (type.is_tensor() ? std::string(name_of(type.dtype)) : type.str());
    break;
  }
  const std::string where = proto::origin_of(from);
  Problem problem{
      ErrorKind::kNotImplemented, where,
      join("operator ", op, " of ", where, " (", version, ", ", input, ") is not supported", known->second)};
  problem.unsupported = op + ", " + version + ", " + input;
  if (!is_standard(from.domain)) problem.advice = how_to_register(from);
  state_.problems.push_back(std::move(problem));
}

ValueId GraphBuilder::output_of(const std::string& name, size_t index) const {
  auto producer = producers_.find(name);
  return producer != producers_.end() && producer->second == index ? names_.at(name) : kNone;
}

void GraphBuilder::add_node(const proto::Node& from, size_t index) {
  if (from.op_type == "Constant" && from.domain.empty()) return add_constant_node(from, index);
  if (is_gradient(from)) return add_gradient_node(from, index);
  Node draft;
  draft.op = state_.op_of(from);
  draft.name = from.name;
  draft.origin = proto::origin_of(from);
  bool usable = true;
  std::string missing;
  for (const std::string& name : from.inputs) {
    const ValueId id = name.empty() ? kNone : resolve(name);
    if (id == kNone && !name.empty()) missing += (missing.empty() ? "'" : ", '") + name + "'";
    usable = usable && !poisoned(id);
    draft.inputs.push_back(id);
  }
  for (const std::string& name : from.outputs) draft.outputs.push_back(name.empty() ? kNone : output_of(name, index));
  if (draft.op == nullptr) {
    unsupported(from);
    usable = false;
  } else {
    add_attributes(from, draft);
  }
  // Bodies are built even when the node cannot be, for the sake of what is wrong in them.
  const size_t problems = state_.problems.size();
  for (const auto& attribute : from.attributes)
    if (attribute.kind == proto::Attribute::Kind::kGraph && !attribute.graphs.empty()) add_body(attribute, draft);
  for (const Body& body : draft.bodies)
    for (ValueId captured : body.captures) usable = usable && !poisoned(captured);
  SX_REQUIRE(missing.empty(), kInvalidGraph, draft.origin, " reads ", missing,
             ", which is no input, initializer or output of another node");
  if (!usable || state_.problems.size() > problems) return poison_outputs(from);
  const int64_t opset = state_.opset_of(from);
  add_draft(std::move(draft), static_cast<int>(std::min<int64_t>(opset, 1 << 20)));
}

void GraphBuilder::add_draft(Node draft, int opset) {
  const std::vector<ValueId> outputs = draft.outputs;
  const std::vector<PortSpec>& ports = draft.op->inputs();
  // What upgrades rely on; the rest is checked when the node has its newest form.
  if (!ports.empty() && ports[0].presence == PortSpec::Presence::kRequired)
    SX_REQUIRE(!draft.inputs.empty() && draft.inputs[0] != kNone, kInvalidGraph, label(draft), " input '",
               ports[0].name, "' is required but missing");
  complete_outputs(draft);
  UpgradeContext upgrade(*graph_, draft, opset);
  for (int version = opset;;) {
    const OpDef* op = draft.op;
    auto step = op->upgrades().upper_bound(version);
    if (step == op->upgrades().end()) break;
    version = step->first;
    step->second(upgrade);
    // Versions of another domain are not comparable: a node that moves there has its newest meaning.
    if (draft.op->domain() != op->domain()) break;
  }
  std::vector<Node> after = std::move(upgrade.after());
  check_node(draft);
  complete_outputs(draft);
  finish_node(graph_->add_node(std::move(draft)));
  for (Node& node : after) finish_node(graph_->add_node(std::move(node)));
  for (ValueId output : outputs)
    if (output != kNone) SX_ASSERT(graph_->value(output).producer != kNone);
}

// Kernels write all outputs that are not optional, also those that the model does not name.
void GraphBuilder::complete_outputs(Node& draft) {
  const std::vector<PortSpec>& ports = draft.op->outputs();
  for (size_t i = 0; i < ports.size() && ports[i].presence == PortSpec::Presence::kRequired; ++i) {
    if (i < draft.outputs.size() && draft.outputs[i] != kNone) continue;
    if (i >= draft.outputs.size()) draft.outputs.resize(i + 1, kNone);
    draft.outputs[i] = graph_->add_value(graph_->fresh_name(draft.op->name() + "." + ports[i].name));
  }
}

void GraphBuilder::finish_node(NodeId id) {
  infer_node(*graph_, id);
  for (ValueId output : graph_->node(id).outputs) {
    if (output == kNone) continue;
    Value& value = graph_->value(output);
    value.facts.type = refined(value.facts.type, declared(value.name));
  }
}

void GraphBuilder::add_constant_node(const proto::Node& from, size_t index) {
  SX_REQUIRE(from.inputs.empty() && from.outputs.size() == 1, kInvalidGraph, proto::origin_of(from),
             " should have one output and no inputs");
  const Tensor tensor = constant_of(from);
  const ValueId id = output_of(from.outputs[0], index);
  if (id == kNone) return;
  graph_->value(id).facts.type = Type::tensor(tensor.dtype(), tensor.shape());
  graph_->value(id).facts.constant = tensor;
}

Tensor GraphBuilder::constant_of(const proto::Node& from) {
  using Kind = proto::Attribute::Kind;
  const std::string where = proto::origin_of(from);
  SX_REQUIRE(from.attributes.size() == 1, kInvalidGraph, where, " has ", from.attributes.size(),
             " attributes; exactly one expected");
  const proto::Attribute& value = from.attributes[0];
  SX_REQUIRE(value.reference.empty(), kInvalidGraph, where, " refers to the attribute '", value.reference,
             "' of a function outside of one");
  auto is = [&](const char* name, Kind kind) { return value.name == name && value.kind == kind; };
  if (is("value", Kind::kTensor) && !value.tensors.empty()) return state_.tensors.read(value.tensors[0], where);
  if (is("sparse_value", Kind::kSparse) && !value.sparse.empty())
    return state_.tensors.read_sparse(value.sparse[0], where);
  if (is("value_float", Kind::kFloat)) return Tensor::scalar(value.f);
  if (is("value_int", Kind::kInt)) return Tensor::scalar(value.i);
  if (is("value_string", Kind::kString)) return Tensor::scalar(value.s);
  const auto shape = [](size_t count) { return Shape{static_cast<int64_t>(count)}; };
  if (is("value_floats", Kind::kFloats)) return Tensor::of(shape(value.floats.size()), value.floats);
  if (is("value_ints", Kind::kInts)) return Tensor::of(shape(value.ints.size()), value.ints);
  if (is("value_strings", Kind::kStrings)) return Tensor::of(shape(value.strings.size()), value.strings);
  fail(ErrorKind::kInvalidGraph, where, " has no valid value: attribute '", value.name, "' found");
}

void GraphBuilder::add_attributes(const proto::Node& from, Node& draft) {
  using Kind = proto::Attribute::Kind;
  for (const proto::Attribute& given : from.attributes) {
    const std::string what = join("attribute '", given.name, "' of ", draft.origin);
    SX_REQUIRE(given.reference.empty(), kInvalidGraph, what, " refers to the attribute '", given.reference,
               "' of a function outside of one");
    // A hint for memory reuse in operators of opset 1 to 5.
    if (given.name == "consumed_inputs" && draft.op->find_attr(given.name) == nullptr) continue;
    Attribute value;
    switch (given.kind) {
      case Kind::kFloat: value = given.f; break;
      case Kind::kInt: value = given.i; break;
      case Kind::kString: value = given.s; break;
      case Kind::kFloats: value = given.floats; break;
      case Kind::kInts: value = given.ints; break;
      case Kind::kStrings: value = given.strings; break;
      case Kind::kTensor:
        SX_REQUIRE(given.tensors.size() == 1, kInvalidGraph, what, " has no tensor");
        value = state_.tensors.read(given.tensors[0], what);
        break;
      case Kind::kTensors: {
        std::vector<Tensor> tensors;
        for (const auto& tensor : given.tensors) tensors.push_back(state_.tensors.read(tensor, what));
        value = std::move(tensors);
        break;
      }
      case Kind::kType:
        SX_REQUIRE(given.types.size() == 1, kInvalidGraph, what, " has no type");
        value = declared_type(given.types[0], state_.dims);
        break;
      case Kind::kGraph: {
        const AttrSpec* spec = draft.op->find_attr(given.name);
        SX_REQUIRE(spec != nullptr && spec->kind == AttrKind::kGraph && given.graphs.size() == 1, kInvalidGraph, what,
                   " is a graph, which the operator does not expect");
        continue;
      }
      case Kind::kNone: {
        // An empty list in a model that does not state the kinds of its attributes.
        const AttrSpec* spec = draft.op->find_attr(given.name);
        if (spec != nullptr && spec->kind == AttrKind::kFloats) value = std::vector<float>();
        else if (spec != nullptr && spec->kind == AttrKind::kStrings) value = std::vector<std::string>();
        else value = std::vector<int64_t>();
        break;
      }
      default:
        fail(ErrorKind::kNotImplemented, what,
             " is of a kind that no operator has: a list of graphs or types, or a sparse tensor");
    }
    draft.attributes[given.name] = std::move(value);
  }
}

void GraphBuilder::add_body(const proto::Attribute& attribute, Node& draft) {
  const proto::Graph& from = *attribute.graphs[0];
  GraphBuilder builder(state_, from, this);
  // The formal inputs are those of the node, but for leading ones (SequenceMap and Loop have all, Scan-8 lacks one).
  std::vector<Type> formal(from.inputs.size());
  const size_t lead = draft.inputs.size() - std::min(draft.inputs.size(), formal.size());
  const bool elementwise = draft.op != nullptr && draft.op->name() == "SequenceMap";
  for (size_t i = 0; i < formal.size() && lead + i < draft.inputs.size(); ++i)
    if (draft.inputs[lead + i] != kNone) formal[i] = formal_type(graph_->type(draft.inputs[lead + i]), elementwise);
  builder.build(formal);
  draft.bodies.push_back({attribute.name, builder.take_graph(), builder.take_captures()});
}

void GraphBuilder::add_outputs() {
  for (const auto& info : from_.outputs) {
    const std::string where = "output '" + info.name + "'";
    const ValueId id = info.name.empty() ? kNone : resolve(info.name);
    if (id == kNone) {
      record(ErrorKind::kInvalidGraph, where, where + " of the graph is no input, initializer or output of a node");
      continue;
    }
    graph_->outputs.push_back(id);
    const Type& type = graph_->type(id);
    const Type& stated = declared(info.name);
    if (!poisoned(id) && type.is_tensor() && stated.is_tensor() && type.dtype != stated.dtype)
      record(ErrorKind::kInvalidGraph, where, join(where, " is ", type.str(), " but is declared as ", stated.str()));
    declared_outputs.push_back(reported(type, stated));
  }
}

}  // namespace sx
