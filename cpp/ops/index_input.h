// A tensor of int32 or int64 indices that count from the back where they are negative.
#pragma once

#include "ops/kernel.h"

namespace sx {

class Indices {
 public:
  explicit Indices(const Tensor& tensor)
      : wide_(tensor.dtype() == DType::kInt64 ? tensor.data<int64_t>() : nullptr),
        narrow_(wide_ == nullptr ? tensor.data<int32_t>() : nullptr) {}
  // Index i counted from the front; fails in the node's name when it is outside [-extent, extent).
  int64_t at(const Run& run, int64_t i, int64_t extent) const {
    const int64_t index = wide_ != nullptr ? wide_[i] : narrow_[i];
    const int64_t from_front = index < 0 ? index + extent : index;
    if (static_cast<uint64_t>(from_front) >= static_cast<uint64_t>(extent)) out_of_range(run, index, extent);
    return from_front;
  }

 private:
  [[noreturn]] static void out_of_range(const Run& run, int64_t index, int64_t extent) {
    run.error("index ", index, " is out of range; expected ", -extent, "..", extent - 1);
  }
  const int64_t* wide_;
  const int32_t* narrow_;
};

}  // namespace sx
