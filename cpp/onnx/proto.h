// ONNX's messages as plain structs, decoded from protobuf's wire format.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sx::proto {

// Graphs may be nested this deep, types this deep.
constexpr int kMaxGraphDepth = 64;
constexpr int kMaxTypeDepth = 16;

using Opsets = std::map<std::string, int64_t>;  // by domain; "ai.onnx" is kept as ""

// The elements stay in the bytes that the model was decoded from, which must outlive this.
struct Tensor {
  std::string name;
  std::vector<int64_t> dims;
  int data_type = 0;
  bool external = false;
  bool segmented = false;
  std::map<std::string, std::string> external_data;
  std::string_view message;
};

struct SparseTensor {
  Tensor values;
  Tensor indices;
  std::vector<int64_t> dims;
};

struct Dimension {
  std::optional<int64_t> value;
  std::string param;
  std::string denotation;
};

struct Type {
  enum class Kind { kNone, kTensor, kSequence, kMap, kOptional, kSparse, kOpaque };
  Kind kind = Kind::kNone;
  int element_type = 0;  // of a tensor
  int key_type = 0;      // of a map
  bool has_shape = false;
  std::vector<Dimension> shape;
  std::shared_ptr<const Type> element;  // of a sequence or optional; value of a map
};

struct ValueInfo {
  std::string name;
  Type type;
};

struct Graph;

struct Attribute {
  // Numbered as AttributeProto.AttributeType.
  enum class Kind {
    kNone,
    kFloat,
    kInt,
    kString,
    kTensor,
    kGraph,
    kFloats,
    kInts,
    kStrings,
    kTensors,
    kGraphs,
    kSparse,
    kSparses,
    kType,
    kTypes
  };
  std::string name;
  std::string reference;  // the function's attribute that stands here
  Kind kind = Kind::kNone;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<Tensor> tensors;                 // one for kTensor
  std::vector<std::shared_ptr<Graph>> graphs;  // one for kGraph
  std::vector<SparseTensor> sparse;            // one for kSparse
  std::vector<Type> types;                     // one for kType
};

struct Node {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::string name;
  std::string op_type;
  std::string domain;
  std::string overload;
  std::vector<Attribute> attributes;
  const Opsets* opsets = nullptr;  // of the function that the node comes from; else the model's hold
};

struct Graph {
  std::string name;
  std::string doc;
  std::vector<Node> nodes;
  std::vector<Tensor> initializers;
  std::vector<SparseTensor> sparse_initializers;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::vector<ValueInfo> value_infos;
};

struct Function {
  std::string name;
  std::string domain;
  std::string overload;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<Attribute> defaults;
  std::vector<Node> nodes;
  Opsets opsets;
};

struct Model {
  int64_t ir_version = 0;
  Opsets opsets;
  std::string producer_name;
  std::string producer_version;
  std::string domain;
  std::optional<int64_t> model_version;
  std::string doc;
  std::map<std::string, std::string> metadata;
  bool has_graph = false;
  Graph graph;
  std::vector<Function> functions;
};

// Throws InvalidProtobuf, or InvalidGraph for a nesting that is too deep. The result refers to `bytes`.
Model decode_model(std::string_view bytes);

// "Add 'name'", or by the first output where the node has no name.
std::string origin_of(const Node& node);

}  // namespace sx::proto
