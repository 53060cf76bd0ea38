// QLinearAdd, QLinearMul: y = q(dq(a) op dq(b)); QLinearSigmoid, QLinearLeakyRelu: y = q(f(dq(x))), by tables over
// 8-bit codes
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/quantize.h"
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DType::kUInt8 | DType::kInt8;

struct Quantization {
  float scale;
  int32_t zero;
};

int32_t code_of(const Tensor& x, int64_t i) {
  return x.dtype() == DType::kInt8 ? static_cast<int32_t>(x.data<int8_t>()[i])
                                   : static_cast<int32_t>(x.data<uint8_t>()[i]);
}

// One scale for the whole tensor, and a zero point that may be absent.
Quantization quantization(const Run& run, int scale, int zero) {
  SX_CHECK(run, run.in(scale).size() == 1, "input ", scale, " is ", run.in(scale).shape().str(),
           "; one scale expected");
  Quantization q{*run.in(scale).data<float>(), 0};
  if (run.has(zero)) {
    SX_CHECK(run, run.in(zero).size() == 1, "input ", zero, " is ", run.in(zero).shape().str(),
             "; one zero point expected");
    q.zero = code_of(run.in(zero), 0);
  }
  return q;
}

// What a code of x, taken as its byte, stands for relative to the zero point.
std::array<float, 256> distances(DType dtype, int32_t zero) {
  std::array<float, 256> table;
  for (int i = 0; i < 256; ++i)
    table[static_cast<size_t>(i)] = static_cast<float>((dtype == DType::kInt8 ? static_cast<int8_t>(i) : i) - zero);
  return table;
}

// value, in steps of the output, as a byte; NaN becomes the zero point.
struct ToByte {
  float least, most, zero;
  explicit ToByte(DType dtype, int32_t zero_point)
      : least(dtype == DType::kInt8 ? -128.0f : 0.0f),
        most(dtype == DType::kInt8 ? 127.0f : 255.0f),
        zero(static_cast<float>(zero_point)) {}
  uint8_t operator()(float value) const {
    float code = std::nearbyint(value) + zero;
    if (!(code >= least)) code = std::isnan(code) ? zero : least;
    if (code > most) code = most;
    return static_cast<uint8_t>(static_cast<int32_t>(code));
  }
};

// Rows of a tile whose elements both vary, where vectors are as exact as tables.
template <typename T>
void combine_rows(const CombineArrays& how, const Tensor& a, const Tensor& b, Tensor& y, const Tile& tile) {
  for (int64_t r = 0; r < tile.rows; ++r)
    combine(how, a.data<T>() + tile.at[0] + r * tile.row[0], b.data<T>() + tile.at[1] + r * tile.row[1],
            y.data<T>() + tile.out + r * tile.n, tile.n);
}

template <bool kMultiply>
Kernel binary_kernel(Prepare&) {
  return [](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(3);
    const Quantization qa = quantization(run, 1, 2), qb = quantization(run, 4, 5), qy = quantization(run, 6, 7);
    const float scale_a = kMultiply ? qa.scale * qb.scale / qy.scale : qa.scale / qy.scale;
    const float scale_b = kMultiply ? 1.0f : qb.scale / qy.scale;
    const Broadcast plan = plan_broadcast(run, {&a.shape(), &b.shape()});
    Tensor& y = run.out(0, plan.shape);
    const bool is_signed = y.dtype() == DType::kInt8;
    const CombineArrays how = {
        kMultiply, scale_a, scale_b, qa.zero, qb.zero, qy.zero, is_signed ? -128 : 0, is_signed ? 127 : 255};
    const bool in_vectors = std::abs(scale_a) < 1e30f && std::abs(scale_b) < 1e30f;
    // The scales go into the tables, so that an element costs two look-ups and one operation.
    std::array<float, 256> from_a = distances(a.dtype(), qa.zero), from_b = distances(b.dtype(), qb.zero);
    for (float& x : from_a) x *= scale_a;
    for (float& x : from_b) x *= scale_b;
    const ToByte to_byte(y.dtype(), qy.zero);
    for_each_tile(plan, kElementGrain, [&](const Tile& tile) {
      if (in_vectors && !tile.scalar[0] && !tile.scalar[1])
        return is_signed ? combine_rows<int8_t>(how, a, b, y, tile) : combine_rows<uint8_t>(how, a, b, y, tile);
      binary_tile<uint8_t, uint8_t>(a.raw(), b.raw(), y.raw(), tile, [&](uint8_t i, uint8_t j) {
        return to_byte(kMultiply ? from_a[i] * from_b[j] : from_a[i] + from_b[j]);
      });
    });
  };
}

template <typename F>
Kernel table_kernel(const F& f) {
  return [f](Run& run) {
    const Tensor& x = run.in(0);
    const Quantization qx = quantization(run, 1, 2), qy = quantization(run, 3, 4);
    const std::array<float, 256> from = distances(x.dtype(), qx.zero);
    Tensor& y = run.out(0, x.shape());
    const ToByte to_byte(y.dtype(), qy.zero);
    uint8_t table[256];
    for (size_t i = 0; i < 256; ++i) table[i] = to_byte(f(from[i] * qx.scale) / qy.scale);
    const auto* codes = static_cast<const uint8_t*>(x.raw());
    auto* to = static_cast<uint8_t*>(y.raw());
    parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = table[codes[i]];
    });
  };
}

Kernel make_sigmoid(Prepare&) {
  return table_kernel([](float x) { return 1.0f / (1.0f + std::exp(-x)); });
}

Kernel make_leaky_relu(Prepare& p) {
  return table_kernel([alpha = p.attr_float("alpha")](float x) { return x >= 0 ? x : x * alpha; });
}

void infer_binary(InferContext& c) {
  std::optional<SymShape> shape;
  if (c.has_shape(0) && c.has_shape(3)) shape = broadcast(c, c.shape(0), c.shape(3));
  c.out(0, c.dtype(0), shape);
}

OpDef binary(const char* name) {
  OpDef op(name, "com.microsoft");
  op.in("A", "T", kBytes)
      .in("A_scale", "", DType::kFloat32)
      .optional_in("A_zero_point", "T", kBytes)
      .in("B", "T", kBytes)
      .in("B_scale", "", DType::kFloat32)
      .optional_in("B_zero_point", "T", kBytes)
      .in("C_scale", "", DType::kFloat32)
      .optional_in("C_zero_point", "T", kBytes)
      .out("C", "T")
      .infer(infer_binary);
  return op;
}

OpDef unary(const char* name) {
  OpDef op(name, "com.microsoft");
  op.in("X", "T", kBytes)
      .in("X_scale", "", DType::kFloat32)
      .optional_in("X_zero_point", "T", kBytes)
      .in("Y_scale", "", DType::kFloat32)
      .optional_in("Y_zero_point", "T", kBytes)
      .out("Y", "T")
      .in_place({0})
      .infer(same_as(0));
  return op;
}

}  // namespace

void define_ms_qlinear_map(OpList& ops) {
  ops.add(binary("QLinearAdd").kernel(binary_kernel<false>));
  ops.add(binary("QLinearMul").kernel(binary_kernel<true>));
  ops.add(unary("QLinearSigmoid").kernel(make_sigmoid));
  ops.add(unary("QLinearLeakyRelu").attr("alpha", 0.01f).kernel(make_leaky_relu));
}

}  // namespace sx
