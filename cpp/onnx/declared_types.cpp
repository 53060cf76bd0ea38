// Converts declared types and merges them with inferred ones.
#include "onnx/declared_types.h"

#include "base/error.h"

namespace sx {
namespace {

Dim declared_dim(const proto::Dimension& from, const DimOverrides& overrides) {
  auto meant = overrides.by_denotation.find(from.denotation);
  if (!from.denotation.empty() && meant != overrides.by_denotation.end() && !from.value) return Dim(meant->second);
  // Some exporters write -1 for an extent that they do not know.
  if (from.value) return *from.value >= 0 ? Dim(*from.value) : Dim();
  if (from.param.empty()) return Dim();
  auto named = overrides.by_name.find(from.param);
  return named != overrides.by_name.end() ? Dim(named->second) : Dim::symbol(from.param);
}

bool comparable(const Type& a, const Type& b) {
  return a.is_tensor() && b.is_tensor() && a.dtype == b.dtype &&
         (!a.shape || !b.shape || a.shape->size() == b.shape->size());
}

}  // namespace

Type declared_type(const proto::Type& from, const DimOverrides& overrides) {
  switch (from.kind) {
    case proto::Type::Kind::kNone: return {};
    case proto::Type::Kind::kTensor: {
      if (from.element_type == 0) return {};
      const DType dtype = dtype_from_onnx(from.element_type);
      if (!from.has_shape) return Type::tensor(dtype);
      SX_REQUIRE(from.shape.size() <= static_cast<size_t>(kMaxRank), kInvalidGraph, "a tensor of rank ",
                 from.shape.size(), " is declared; at most ", kMaxRank, " dimensions are supported");
      SymShape shape;
      for (const auto& dim : from.shape) shape.push_back(declared_dim(dim, overrides));
      return Type::tensor(dtype, shape);
    }
    case proto::Type::Kind::kSequence:
      return Type::sequence(from.element ? declared_type(*from.element, overrides) : Type());
    case proto::Type::Kind::kOptional:
      return Type::optional(from.element ? declared_type(*from.element, overrides) : Type());
    case proto::Type::Kind::kMap: {
      const Type value = from.element ? declared_type(*from.element, overrides) : Type();
      SX_REQUIRE(value.is_tensor(), kNotImplemented, "maps are supported only with tensors as values");
      return Type::map(dtype_from_onnx(from.key_type), value.dtype);
    }
    case proto::Type::Kind::kSparse:
      fail(ErrorKind::kNotImplemented, "values that are sparse tensors are not supported");
    case proto::Type::Kind::kOpaque: fail(ErrorKind::kNotImplemented, "values of opaque type are not supported");
  }
  return {};
}

Type refined(const Type& inferred, const Type& declared) {
  if (inferred.kind == Type::Kind::kUnknown) return declared;
  if (!comparable(inferred, declared) || !declared.shape) return inferred;
  if (!inferred.shape) return declared;
  Type result = inferred;
  for (size_t i = 0; i < result.shape->size(); ++i)
    if ((*result.shape)[i].unknown()) (*result.shape)[i] = (*declared.shape)[i];
  return result;
}

Type reported(const Type& inferred, const Type& declared) {
  if (!comparable(inferred, declared) || !declared.shape || !inferred.shape) return refined(inferred, declared);
  Type result = declared;
  for (size_t i = 0; i < result.shape->size(); ++i) {
    const Dim& better = (*inferred.shape)[i];
    if (better.known() || (*result.shape)[i].unknown()) (*result.shape)[i] = better;
  }
  return result;
}

}  // namespace sx
