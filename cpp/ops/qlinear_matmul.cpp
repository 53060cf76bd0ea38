// y = saturate(round((a - a_zero) (b - b_zero) a_scale b_scale / y_scale) + y_zero), and com.microsoft's QGemm.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "ops/float_io.h"
#include "ops/int8_product.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

constexpr DTypeSet kScales = kHalfFloats | DType::kFloat32;

bool is_signed(const Tensor& x) { return x.dtype() == DType::kInt8; }

float single_scale(const Run& run, int i, const char* what) {
  SX_CHECK(run, run.in(i).size() == 1, what, " has ", run.in(i).size(), " elements; 1 expected");
  return static_cast<float>(run.in(i).scalar_as_double());
}

int32_t single_zero(const Run& run, int i) {
  if (!run.has(i)) return 0;
  SX_CHECK(run, run.in(i).size() == 1, "the zero point of y has ", run.in(i).size(), " elements; 1 expected");
  return static_cast<int32_t>(run.in(i).scalar_as_int());
}

class QLinearMatMul {
 public:
  explicit QLinearMatMul(Prepare& p) : product_(p, 3) {}

  void operator()(Run& run) const {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(3);
    const MatMulShape s(run, a.shape(), b.shape());
    const ZeroPoints a_zeros(run, run.in(2), s.m, s.batch_a.size());
    const ZeroPoints b_zeros(run, run.in(5), s.n, s.batch_b.size());
    const FloatIn a_scale(run.in(1)), b_scale(run.in(4));
    const int64_t rows = run.in(1).size(), columns = run.in(4).size();
    SX_CHECK(run, rows == 1 || rows == s.m, "a_scale has ", rows, " elements; 1 or ", s.m, " expected");
    SX_CHECK(run, columns == 1 || columns == s.n, "b_scale has ", columns, " elements; 1 or ", s.n, " expected");
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    Int8Epilogue epilogue;
    epilogue.output = int8_output(y.dtype());
    epilogue.zero_point = single_zero(run, 7);
    epilogue.scale = 1.0f / single_scale(run, 6, "y_scale");
    if (rows == 1 && columns == 1)
      epilogue.scale = a_scale.data()[0] * b_scale.data()[0] / single_scale(run, 6, "y_scale");
    else if (rows == 1) epilogue.scale = a_scale.data()[0] / single_scale(run, 6, "y_scale");
    else if (columns == 1) epilogue.scale = b_scale.data()[0] / single_scale(run, 6, "y_scale");
    if (rows > 1) epilogue.row_scales = a_scale.data();
    if (columns > 1) epilogue.column_scales = b_scale.data();
    product_.run(s, {a.raw(), is_signed(a), false, b.raw(), is_signed(b), &a_zeros, &b_zeros}, epilogue, y.raw());
  }

 private:
  Int8Product product_;
};

// A: 0..2, B: 3..5, C: 6, y_scale: 7, y_zero_point: 8. Without y_scale the result is f32.
class QGemm {
 public:
  explicit QGemm(Prepare& p)
      : trans_a_(p.attr_int("transA") != 0),
        trans_b_(p.attr_int("transB") != 0),
        alpha_(p.attr_float("alpha")),
        product_(p, 3, trans_b_) {}

  void operator()(Run& run) const {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(3);
    SX_CHECK(run, a.rank() == 2 && b.rank() == 2, "multiplies ", a.shape().str(), " by ", b.shape().str(),
             "; matrices expected");
    MatMulSpec spec;
    spec.trans_a = trans_a_, spec.trans_b = trans_b_;
    const MatMulShape s(run, a.shape(), b.shape(), spec);
    const ZeroPoints a_zeros = run.has(2) ? ZeroPoints(run, run.in(2), 1, 1) : ZeroPoints();
    const ZeroPoints b_zeros = run.has(5) ? ZeroPoints(run, run.in(5), s.n, 1) : ZeroPoints();
    const Tensor& b_scale = run.in(4);
    SX_CHECK(run, b_scale.size() == 1 || b_scale.size() == s.n, "b_scale has ", b_scale.size(), " elements; 1 or ", s.n,
             " expected");
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    Int8Epilogue epilogue;
    epilogue.output = int8_output(y.dtype());
    epilogue.scale = alpha_ * single_scale(run, 1, "a_scale");
    if (b_scale.size() == 1) epilogue.scale *= *b_scale.data<float>();
    else epilogue.column_scales = b_scale.data<float>();
    if (run.has(7)) epilogue.scale /= single_scale(run, 7, "y_scale");
    epilogue.zero_point = single_zero(run, 8);
    Int8Product::Operands operands{a.raw(), is_signed(a), trans_a_, b.raw(), is_signed(b), &a_zeros, &b_zeros};
    if (run.has(6)) return with_addend(run, s, operands, epilogue, y);
    product_.run(s, operands, epilogue, y.raw());
  }

 private:
  // C [1 or m, 1 or n] in the scale of the products.
  void with_addend(const Run& run, const MatMulShape& s, const Int8Product::Operands& operands, Int8Epilogue epilogue,
                   Tensor& y) const {
    const Shape& shape = run.in(6).shape();
    const int64_t columns = shape.rank() >= 1 ? shape.back() : 1;
    const int64_t rows = shape.rank() >= 2 ? shape[shape.rank() - 2] : 1;
    SX_CHECK(run, run.in(6).size() == rows * columns && (rows == 1 || rows == s.m) && (columns == 1 || columns == s.n),
             "C is ", shape.str(), ", which does not broadcast to the result ", s.out.str());
    const int32_t* addend = run.in(6).data<int32_t>();
    if (rows == 1 && columns == s.n) {
      epilogue.bias = addend;
      return product_.run(s, operands, epilogue, y.raw());
    }
    if (columns == 1 && rows == s.m) {
      epilogue.bias = addend;
      epilogue.per_row_bias = true;
      return product_.run(s, operands, epilogue, y.raw());
    }
    // One product for each row, each with its row of C.
    auto* bias =
        static_cast<int32_t*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(s.n) * sizeof(int32_t)));
    MatMulShape row = s;
    row.m = 1;
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) bias[j] = addend[(rows == 1 ? 0 : i * columns) + (columns == 1 ? 0 : j)];
      epilogue.bias = bias;
      Int8Product::Operands one = operands;
      one.a = static_cast<const uint8_t*>(operands.a) + i * (trans_a_ ? 1 : s.ld_a);
      product_.run(row, one, epilogue,
                   static_cast<uint8_t*>(y.raw()) + i * s.n * static_cast<int64_t>(size_of(y.dtype())));
    }
  }

  bool trans_a_, trans_b_;
  float alpha_;
  Int8Product product_;
};

void infer_qgemm(InferContext& c) {
  MatMulSpec spec;
  spec.trans_a = c.attr_int("transA") != 0;
  spec.trans_b = c.attr_int("transB") != 0;
  const DType dtype = c.has(8) ? c.dtype(8) : c.has(7) ? c.dtype(0) : DType::kFloat32;
  infer_matmul(c, spec, dtype, 3);
}

// Codes of 8-bit floats are multiplied as the f32 numbers that they stand for.
void multiply_floats(UpgradeContext& c) {
  bool floats = false;
  for (size_t i : {0u, 3u, 7u}) floats = floats || (c.has_input(i) && is_float(c.input(i).type.dtype));
  if (!floats) return;
  auto single = [&](size_t i) {
    return c.emit("Cast", {c.draft().inputs[i]}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  };
  auto operand = [&](size_t i, int64_t axis) {
    return c.emit("DequantizeLinear", {c.draft().inputs[i], single(i + 1), c.draft().inputs[i + 2]}, {{"axis", axis}});
  };
  const ValueId product = c.emit("MatMul", {operand(0, -2), operand(3, -1)});
  const std::vector<ValueId> inputs{product, single(6), c.draft().inputs[7]};
  c.become("QuantizeLinear");
  c.draft().inputs = inputs;
}

}  // namespace

void define_qlinear_matmul(OpList& ops) {
  ops.add(OpDef("QLinearMatMul")
              .since(21, 10)
              .in("a", "T1", kBytes | kFloat8s)
              .in("a_scale", "TS", kScales)
              .in("a_zero_point", "T1", kBytes | kFloat8s)
              .in("b", "T2", kBytes | kFloat8s)
              .in("b_scale", "TS", kScales)
              .in("b_zero_point", "T2", kBytes | kFloat8s)
              .in("y_scale", "TS", kScales)
              .in("y_zero_point", "T3", kBytes | kFloat8s)
              .upgrade(kNewestOpset + 1, multiply_floats)
              .out("y", "T3")
              .infer([](InferContext& c) { infer_matmul(c, {}, c.dtype(7), 3); })
              .kernel([](Prepare& p) -> Kernel { return QLinearMatMul(p); }));
  ops.add(OpDef("QGemm", "com.microsoft")
              .attr("transA", 0)
              .attr("transB", 0)
              .attr("alpha", 1.0f)
              .in("A", "TA", kBytes)
              .in("a_scale", "T", DType::kFloat32)
              .in("a_zero_point", "TA", kBytes)
              .in("B", "TB", kBytes)
              .in("b_scale", "T", DType::kFloat32)
              .in("b_zero_point", "TB", kBytes)
              .optional_in("C", "TC", DType::kInt32)
              .optional_in("y_scale", "T", DType::kFloat32)
              .optional_in("y_zero_point", "TYZ", kBytes)
              .out("Y", "TY", kBytes | DType::kFloat32)
              .infer(infer_qgemm)
              .kernel([](Prepare& p) -> Kernel { return QGemm(p); }));
}

}  // namespace sx
