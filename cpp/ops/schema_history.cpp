// The table of schemas, read from schema_history.def when it is first asked for.
#include "ops/schema_history.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

namespace sx {
namespace {

struct TypeRow {
  uint32_t tensor, sequence, optional, optional_sequence, map, sequence_of_maps;
};
constexpr TypeRow kTypes[] = {
#define SX_TYPES(i, ...) {__VA_ARGS__},
#define SX_SCHEMA(...)
#include "ops/schema_history.def"
#undef SX_TYPES
#undef SX_SCHEMA
};

struct SchemaRow {
  const char *domain, *op;
  int version;
  const char *inputs, *outputs, *attributes;
};
constexpr SchemaRow kSchemas[] = {
#define SX_TYPES(...)
#define SX_SCHEMA(...) {__VA_ARGS__},
#include "ops/schema_history.def"
#undef SX_TYPES
#undef SX_SCHEMA
};

DTypeSet set_of(uint32_t mask) {
  DTypeSet set;
  for (int i = 0; i < kDTypeCount; ++i)
    if ((mask >> i) & 1u) set = set | static_cast<DType>(i);
  return set;
}

std::vector<std::string> words_of(const char* text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::vector<SchemaPort> ports_of(const char* text) {
  std::vector<SchemaPort> ports;
  for (const std::string& word : words_of(text)) {
    size_t at = 0;
    const TypeRow& row = kTypes[std::stoul(word, &at)];
    SchemaPort port;
    port.tensor = set_of(row.tensor), port.sequence = set_of(row.sequence), port.optional = set_of(row.optional);
    port.optional_sequence = set_of(row.optional_sequence);
    port.map = row.map != 0, port.sequence_of_maps = row.sequence_of_maps != 0;
    for (; at < word.size(); ++at) {
      if (word[at] == '?') port.presence = SchemaPort::Presence::kOptional;
      else if (word[at] == '*' || word[at] == '~') port.presence = SchemaPort::Presence::kVariadic;
      else port.tie = word[at];
      if (word[at] == '~') port.tie = 0;
    }
    ports.push_back(port);
  }
  return ports;
}

using Versions = std::map<int, Schema>;
using Table = std::map<std::pair<std::string, std::string>, Versions>;

Table read_table() {
  Table table;
  for (const SchemaRow& row : kSchemas) {
    Schema schema;
    schema.version = row.version;
    schema.ended = std::string(row.inputs) == "-";
    if (!schema.ended) schema.inputs = ports_of(row.inputs);
    schema.outputs = ports_of(row.outputs);
    for (std::string& word : words_of(row.attributes)) {
      if (word.back() == '!') {
        word.pop_back();
        schema.required.push_back(word);
      }
      schema.attributes.push_back(std::move(word));
    }
    table[{row.domain, row.op}].emplace(row.version, std::move(schema));
  }
  return table;
}

const SchemaPort* port_at(const std::vector<SchemaPort>& ports, size_t index) {
  if (index < ports.size()) return &ports[index];
  return !ports.empty() && ports.back().presence == SchemaPort::Presence::kVariadic ? &ports.back() : nullptr;
}

std::string name_of_port(const PortSpec* spec, size_t index) {
  return spec != nullptr && !spec->name.empty() ? "'" + spec->name + "'" : std::to_string(index);
}

// Ports of one side; `ties` are the types met so far, by letter.
template <typename Spec, typename Find>
std::string misfit_of_ports(const Graph& graph, const std::vector<ValueId>& values,
                            const std::vector<SchemaPort>& ports, const Spec& spec, const Find& find, const char* what,
                            std::map<char, Type>& ties) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == kNone) continue;
    const SchemaPort* port = find(i);
    const std::string name = join(what, " ", name_of_port(spec(i), i));
    if (port == nullptr) return "has no " + name;
    const Type& type = graph.type(values[i]);
    if (type.kind == Type::Kind::kUnknown) continue;
    if (!port->accepts(type)) return join("does not take ", type.str(), " as ", name);
    if (port->tie == 0) continue;
    const auto [known, added] = ties.emplace(port->tie, type);
    const Type& other = known->second;
    if (!added && (other.kind != type.kind || other.dtype != type.dtype))
      return join("wants ", name, " to be ", other.str(), " like others, not ", type.str());
  }
  for (size_t i = 0; i < ports.size(); ++i)
    if (ports[i].presence == SchemaPort::Presence::kRequired && (i >= values.size() || values[i] == kNone))
      return join("wants ", what, " ", name_of_port(spec(i), i));
  return "";
}

}  // namespace

bool SchemaPort::accepts(const Type& type) const {
  switch (type.kind) {
    case Type::Kind::kUnknown: return true;
    case Type::Kind::kTensor: return type.dtype == DType::kUndefined || tensor.has(type.dtype);
    case Type::Kind::kMap: return map;
    case Type::Kind::kSequence:
      if (!type.element || type.element->kind == Type::Kind::kUnknown) return true;
      if (type.element->kind == Type::Kind::kMap) return sequence_of_maps;
      return type.element->is_tensor() &&
             (type.element->dtype == DType::kUndefined || sequence.has(type.element->dtype));
    case Type::Kind::kOptional:
      if (!type.element || type.element->kind == Type::Kind::kUnknown) return true;
      if (type.element->is_tensor()) return optional.has(type.element->dtype);
      return type.element->element != nullptr && optional_sequence.has(type.element->element->dtype);
  }
  return false;
}

bool Schema::has_attribute(const std::string& name) const {
  return std::find(attributes.begin(), attributes.end(), name) != attributes.end();
}
const SchemaPort* Schema::input(size_t index) const { return port_at(inputs, index); }
const SchemaPort* Schema::output(size_t index) const { return port_at(outputs, index); }

const Schema* schema_of(const std::string& domain, const std::string& op, int64_t opset) {
  static const Table kTable = read_table();
  const auto versions = kTable.find({domain, op});
  if (versions == kTable.end()) return nullptr;
  const auto next = versions->second.upper_bound(static_cast<int>(opset));
  if (next == versions->second.begin()) return nullptr;
  const Schema& schema = std::prev(next)->second;
  return schema.ended ? nullptr : &schema;
}

bool has_schemas(const std::string& domain) { return domain.empty() || domain == "ai.onnx.ml"; }

std::string misfit(const Graph& graph, const Node& node, const Schema& schema) {
  for (const auto& [name, value] : node.attributes) {
    if (schema.has_attribute(name)) continue;
    const AttrSpec* spec = node.op->find_attr(name);
    if (spec == nullptr || !spec->has_default || !same(spec->value, value))
      return join("has no attribute '", name, "' (", to_string(value), " here)");
  }
  for (const std::string& name : schema.required) {
    const bool body =
        std::any_of(node.bodies.begin(), node.bodies.end(), [&](const Body& b) { return b.attribute == name; });
    if (!body && node.attributes.count(name) == 0) return "wants the attribute '" + name + "'";
  }
  std::map<char, Type> ties;
  const std::string inputs = misfit_of_ports(
      graph, node.inputs, schema.inputs, [&](size_t i) { return node.op->input(i); },
      [&](size_t i) { return schema.input(i); }, "input", ties);
  if (!inputs.empty()) return inputs;
  return misfit_of_ports(
      graph, node.outputs, schema.outputs, [&](size_t i) { return node.op->output(i); },
      [&](size_t i) { return schema.output(i); }, "output", ties);
}

}  // namespace sx
