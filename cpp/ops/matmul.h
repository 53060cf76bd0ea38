// act(alpha * op(A) op(B) + bias + residual) with NumPy's matmul rules: what MatMul and its fused forms share.
#pragma once

#include "kernels/gemm/gemm.h"
#include "ops/fused_activation.h"
#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {

struct MatMulSpec {
  // Transpose the last two axes; vectors are left alone.
  bool trans_a = false, trans_b = false;
  // The operand is stored [rows, batch..., columns] instead of [batch..., rows, columns].
  bool batch_inside_a = false, batch_inside_b = false;
  float alpha = 1.0f;
  FusedActivation activation;
  // Indices of the inputs that hold a bias of one value per column (or a single one) and a tensor of the result's
  // shape; kNone where the operator has none.
  int bias = kNone, residual = kNone;
  // A comes, or the result goes, in the panels of rows that products in bf16 read (ops/row_panels.cpp).
  bool a_panels = false, y_panels = false;
};

// Output 0, of type `dtype`, for the operands at inputs 0 and `b`.
void infer_matmul(InferContext& c, const MatMulSpec& spec, DType dtype, int b = 1);
// Kernel for inputs 0 and 1 of any numeric type; bias, residual and activation need f32, f16 or bf16.
Kernel make_matmul(Prepare& p, const MatMulSpec& spec);

// The same shape rules with concrete extents, for the operators that multiply integers.
struct MatMulShape {
  int64_t m = 1, n = 1, k = 1;
  Shape batch_a, batch_b, batch;
  Shape out;
  int64_t ld_a = 0, ld_b = 0;      // between the rows of a stored matrix
  int64_t step_a = 0, step_b = 0;  // between one matrix and the next
  bool trans_a = false, trans_b = false;
  // The products share one B and the rows of A follow one another: all are one product of batch * m rows.
  bool one_product = false;

  MatMulShape(const Run& run, const Shape& a, const Shape& b, const MatMulSpec& spec = {});
  int64_t products() const { return batch.size(); }
  // Which stored matrix of A (B) the product `index` of the batch reads.
  int64_t matrix_a(int64_t index) const { return matrix(batch_a, index); }
  int64_t matrix_b(int64_t index) const { return matrix(batch_b, index); }

 private:
  int64_t matrix(const Shape& stored, int64_t index) const;
};

// c[i, j] = sum over k of a(i, k) * b(k, j) for row-major c and strided a and b; T is double or an unsigned integer.
template <typename T>
struct PlainProduct {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t a_row = 0, a_column = 0;
  const T* b = nullptr;
  int64_t b_row = 0, b_column = 0;
  T* c = nullptr;
};
// Rows [from, to) of it.
template <typename T>
void plain_product(const PlainProduct<T>& p, int64_t from, int64_t to);
extern template void plain_product(const PlainProduct<double>&, int64_t, int64_t);
extern template void plain_product(const PlainProduct<uint32_t>&, int64_t, int64_t);
extern template void plain_product(const PlainProduct<uint64_t>&, int64_t, int64_t);

// The rows that one task of about 50 us of plain_product holds.
int64_t plain_product_grain(int64_t n, int64_t k);

// c = scale a b, or scale a b' with trans_b, for row-major matrices: f32 by the kernels, f64 plainly.
template <typename T>
struct DenseProduct {
  int64_t m, n, k;
  const T* a;
  int64_t lda;
  const T* b;
  int64_t ldb;
  bool trans_b;
  T* c;
  int64_t ldc;
  T scale = T(1);
};
Gemm gemm_of(const DenseProduct<float>& p);
void multiply(const DenseProduct<float>& p);
void multiply(const DenseProduct<double>& p);

}  // namespace sx
