// The static type of a value: tensor with element type and symbolic shape, sequence, optional or map.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "ir/dim.h"

namespace sx {

using SymShape = std::vector<Dim>;

struct Type {
  enum class Kind { kUnknown, kTensor, kSequence, kOptional, kMap };
  Kind kind = Kind::kUnknown;
  DType dtype = DType::kUndefined;      // element type of a tensor; value type of a map
  DType key = DType::kUndefined;        // key type of a map
  std::optional<SymShape> shape;        // absent: rank unknown
  std::shared_ptr<const Type> element;  // of a sequence or optional

  static Type tensor(DType dtype) { return tensor(dtype, std::nullopt); }
  static Type tensor(DType dtype, std::optional<SymShape> shape) {
    Type type;
    type.kind = Kind::kTensor;
    type.dtype = dtype;
    type.shape = std::move(shape);
    return type;
  }
  static Type tensor(DType dtype, const Shape& shape) { return tensor(dtype, SymShape(shape.begin(), shape.end())); }
  static Type sequence(const Type& element);
  static Type optional(const Type& element);
  static Type map(DType key, DType value);

  bool is_tensor() const { return kind == Kind::kTensor; }
  int rank() const { return shape ? static_cast<int>(shape->size()) : -1; }
  // The shape when every extent is a number.
  std::optional<Shape> concrete_shape() const;
  std::string str() const;  // f32[N,3,224,224], i64[?..], seq(f32[..]), map(i64,f32)
};

// The concrete shape of a symbolic one when every extent is a number.
std::optional<Shape> concrete(const SymShape& shape);
std::string to_string(const SymShape& shape);  // "[N,3]"

}  // namespace sx
