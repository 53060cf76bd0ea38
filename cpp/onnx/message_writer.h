// Parts of a model as messages: types, tensors and attributes.
#pragma once

#include <string>

#include "ir/attribute.h"
#include "onnx/wire.h"

namespace sx {

// Where the elements of large tensors go; without one they stay in the message.
class WeightFile {
 public:
  virtual ~WeightFile() = default;
  // Stores the bytes; gives their offset in the file.
  virtual size_t add(std::string_view bytes) = 0;
  virtual const std::string& location() const = 0;
};

WireWriter type_message(const Type& type);
WireWriter value_info_message(const std::string& name, const Type& type);
// Refers to the memory of large tensors, which must outlive the message. `weights` may be null.
WireWriter tensor_message(const std::string& name, const Tensor& tensor, WeightFile* weights);
WireWriter attribute_message(const std::string& name, const Attribute& attribute);

}  // namespace sx
