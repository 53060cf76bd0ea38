// Products of 8-bit matrices under NumPy's matmul rules, shared by the quantized operators.
#pragma once

#include <vector>

#include "kernels/gemm/gemm_int8.h"
#include "ops/matmul.h"

namespace sx {

constexpr DTypeSet kBytes = DType::kInt8 | DType::kUInt8;

// Zero points of an 8-bit operand, widened. One value, one for each row of A (column of B), or one for each row
// (column) of each matrix of a stack.
class ZeroPoints {
 public:
  ZeroPoints() : values_{0} {}
  // `count` is the number of rows (columns), `matrices` that of the stack.
  ZeroPoints(const Run& run, const Tensor& tensor, int64_t count, int64_t matrices);
  bool single() const { return values_.size() == 1; }
  int32_t value() const { return values_[0]; }
  // Those of one matrix of the stack; null where there is a single value.
  const int32_t* of(int64_t matrix) const { return single() ? nullptr : values_.data() + matrix * step_; }

 private:
  std::vector<int32_t> values_;
  int64_t step_ = 0;
};

// The product of inputs `a` and `b` of a node; b is packed once where it is constant.
class Int8Product {
 public:
  Int8Product(Prepare& p, int b, bool trans_b = false);

  struct Operands {
    const void* a = nullptr;
    bool a_signed = false;
    bool trans_a = false;
    const void* b = nullptr;
    bool b_signed = false;
    const ZeroPoints* a_zeros = nullptr;  // null: 0
    const ZeroPoints* b_zeros = nullptr;
  };
  // Writes all products to c, whose elements are those of the epilogue's output kind. Where the epilogue has row
  // scales, they are those of one product.
  void run(const MatMulShape& shape, const Operands& operands, const Int8Epilogue& epilogue, void* c) const;

 private:
  bool trans_b_;
  Tensor packed_;
  int64_t packed_step_ = 0;
};

// The kind of 8-bit or 32-bit result that a tensor of this type holds.
Int8Output int8_output(DType dtype);

struct Quantized {
  float scale;
  int32_t zero_point;
};
// y = clamp(round_to_even(x / scale) + zero_point, 0, 255) with the scale and zero point that map the range of x and 0
// onto 0..255, as DynamicQuantizeLinear has them.
Quantized quantize_dynamically(const float* x, int64_t n, uint8_t* y);

}  // namespace sx
