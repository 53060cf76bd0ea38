// Checks what a caller feeds against what a graph expects.
#include "plan/feeds.h"

#include "base/error.h"

namespace sx {
namespace {

std::string describe(const Datum& value) {
  switch (value.kind) {
    case Datum::Kind::kNone: return "none";
    case Datum::Kind::kSequence: return "a sequence";
    case Datum::Kind::kMap: return "a map";
    case Datum::Kind::kTensor: return name_of(value.tensor.dtype()) + value.tensor.shape().str();
  }
  return "";
}

}  // namespace

void check_feed(const std::string& name, const Type& type, const Datum& value) {
  if (!type.is_tensor()) return;
  SX_REQUIRE(value.kind == Datum::Kind::kTensor, kInvalidArgument, "input '", name, "' is ", describe(value),
             "; expected ", type.str());
  const Tensor& tensor = value.tensor;
  SX_REQUIRE(tensor.dtype() == type.dtype, kInvalidArgument, "Unexpected input data type for input '", name,
             "': found tensor(", session_name_of(tensor.dtype()), "), expected tensor(", session_name_of(type.dtype),
             ")");
  if (!type.shape) return;
  SX_REQUIRE(tensor.rank() == type.rank(), kInvalidArgument, "Invalid rank for input '", name, "': found ",
             tensor.rank(), " ", tensor.shape().str(), ", expected ", type.rank(), " ", to_string(*type.shape));
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    const Dim& dim = (*type.shape)[static_cast<size_t>(axis)];
    SX_REQUIRE(!dim.known() || dim.value() == tensor.dim(axis), kInvalidArgument, "Invalid size for input '", name,
               "': found ", tensor.shape().str(), ", expected ", to_string(*type.shape), " (axis ", axis, " differs)");
  }
}

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

}  // namespace sx
