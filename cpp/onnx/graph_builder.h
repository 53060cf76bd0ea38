// Builds one Graph from one GraphProto, and its bodies with it.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "onnx/importer.h"
#include "onnx/proto.h"
#include "onnx/tensor_reader.h"

namespace sx {

// What all graphs of one import share.
struct ImportState {
  const ImportOptions& options;
  const proto::Model& model;
  TensorReader& tensors;
  DimOverrides dims;
  std::vector<Problem> problems;
  std::set<std::string> replaced;  // names of options.initializers that were found
  std::map<std::string, std::string> suggestions;
  std::vector<std::shared_ptr<const OpDef>> user_ops;  // those in use

  // The version in which a node is written. Throws InvalidGraph where its domain is not imported.
  int64_t opset_of(const proto::Node& node) const;
  // The operator of a node, built in or of a user; nullptr where there is none.
  const OpDef* op_of(const proto::Node& node);
};

// ai.onnx.preview.training.Gradient is no operator but asks for nodes: it names, in attributes, the values of its graph
// between which to differentiate.
bool is_gradient(const proto::Node& node);
std::vector<std::string> names_in_gradient(const proto::Node& node);

// Faults are recorded in ImportState::problems and building goes on: values that depend on a fault are poisoned, and
// nodes that read them are only looked up. The graph is of use only when no problem was recorded.
class GraphBuilder {
 public:
  GraphBuilder(ImportState& state, const proto::Graph& from, GraphBuilder* parent);

  // `formal_types` are what is known of a body's inputs from its node.
  void build(const std::vector<Type>& formal_types = {});

  std::unique_ptr<Graph> take_graph() { return std::move(graph_); }
  std::vector<ValueId> take_captures() { return std::move(captures_); }
  // Only for the model's graph.
  std::vector<OverridableInitializer> overridable;
  std::vector<Type> declared_inputs;
  std::vector<Type> declared_outputs;

 private:
  void record(ErrorKind kind, const std::string& where, const std::string& message) {
    state_.problems.push_back({kind, where, message});
  }
  void record(const Error& error, const std::string& where);
  void add_inputs(const std::vector<Type>& formal_types);
  void add_initializers();
  void add_initializer(const std::string& name, const proto::Tensor* dense, const proto::SparseTensor* sparse);
  void declare_outputs_of_nodes();
  std::vector<size_t> sorted_nodes();
  // Throws Error for a node at fault.
  void add_node(const proto::Node& from, size_t index);
  void add_draft(Node draft, int opset);
  void complete_outputs(Node& draft);
  void finish_node(NodeId id);
  void add_gradient_node(const proto::Node& from, size_t index);
  // Values by now that are outputs of this graph or that its Gradient nodes name.
  std::unordered_set<ValueId> lasting() const;
  void add_constant_node(const proto::Node& from, size_t index);
  Tensor constant_of(const proto::Node& from);
  void add_attributes(const proto::Node& from, Node& draft);
  void add_body(const proto::Attribute& attribute, Node& draft);
  void add_outputs();
  void unsupported(const proto::Node& from);
  void poison_outputs(const proto::Node& from);
  ValueId output_of(const std::string& name, size_t index) const;

  Type type_of(const proto::ValueInfo& info, const char* what);
  const Type& declared(const std::string& name) const;
  // The value that `name` means here, captured from the graphs around where it is not of this one; kNone when there
  // is none.
  ValueId resolve(const std::string& name);
  bool poisoned(ValueId id) const { return poison_.count(id) != 0; }
  // Whether a graph around this one has defined the name by now.
  bool shadows(const std::string& name) const;

  ImportState& state_;
  const proto::Graph& from_;
  GraphBuilder* parent_;
  int depth_;
  std::unique_ptr<Graph> graph_;
  std::unordered_map<std::string, ValueId> names_;  // the model's names of this graph; captures too
  std::unordered_map<std::string, size_t> producers_;
  std::unordered_map<std::string, Type> declared_;
  std::set<std::string> inputs_;
  std::set<ValueId> poison_;
  std::set<ValueId> overridable_;
  std::vector<ValueId> captures_;
};

}  // namespace sx
