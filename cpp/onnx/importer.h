// ONNX models to graphs: decodes, upgrades old operators, infers types and checks, in one pass.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "ir/graph.h"
#include "onnx/declared_types.h"
#include "onnx/model_info.h"
#include "ops/user_ops.h"

namespace sx {

struct ImportOptions {
  // Tensors that take the place of initializers of these names; type and shape must agree. The model's own data for
  // them is not read.
  std::map<std::string, Tensor> initializers;
  // Extents for symbolic dimensions of the model's inputs.
  DimOverrides dims;
  // The folder for external data; by default that of the model file, and none for a model given as bytes.
  std::optional<std::string> external_folder;
  // Operators that the model may use besides the built-in ones and those of the process; may be nullptr.
  std::shared_ptr<const UserOps> operators;
};

// An initializer that is also an input (from IR version 4 on): a constant of the graph that a caller may replace.
struct OverridableInitializer {
  std::string name;
  ValueId value = kNone;
  Type type;  // as declared for the input
};

struct ImportedModel : ModelInfo {
  std::unique_ptr<Graph> graph;
  std::vector<OverridableInitializer> overridable;
  // For reports to the caller, in the order of the graph's inputs and outputs: declared symbols, inferred numbers.
  std::vector<Type> input_types;
  std::vector<Type> output_types;
  std::vector<std::string> warnings;
  // Operators of users that nodes of the graph refer to.
  std::vector<std::shared_ptr<const OpDef>> user_ops;
};

// Something that keeps a model from being loaded.
struct Problem {
  ErrorKind kind;
  std::string where;            // "Add 'encoder/add'", "input 'x'"; may be empty
  std::string message;          // complete, names the place itself
  std::string unsupported{};    // "com.acme::Foo, opset 1" where the fault is an operator that is not supported
  std::string advice{};         // what to do about such an operator, to stand behind the message
  std::exception_ptr thrown{};  // the error that said so, where there was one
};

// Throws NoSuchFile, InvalidProtobuf, InvalidGraph or NotImplemented. Operators that are not supported are listed all
// at once.
ImportedModel import_file(const std::string& path, const ImportOptions& options = {});
// `bytes` are not needed after the call.
ImportedModel import_bytes(std::string_view bytes, const ImportOptions& options = {});

// All problems that can be told apart, in the order in which they were met; empty for a model that can be imported.
std::vector<Problem> check_model_problems(const std::string& path, const ImportOptions& options = {});
std::vector<Problem> check_model_bytes_problems(std::string_view bytes, const ImportOptions& options = {});

}  // namespace sx
