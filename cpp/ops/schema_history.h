// What the versions of an operator took and gave: the ONNX schemas from opset 7 on, for export.
#pragma once

#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

struct SchemaPort {
  enum class Presence { kRequired, kOptional, kVariadic };
  Presence presence = Presence::kRequired;
  char tie = 0;  // ports of a node with the same letter have the same type; 0: none
  // Allowed element types, by what holds the elements.
  DTypeSet tensor, sequence, optional, optional_sequence;
  bool map = false, sequence_of_maps = false;
  bool accepts(const Type& type) const;
};

struct Schema {
  int version = 0;
  bool ended = false;  // from this version on there is no such operator
  std::vector<SchemaPort> inputs, outputs;
  std::vector<std::string> attributes;
  std::vector<std::string> required;  // those of them that must be given
  bool has_attribute(const std::string& name) const;
  // The port of input/output `index`, variadic tails included; nullptr where there is none.
  const SchemaPort* input(size_t index) const;
  const SchemaPort* output(size_t index) const;
};

// The operator as opset `opset` of its domain has it; nullptr where that has none. Only for ai.onnx and ai.onnx.ml.
const Schema* schema_of(const std::string& domain, const std::string& op, int64_t opset);
bool has_schemas(const std::string& domain);

// What keeps the node from being one of the schema, in words; empty where nothing does. Attributes that the schema
// lacks do not count where they have their default.
std::string misfit(const Graph& graph, const Node& node, const Schema& schema);

}  // namespace sx
