// Decodes ONNX's messages; the numbers are those of onnx.proto's fields.
#include "onnx/proto.h"
#include "onnx/wire.h"

namespace sx::proto {
namespace {

std::string domain_of(const WireReader& in) {
  const std::string_view name = in.is_bytes() ? in.bytes() : std::string_view();
  return name == "ai.onnx" ? std::string() : std::string(name);
}

std::pair<std::string, std::string> decode_entry(std::string_view bytes) {
  std::pair<std::string, std::string> entry;
  for (WireReader in(bytes); in.next();) {
    if (in.field() == 1) in.get(entry.first);
    if (in.field() == 2) in.get(entry.second);
  }
  return entry;
}

void decode_opset(std::string_view bytes, Opsets& opsets) {
  std::string domain;
  int64_t version = 0;
  for (WireReader in(bytes); in.next();) {
    if (in.field() == 1) domain = domain_of(in);
    if (in.field() == 2) in.get(version);
  }
  opsets[domain] = version;
}

Tensor decode_tensor(std::string_view bytes) {
  Tensor tensor;
  tensor.message = bytes;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1: in.get(tensor.dims); break;
      case 2: in.get(tensor.data_type); break;
      case 3: tensor.segmented = true; break;
      case 8: in.get(tensor.name); break;
      case 13:
        if (in.is_bytes()) tensor.external_data.insert(decode_entry(in.bytes()));
        break;
      case 14: {
        int location = 0;
        in.get(location);
        tensor.external = location == 1;
        break;
      }
      default: break;
    }
  }
  return tensor;
}

SparseTensor decode_sparse(std::string_view bytes) {
  SparseTensor sparse;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1:
        if (in.is_bytes()) sparse.values = decode_tensor(in.bytes());
        break;
      case 2:
        if (in.is_bytes()) sparse.indices = decode_tensor(in.bytes());
        break;
      case 3: in.get(sparse.dims); break;
      default: break;
    }
  }
  return sparse;
}

Dimension decode_dimension(std::string_view bytes) {
  Dimension dim;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1: in.get(dim.value.emplace()); break;
      case 2: in.get(dim.param); break;
      case 3: in.get(dim.denotation); break;
      default: break;
    }
  }
  return dim;
}

Type decode_type(std::string_view bytes, int depth);

// The messages under TypeProto: a number in field 1 is an element or key type, a message in field 1 or 2 a type, but
// for tensors, where field 2 is the shape.
void decode_type_body(std::string_view bytes, Type& type, int depth) {
  for (WireReader in(bytes); in.next();) {
    const bool tensor = type.kind == Type::Kind::kTensor || type.kind == Type::Kind::kSparse;
    if (in.field() == 1 && !in.is_bytes()) {
      in.get(type.kind == Type::Kind::kMap ? type.key_type : type.element_type);
    } else if (in.field() == 2 && tensor && in.is_bytes()) {
      type.has_shape = true;
      for (WireReader shape(in.bytes()); shape.next();)
        if (shape.field() == 1 && shape.is_bytes()) type.shape.push_back(decode_dimension(shape.bytes()));
    } else if (!tensor && in.is_bytes() && in.field() == (type.kind == Type::Kind::kMap ? 2 : 1)) {
      type.element = std::make_shared<const Type>(decode_type(in.bytes(), depth + 1));
    }
  }
}

Type decode_type(std::string_view bytes, int depth) {
  SX_REQUIRE(depth < kMaxTypeDepth, kInvalidGraph, "a type in the model is nested more than ", kMaxTypeDepth, " deep");
  Type type;
  for (WireReader in(bytes); in.next();) {
    if (!in.is_bytes()) continue;
    Type::Kind kind = Type::Kind::kNone;
    switch (in.field()) {
      case 1: kind = Type::Kind::kTensor; break;
      case 4: kind = Type::Kind::kSequence; break;
      case 5: kind = Type::Kind::kMap; break;
      case 7: kind = Type::Kind::kOpaque; break;
      case 8: kind = Type::Kind::kSparse; break;
      case 9: kind = Type::Kind::kOptional; break;
      default: continue;
    }
    type = Type();
    type.kind = kind;
    if (kind != Type::Kind::kOpaque) decode_type_body(in.bytes(), type, depth);
  }
  return type;
}

ValueInfo decode_value_info(std::string_view bytes) {
  ValueInfo info;
  for (WireReader in(bytes); in.next();) {
    if (in.field() == 1) in.get(info.name);
    if (in.field() == 2 && in.is_bytes()) info.type = decode_type(in.bytes(), 0);
  }
  return info;
}

Attribute::Kind kind_from_onnx(int number, const std::string& name) {
  using Kind = Attribute::Kind;
  static const Kind kKinds[] = {Kind::kNone,   Kind::kFloat,  Kind::kInt,     Kind::kString,  Kind::kTensor,
                                Kind::kGraph,  Kind::kFloats, Kind::kInts,    Kind::kStrings, Kind::kTensors,
                                Kind::kGraphs, Kind::kSparse, Kind::kSparses, Kind::kType,    Kind::kTypes};
  SX_REQUIRE(number >= 0 && number < 15, kInvalidGraph, "attribute '", name, "' is of a kind (", number,
             ") that ONNX does not have");
  return kKinds[number];
}

Graph decode_graph(std::string_view bytes, int depth);

Attribute decode_attribute(std::string_view bytes, int depth) {
  using Kind = Attribute::Kind;
  Attribute attribute;
  int number = 0;
  Kind seen = Kind::kNone;  // models of IR version 1 do not state the kind
  for (WireReader in(bytes); in.next();) {
    const bool message = in.is_bytes();
    switch (in.field()) {
      case 1: in.get(attribute.name); break;
      case 2:
        in.get(attribute.f);
        seen = Kind::kFloat;
        break;
      case 3:
        in.get(attribute.i);
        seen = Kind::kInt;
        break;
      case 4:
        in.get(attribute.s);
        seen = Kind::kString;
        break;
      case 5:
      case 10:
        if (message) attribute.tensors.push_back(decode_tensor(in.bytes()));
        seen = in.field() == 5 ? Kind::kTensor : Kind::kTensors;
        break;
      case 6:
      case 11:
        if (message) attribute.graphs.push_back(std::make_shared<Graph>(decode_graph(in.bytes(), depth + 1)));
        seen = in.field() == 6 ? Kind::kGraph : Kind::kGraphs;
        break;
      case 7:
        in.get(attribute.floats);
        seen = Kind::kFloats;
        break;
      case 8:
        in.get(attribute.ints);
        seen = Kind::kInts;
        break;
      case 9:
        in.get(attribute.strings);
        seen = Kind::kStrings;
        break;
      case 14:
      case 15:
        if (message) attribute.types.push_back(decode_type(in.bytes(), 0));
        seen = in.field() == 14 ? Kind::kType : Kind::kTypes;
        break;
      case 20: in.get(number); break;
      case 21: in.get(attribute.reference); break;
      case 22:
      case 23:
        if (message) attribute.sparse.push_back(decode_sparse(in.bytes()));
        seen = in.field() == 22 ? Kind::kSparse : Kind::kSparses;
        break;
      default: break;
    }
  }
  attribute.kind = number == 0 ? seen : kind_from_onnx(number, attribute.name);
  return attribute;
}

Node decode_node(std::string_view bytes, int depth) {
  Node node;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1: in.get(node.inputs); break;
      case 2: in.get(node.outputs); break;
      case 3: in.get(node.name); break;
      case 4: in.get(node.op_type); break;
      case 5:
        if (in.is_bytes()) node.attributes.push_back(decode_attribute(in.bytes(), depth));
        break;
      case 7: node.domain = domain_of(in); break;
      case 8: in.get(node.overload); break;
      default: break;
    }
  }
  SX_REQUIRE(!node.op_type.empty(), kInvalidGraph, "the model has a node '", node.name, "' without an operator type");
  return node;
}

void decode_graph_into(std::string_view bytes, Graph& graph, int depth) {
  SX_REQUIRE(depth < kMaxGraphDepth, kInvalidGraph, "the model's graphs are nested more than ", kMaxGraphDepth,
             " deep");
  for (WireReader in(bytes); in.next();) {
    if (!in.is_bytes()) continue;
    switch (in.field()) {
      case 1: graph.nodes.push_back(decode_node(in.bytes(), depth)); break;
      case 2: in.get(graph.name); break;
      case 5: graph.initializers.push_back(decode_tensor(in.bytes())); break;
      case 10: in.get(graph.doc); break;
      case 11: graph.inputs.push_back(decode_value_info(in.bytes())); break;
      case 12: graph.outputs.push_back(decode_value_info(in.bytes())); break;
      case 13: graph.value_infos.push_back(decode_value_info(in.bytes())); break;
      case 15: graph.sparse_initializers.push_back(decode_sparse(in.bytes())); break;
      default: break;
    }
  }
}

Graph decode_graph(std::string_view bytes, int depth) {
  Graph graph;
  decode_graph_into(bytes, graph, depth);
  return graph;
}

Function decode_function(std::string_view bytes) {
  Function function;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1: in.get(function.name); break;
      case 4: in.get(function.inputs); break;
      case 5: in.get(function.outputs); break;
      case 7:
        if (in.is_bytes()) function.nodes.push_back(decode_node(in.bytes(), 0));
        break;
      case 9:
        if (in.is_bytes()) decode_opset(in.bytes(), function.opsets);
        break;
      case 10: function.domain = domain_of(in); break;
      case 11:
        if (in.is_bytes()) function.defaults.push_back(decode_attribute(in.bytes(), 0));
        break;
      case 13: in.get(function.overload); break;
      default: break;
    }
  }
  return function;
}

}  // namespace

Model decode_model(std::string_view bytes) {
  Model model;
  for (WireReader in(bytes); in.next();) {
    switch (in.field()) {
      case 1: in.get(model.ir_version); break;
      case 2: in.get(model.producer_name); break;
      case 3: in.get(model.producer_version); break;
      case 4: in.get(model.domain); break;
      case 5: in.get(model.model_version.emplace()); break;
      case 6: in.get(model.doc); break;
      case 7:
        if (!in.is_bytes()) break;
        model.has_graph = true;
        decode_graph_into(in.bytes(), model.graph, 0);
        break;
      case 8:
        if (in.is_bytes()) decode_opset(in.bytes(), model.opsets);
        break;
      case 14:
        if (in.is_bytes()) model.metadata.insert(decode_entry(in.bytes()));
        break;
      case 25:
        if (in.is_bytes()) model.functions.push_back(decode_function(in.bytes()));
        break;
      default: break;
    }
  }
  return model;
}

std::string origin_of(const Node& node) {
  std::string name = node.name;
  for (size_t i = 0; name.empty() && i < node.outputs.size(); ++i) name = node.outputs[i];
  return node.op_type + " '" + name + "'";
}

}  // namespace sx::proto
