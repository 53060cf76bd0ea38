// f32 views of the inputs and outputs of operators that compute in f32 whatever float type the model stores.
#pragma once

#include "tensor/tensor.h"

namespace sx {

// The elements of an f16, bf16, f32 or f64 tensor as a new f32 tensor.
Tensor to_f32(const Tensor& x);
// Rounds `from` into the memory of `to`, a tensor of f16, bf16, f32 or f64.
void store_f32(const float* from, const Tensor& to);

// Reads a tensor as f32; converts only where it is not f32. The tensor must outlive the view.
class FloatIn {
 public:
  explicit FloatIn(const Tensor& x) {
    if (x.dtype() == DType::kFloat32) {
      data_ = x.data<float>();
    } else {
      held_ = to_f32(x);
      data_ = held_.data<float>();
    }
  }
  const float* data() const { return data_; }

 private:
  const float* data_;
  Tensor held_;
};

// f32 memory for the elements of an output; store() rounds them into the tensor where that is not f32 itself.
class FloatOut {
 public:
  explicit FloatOut(const Tensor& y) : target_(y) {
    if (y.dtype() == DType::kFloat32) {
      data_ = y.data<float>();
    } else {
      held_ = Tensor(DType::kFloat32, y.shape());
      data_ = held_.data<float>();
    }
  }
  float* data() const { return data_; }
  void store() const {
    if (held_.defined()) store_f32(data_, target_);
  }

 private:
  const Tensor& target_;
  float* data_;
  Tensor held_;
};

}  // namespace sx
