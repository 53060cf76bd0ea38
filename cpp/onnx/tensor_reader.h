// TensorProto and SparseTensorProto to Tensor.
#pragma once

#include <string>

#include "onnx/external_data.h"
#include "onnx/proto.h"
#include "tensor/tensor.h"

namespace sx {

class TensorReader {
 public:
  // `file` (may be null) is what the model was decoded from.
  TensorReader(ExternalData external, const MappedFile* file) : external_(std::move(external)), file_(file) {}

  // Elements in the model are copied, those of large tensors into memory on demand that the file fills again; external
  // ones stay in the mapped file where their alignment allows. Sizes are checked before memory is taken. Errors name
  // the tensor as `what`.
  Tensor read(const proto::Tensor& from, const std::string& what);
  // The dense equivalent.
  Tensor read_sparse(const proto::SparseTensor& from, const std::string& what);

 private:
  ExternalData external_;
  const MappedFile* file_;
};

}  // namespace sx
