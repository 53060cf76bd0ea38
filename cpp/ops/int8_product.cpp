// Stacks of 8-bit products, zero points and quantization on the fly.
#include "ops/int8_product.h"

#include <algorithm>
#include <cmath>

#include "kernels/quantize.h"
#include "tensor/weight_memory.h"

namespace sx {
namespace {

constexpr int64_t kLine = 64;
// Products below this many multiplications are shared out whole; where there are several for each thread, larger ones.
constexpr int64_t kSmallProduct = int64_t{1} << 20;
constexpr int64_t kLargeProduct = int64_t{1} << 26;

int64_t line_up(int64_t bytes) { return checked_add(bytes, kLine - 1) / kLine * kLine; }

int32_t widened(const Tensor& tensor, int64_t i) {
  return tensor.dtype() == DType::kInt8 ? tensor.data<int8_t>()[i] : tensor.data<uint8_t>()[i];
}

}  // namespace

ZeroPoints::ZeroPoints(const Run& run, const Tensor& tensor, int64_t count, int64_t matrices) {
  const int64_t n = tensor.size();
  SX_CHECK(run, n == 1 || n == count || n == checked_mul(count, matrices), "has ", n, " zero points; 1 or ", count,
           " expected");
  for (int64_t i = 0; i < n; ++i) values_.push_back(widened(tensor, i));
  step_ = n == count ? 0 : count;
}

Int8Output int8_output(DType dtype) {
  switch (dtype) {
    case DType::kInt32: return Int8Output::kInt32;
    case DType::kInt8: return Int8Output::kInt8;
    case DType::kUInt8: return Int8Output::kUInt8;
    default: return Int8Output::kFloat32;
  }
}

Int8Product::Int8Product(Prepare& p, int b, bool trans_b) : trans_b_(trans_b) {
  const Tensor* constant = p.constant(b);
  if (constant == nullptr || constant->rank() < 2 || constant->size() == 0) return;
  const int rank = constant->rank();
  const int64_t k = constant->dim(trans_b ? rank - 1 : rank - 2);
  const int64_t n = constant->dim(trans_b ? rank - 2 : rank - 1);
  packed_step_ = line_up(packed_b_int8_size(k, n));
  packed_ = p.shared("b", [&] {
    const int64_t matrices = constant->size() / (k * n);
    Tensor packed = weight_tensor(DType::kUInt8, Shape{checked_mul(matrices, packed_step_)});
    const Tensor from = constant->borrow();
    for (int64_t i = 0; i < matrices; ++i)
      pack_b_int8(k, n, static_cast<const uint8_t*>(from.raw()) + i * k * n, constant->dim(rank - 1), trans_b,
                  constant->dtype() == DType::kInt8, packed.data<uint8_t>() + i * packed_step_);
    return packed;
  });
}

void Int8Product::run(const MatMulShape& s, const Operands& operands, const Int8Epilogue& epilogue, void* c) const {
  const int64_t products = s.products();
  const int64_t width = epilogue.output == Int8Output::kUInt8 || epilogue.output == Int8Output::kInt8 ? 1 : 4;
  GemmInt8 g;
  g.m = s.m, g.n = s.n, g.k = s.k;
  g.lda = s.ld_a, g.ldb = s.ld_b, g.ldc = s.n;
  g.trans_a = operands.trans_a, g.trans_b = trans_b_;
  g.a_signed = operands.a_signed, g.b_signed = operands.b_signed;
  g.epilogue = epilogue;
  if (operands.a_zeros != nullptr) g.a_zero = operands.a_zeros->value();
  if (operands.b_zeros != nullptr) g.b_zero = operands.b_zeros->value();
  const auto multiply = [&](int64_t index, GemmInt8 one) {
    one.a = static_cast<const uint8_t*>(operands.a) + s.matrix_a(index) * s.step_a;
    if (packed_.defined()) one.packed_b = packed_.data<uint8_t>() + s.matrix_b(index) * packed_step_;
    else one.b = static_cast<const uint8_t*>(operands.b) + s.matrix_b(index) * s.step_b;
    if (operands.a_zeros != nullptr) one.a_zeros = operands.a_zeros->of(s.matrix_a(index));
    if (operands.b_zeros != nullptr) one.b_zeros = operands.b_zeros->of(s.matrix_b(index));
    one.c = static_cast<uint8_t*>(c) + index * s.m * s.n * width;
    gemm_int8(one);
  };
  const bool by_row = (operands.a_zeros != nullptr && !operands.a_zeros->single()) || epilogue.row_scales != nullptr ||
                      epilogue.per_row_bias;
  if (s.one_product && !by_row) {
    g.m = products * s.m;
    multiply(0, g);
  } else if (s.m * s.n * s.k < kSmallProduct || (products >= 4 * thread_count() && s.m * s.n * s.k < kLargeProduct)) {
    parallel_for(products, std::max<int64_t>(1, kSmallProduct / std::max<int64_t>(1, s.m * s.n * s.k)),
                 [&](int64_t from, int64_t to) {
                   for (int64_t i = from; i < to; ++i) multiply(i, g);
                 });
  } else {
    for (int64_t i = 0; i < products; ++i) multiply(i, g);
  }
}

Quantized quantize_dynamically(const float* x, int64_t n, uint8_t* y) {
  const ArrayRange range = range_with_zero(x, n);
  const float low = range.low, high = range.high;
  Quantized q{high > low ? (high - low) / 255.0f : 1.0f, 0};
  if (!(q.scale > 0.0f) || std::isinf(q.scale)) q.scale = 1.0f;
  q.zero_point = static_cast<int32_t>(std::nearbyint(std::min(std::max(-low / q.scale, 0.0f), 255.0f)));
  const QuantizeArray how{q.scale, q.zero_point, 0, 255};
  parallel_for(n, 32768, [&](int64_t from, int64_t to) { quantize(how, x + from, y + from, to - from); });
  return q;
}

}  // namespace sx
