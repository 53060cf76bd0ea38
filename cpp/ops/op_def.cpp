// Building OpDefs, reading attributes with defaults, and checking nodes against their OpDef.
#include "ops/op_def.h"

#include "base/suggest.h"

namespace sx {
namespace {

AttrKind kind_of(const Attribute& value) {
  static const AttrKind kKinds[] = {AttrKind::kInt,    AttrKind::kFloat,   AttrKind::kString,
                                    AttrKind::kTensor, AttrKind::kType,    AttrKind::kInts,
                                    AttrKind::kFloats, AttrKind::kStrings, AttrKind::kTensors};
  return kKinds[value.index()];
}

const char* name_of(AttrKind kind) {
  static const char* const kNames[] = {"int",  "float",  "string",  "tensor",  "type",
                                       "ints", "floats", "strings", "tensors", "graph"};
  return kNames[static_cast<int>(kind)];
}

const PortSpec* port(const std::vector<PortSpec>& ports, size_t index) {
  if (index < ports.size()) return &ports[index];
  if (!ports.empty() && ports.back().presence == PortSpec::Presence::kVariadic) return &ports.back();
  return nullptr;
}

}  // namespace

OpDef& OpDef::since(int version, int first) {
  since_ = version;
  first_ = first;
  return *this;
}

OpDef& OpDef::add_attr(AttrSpec spec) {
  attrs_.push_back(std::move(spec));
  return *this;
}

OpDef& OpDef::attr(const std::string& name, int64_t value) {
  return add_attr({name, AttrKind::kInt, false, true, value});
}
OpDef& OpDef::attr(const std::string& name, float value) {
  return add_attr({name, AttrKind::kFloat, false, true, value});
}
OpDef& OpDef::attr(const std::string& name, const char* value) {
  return add_attr({name, AttrKind::kString, false, true, std::string(value)});
}
OpDef& OpDef::attr(const std::string& name, std::vector<int64_t> value) {
  return add_attr({name, AttrKind::kInts, false, true, std::move(value)});
}
OpDef& OpDef::attr(const std::string& name, std::vector<std::string> value) {
  return add_attr({name, AttrKind::kStrings, false, true, std::move(value)});
}
OpDef& OpDef::optional_attr(const std::string& name, AttrKind kind) { return add_attr({name, kind}); }
OpDef& OpDef::required_attr(const std::string& name, AttrKind kind) { return add_attr({name, kind, true}); }

OpDef& OpDef::in(const std::string& name, const std::string& variable, DTypeSet types) {
  inputs_.push_back({name, variable, types, PortSpec::Presence::kRequired});
  return *this;
}
OpDef& OpDef::optional_in(const std::string& name, const std::string& variable, DTypeSet types) {
  inputs_.push_back({name, variable, types, PortSpec::Presence::kOptional});
  return *this;
}
OpDef& OpDef::variadic_in(const std::string& name, const std::string& variable, DTypeSet types) {
  inputs_.push_back({name, variable, types, PortSpec::Presence::kVariadic});
  return *this;
}
OpDef& OpDef::any_in(const std::string& name, PortSpec::Presence presence) {
  inputs_.push_back({name, "", kAllTypes, presence, true});
  return *this;
}
OpDef& OpDef::out(const std::string& name, const std::string& variable, DTypeSet types) {
  outputs_.push_back({name, variable, types, PortSpec::Presence::kRequired});
  return *this;
}
OpDef& OpDef::optional_out(const std::string& name, const std::string& variable, DTypeSet types) {
  outputs_.push_back({name, variable, types, PortSpec::Presence::kOptional});
  return *this;
}
OpDef& OpDef::variadic_out(const std::string& name, const std::string& variable, DTypeSet types) {
  outputs_.push_back({name, variable, types, PortSpec::Presence::kVariadic});
  return *this;
}
OpDef& OpDef::any_out(const std::string& name, PortSpec::Presence presence) {
  outputs_.push_back({name, "", kAllTypes, presence, true});
  return *this;
}

OpDef& OpDef::infer(InferFn function) {
  infer_ = std::move(function);
  return *this;
}
OpDef& OpDef::kernel(KernelFactory factory) {
  kernel_ = std::move(factory);
  return *this;
}
OpDef& OpDef::upgrade(int version, UpgradeFn function) {
  SX_ASSERT(upgrades_.emplace(version, std::move(function)).second);
  return *this;
}
OpDef& OpDef::gradient(GradientFn function) {
  gradient_ = std::move(function);
  return *this;
}
OpDef& OpDef::zero_gradient() {
  zero_gradient_ = true;
  return *this;
}
OpDef& OpDef::no_gradient(const char* reason) {
  no_gradient_ = reason;
  return *this;
}
OpDef& OpDef::aliases(int input) {
  alias_ = input;
  return *this;
}
OpDef& OpDef::in_place(std::vector<int> inputs) {
  in_place_ = std::move(inputs);
  return *this;
}
OpDef& OpDef::retains() {
  retains_ = true;
  return *this;
}
OpDef& OpDef::nondeterministic() {
  deterministic_ = false;
  return *this;
}
OpDef& OpDef::shape_only(std::vector<int> inputs) {
  shape_only_ = std::move(inputs);
  return *this;
}

OpDef& OpDef::any_attributes() {
  any_attributes_ = true;
  return *this;
}

std::string OpDef::full_name() const { return domain_.empty() ? name_ : domain_ + "::" + name_; }

const AttrSpec* OpDef::find_attr(const std::string& name) const {
  for (const AttrSpec& spec : attrs_)
    if (spec.name == name) return &spec;
  return nullptr;
}

const PortSpec* OpDef::input(size_t index) const { return port(inputs_, index); }
const PortSpec* OpDef::output(size_t index) const { return port(outputs_, index); }

std::string label(const Node& node) { return join("[", node.op->full_name(), " '", node.name, "']"); }

const Attribute* NodeView::find(const std::string& name) const {
  auto given = node_->attributes.find(name);
  if (given != node_->attributes.end()) return &given->second;
  const AttrSpec* spec = node_->op->find_attr(name);
  return spec != nullptr && spec->has_default ? &spec->value : nullptr;
}

void NodeView::bad_attr(const std::string& name, const Attribute* found) const {
  if (found == nullptr) error("attribute '", name, "' is required but missing");
  error("attribute '", name, "' has the wrong kind: ", kind_name(*found), " found");
}

const Graph* NodeView::body(const std::string& attribute) const {
  for (const Body& body : node_->bodies)
    if (body.attribute == attribute) return body.graph.get();
  return nullptr;
}

int NodeView::axis(int64_t axis, int rank) const {
  SX_CHECK(*this, axis >= -rank && axis < rank, "axis ", axis, " is out of range for rank ", rank, "; expected ", -rank,
           "..", rank - 1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

void check_node(const Node& node) {
  const OpDef& op = *node.op;
  const NodeView view(node);
  auto check_ports = [&](const std::vector<PortSpec>& specs, const std::vector<ValueId>& given, const char* what) {
    for (size_t i = 0; i < given.size(); ++i) {
      const PortSpec* spec = port(specs, i);
      SX_CHECK(view, spec != nullptr, "has ", given.size(), " ", what, "s; at most ", specs.size(), " expected");
      // Operators of users say for themselves which inputs they need.
      SX_CHECK(view,
               given[i] != kNone || spec->presence == PortSpec::Presence::kOptional || what[0] == 'o' ||
                   op.takes_any_attributes(),
               what, " '", spec->name, "' is required but missing");
    }
    // Loop and its like may carry nothing; every other list has one element at least.
    for (size_t i = given.size(); i < specs.size(); ++i)
      SX_CHECK(view,
               specs[i].presence == PortSpec::Presence::kOptional || what[0] == 'o' ||
                   (specs[i].presence == PortSpec::Presence::kVariadic && specs[i].any_kind),
               what, " '", specs[i].name, "' is required but missing");
  };
  check_ports(op.inputs(), node.inputs, "input");
  check_ports(op.outputs(), node.outputs, "output");
  std::vector<std::string> known;
  for (const AttrSpec& spec : op.attrs()) known.push_back(spec.name);
  for (const auto& [name, value] : node.attributes) {
    const AttrSpec* spec = op.find_attr(name);
    if (spec == nullptr && op.takes_any_attributes()) continue;
    SX_CHECK(view, spec != nullptr, "has an attribute '", name, "' that the operator does not know",
             suggestion(name, known));
    SX_CHECK(view, kind_of(value) == spec->kind, "attribute '", name, "' is of kind ", kind_name(value), "; ",
             name_of(spec->kind), " expected");
  }
  for (const AttrSpec& spec : op.attrs()) {
    if (!spec.required) continue;
    const bool given =
        spec.kind == AttrKind::kGraph ? view.body(spec.name) != nullptr : node.attributes.count(spec.name) != 0;
    SX_CHECK(view, given, "attribute '", spec.name, "' is required but missing");
  }
}

}  // namespace sx
