// y = (a - a_zero) (b - b_zero) in 32-bit integers, and the forms that scale the result or quantize a on the way.
#include <optional>

#include "base/scratch.h"
#include "ops/float_io.h"
#include "ops/int8_product.h"
#include "ops/registry.h"

namespace sx {
namespace {

bool is_signed(const Tensor& x) { return x.dtype() == DType::kInt8; }

class MatMulInteger {
 public:
  // Indices of the zero points; the scaled form multiplies by scales at 2 and 3 and adds a bias at 6.
  MatMulInteger(Prepare& p, int a_zero, int b_zero, bool scaled)
      : a_zero_(a_zero), b_zero_(b_zero), scaled_(scaled), product_(p, 1) {}

  void operator()(Run& run) const {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const MatMulShape s(run, a.shape(), b.shape());
    ZeroPoints a_zeros, b_zeros;
    if (run.has(a_zero_)) a_zeros = ZeroPoints(run, run.in(a_zero_), s.m, s.batch_a.size());
    if (run.has(b_zero_)) b_zeros = ZeroPoints(run, run.in(b_zero_), s.n, s.batch_b.size());
    Int8Epilogue epilogue;
    std::optional<FloatIn> a_scale, b_scale, bias;
    if (scaled_) {
      epilogue.output = Int8Output::kFloat32;
      SX_CHECK(run, run.in(2).size() == 1, "a_scale has ", run.in(2).size(), " elements; 1 expected");
      epilogue.scale = a_scale.emplace(run.in(2)).data()[0];
      const Tensor& columns = run.in(3);
      SX_CHECK(run, columns.size() == 1 || columns.size() == s.n, "b_scale has ", columns.size(), " elements; 1 or ",
               s.n, " expected");
      b_scale.emplace(columns);
      if (columns.size() == 1) epilogue.scale *= b_scale->data()[0];
      else epilogue.column_scales = b_scale->data();
      if (run.has(6)) {
        SX_CHECK(run, run.in(6).size() == s.n, "the bias has ", run.in(6).size(), " elements; ", s.n, " expected");
        epilogue.float_bias = bias.emplace(run.in(6)).data();
      }
    }
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    const Int8Product::Operands operands{a.raw(), is_signed(a), false, b.raw(), is_signed(b), &a_zeros, &b_zeros};
    if (!scaled_) return product_.run(s, operands, epilogue, y.raw());
    const FloatOut out(y);
    product_.run(s, operands, epilogue, out.data());
    out.store();
  }

 private:
  int a_zero_, b_zero_;
  bool scaled_;
  Int8Product product_;
};

class DynamicQuantizeMatMul {
 public:
  explicit DynamicQuantizeMatMul(Prepare& p) : product_(p, 1) {}

  void operator()(Run& run) const {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const MatMulShape s(run, a.shape(), b.shape());
    ZeroPoints b_zeros;
    if (run.has(3)) b_zeros = ZeroPoints(run, run.in(3), s.n, s.batch_b.size());
    const Tensor& b_scale = run.in(2);
    SX_CHECK(run, b_scale.size() == 1 || b_scale.size() == s.n, "b_scale has ", b_scale.size(), " elements; 1 or ", s.n,
             " expected");
    Int8Epilogue epilogue;
    epilogue.output = Int8Output::kFloat32;
    if (run.has(4)) {
      SX_CHECK(run, run.in(4).size() == s.n, "the bias has ", run.in(4).size(), " elements; ", s.n, " expected");
      epilogue.float_bias = run.in(4).data<float>();
    }
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    auto* quantized = static_cast<uint8_t*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(a.size())));
    const Quantized q = quantize_dynamically(a.data<float>(), a.size(), quantized);
    Tensor zero = Tensor::scalar<uint8_t>(static_cast<uint8_t>(q.zero_point));
    const ZeroPoints a_zeros(run, zero, s.m, 1);
    epilogue.scale = q.scale;
    if (b_scale.size() == 1) epilogue.scale *= *b_scale.data<float>();
    else epilogue.column_scales = b_scale.data<float>();
    product_.run(s, {quantized, false, false, b.raw(), is_signed(b), &a_zeros, &b_zeros}, epilogue, y.raw());
  }

 private:
  Int8Product product_;
};

}  // namespace

void define_matmul_integer(OpList& ops) {
  ops.add(OpDef("MatMulInteger")
              .since(10, 10)
              .in("A", "T1", kBytes)
              .in("B", "T2", kBytes)
              .optional_in("a_zero_point", "T1", kBytes)
              .optional_in("b_zero_point", "T2", kBytes)
              .out("Y", "T3", DType::kInt32)
              .infer([](InferContext& c) { infer_matmul(c, {}, DType::kInt32); })
              .kernel([](Prepare& p) -> Kernel { return MatMulInteger(p, 2, 3, false); }));
  constexpr DTypeSet kScales = DType::kFloat32 | DType::kFloat16;
  ops.add(OpDef("MatMulIntegerToFloat", "com.microsoft")
              .in("A", "T1", kBytes)
              .in("B", "T2", kBytes)
              .in("a_scale", "T3", kScales)
              .in("b_scale", "T3", kScales)
              .optional_in("a_zero_point", "T1", kBytes)
              .optional_in("b_zero_point", "T2", kBytes)
              .optional_in("bias", "T3", kScales)
              .out("Y", "T3")
              .infer([](InferContext& c) { infer_matmul(c, {}, c.dtype(2)); })
              .kernel([](Prepare& p) -> Kernel { return MatMulInteger(p, 4, 5, true); })
              .no_gradient("its operands are quantized"));
  ops.add(OpDef("DynamicQuantizeMatMul", "com.microsoft")
              .in("A", "T1", DType::kFloat32)
              .in("B", "T2", kBytes)
              .in("b_scale", "T1", DType::kFloat32)
              .optional_in("b_zero_point", "T2", kBytes)
              .optional_in("bias", "T1", DType::kFloat32)
              .out("Y", "T1")
              .infer([](InferContext& c) { infer_matmul(c, {}, DType::kFloat32); })
              .kernel([](Prepare& p) -> Kernel { return DynamicQuantizeMatMul(p); })
              .no_gradient("its operands are quantized"));
}

}  // namespace sx
