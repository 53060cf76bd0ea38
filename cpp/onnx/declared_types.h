// Types that a model declares for its values.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ir/type.h"
#include "onnx/proto.h"

namespace sx {

// Extents given to symbolic dimensions, by symbol and by denotation.
struct DimOverrides {
  std::map<std::string, int64_t> by_name;
  std::map<std::string, int64_t> by_denotation;
};

// kUnknown where nothing is declared. Throws InvalidGraph or NotImplemented (sparse tensors, opaque types).
Type declared_type(const proto::Type& from, const DimOverrides& overrides);

// What is known from both: the inferred type, with unknown parts taken from the declared one where the two agree in
// kind, element type and rank.
Type refined(const Type& inferred, const Type& declared);
// The type to report to the caller: the declared symbols stay, inferred numbers win.
Type reported(const Type& inferred, const Type& declared);

}  // namespace sx
