// Static types: construction and printing.
#include "ir/type.h"

namespace sx {

Type Type::sequence(const Type& element) {
  Type type;
  type.kind = Kind::kSequence;
  type.element = std::make_shared<const Type>(element);
  return type;
}

Type Type::optional(const Type& element) {
  Type type;
  type.kind = Kind::kOptional;
  type.element = std::make_shared<const Type>(element);
  return type;
}

Type Type::map(DType key, DType value) {
  Type type;
  type.kind = Kind::kMap;
  type.key = key;
  type.dtype = value;
  return type;
}

std::optional<Shape> concrete(const SymShape& shape) {
  if (shape.size() > static_cast<size_t>(kMaxRank)) return std::nullopt;
  Shape result;
  for (const Dim& dim : shape) {
    if (!dim.known()) return std::nullopt;
    result.push_back(dim.value());
  }
  return result;
}

std::optional<Shape> Type::concrete_shape() const { return shape ? concrete(*shape) : std::nullopt; }

std::string to_string(const SymShape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + shape[i].str();
  return text + "]";
}

std::string Type::str() const {
  switch (kind) {
    case Kind::kUnknown: return "unknown";
    case Kind::kTensor: return std::string(name_of(dtype)) + (shape ? to_string(*shape) : "[..]");
    case Kind::kSequence: return "seq(" + element->str() + ")";
    case Kind::kOptional: return "optional(" + element->str() + ")";
    case Kind::kMap: return std::string("map(") + name_of(key) + "," + name_of(dtype) + ")";
  }
  return "unknown";
}

}  // namespace sx
