// y = saturate(round((a - a_zero) (b - b_zero) a_scale b_scale / y_scale) + y_zero), the same with what QLinearAdd
// makes of it and a vector (QLinearMatMulAdd, which only the passes make), and com.microsoft's QGemm.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "ops/convert.h"
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

// With 8-bit floats among the types: the product of the widened operands, in f32.
class FloatQLinearMatMul {
 public:
  void operator()(Run& run) const {
    const MatMulShape s(run, run.in(0).shape(), run.in(3).shape());
    const Tensor a = centered(run, 0, 2, s.m, s.m * s.k, s.k);
    const Tensor b = centered(run, 3, 5, s.n, s.k * s.n, 1);
    const FloatIn a_scale(run.in(1)), b_scale(run.in(4));
    const int64_t rows = run.in(1).size(), columns = run.in(4).size();
    SX_CHECK(run, rows == 1 || rows == s.m, "a_scale has ", rows, " elements; 1 or ", s.m, " expected");
    SX_CHECK(run, columns == 1 || columns == s.n, "b_scale has ", columns, " elements; 1 or ", s.n, " expected");
    const float y_scale = single_scale(run, 6, "y_scale");
    SX_CHECK(run, run.in(7).size() == 1, "the zero point of y has ", run.in(7).size(), " elements; 1 expected");
    float y_zero;
    convert_elements(run.in(7).dtype(), DType::kFloat32, run.in(7).raw(), &y_zero, 1);
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    Tensor wide(DType::kFloat32, s.out);
    for (int64_t i = 0; i < s.products(); ++i) {
      float* c = wide.data<float>() + i * s.m * s.n;
      multiply(DenseProduct<float>{s.m, s.n, s.k, a.data<float>() + s.matrix_a(i) * s.step_a, s.ld_a,
                                   b.data<float>() + s.matrix_b(i) * s.step_b, s.ld_b, false, c, s.n});
      for (int64_t j = 0; j < s.m * s.n; ++j) {
        const float scale = a_scale.data()[rows == 1 ? 0 : j / s.n] * b_scale.data()[columns == 1 ? 0 : j % s.n];
        c[j] = c[j] * scale / y_scale;
        // Integers are rounded before the zero point is added.
        if (!is_float(y.dtype())) c[j] = std::clamp(std::nearbyint(c[j]) + y_zero, least(y.dtype()), most(y.dtype()));
        else c[j] += y_zero;
        if (std::isnan(c[j]) && !is_float(y.dtype())) c[j] = least(y.dtype());
      }
    }
    convert_elements(DType::kFloat32, y.dtype(), wide.raw(), y.raw(), y.size());
  }

 private:
  static float least(DType dtype) { return dtype == DType::kInt8 ? -128.0f : 0.0f; }
  static float most(DType dtype) { return dtype == DType::kInt8 ? 127.0f : 255.0f; }

  // Input `x` less its zero points: one, `count` of them, or `count` for each matrix of `size` elements. Element i of a
  // matrix belongs to zero point i / repeat % count.
  static Tensor centered(const Run& run, int x, int zero, int64_t count, int64_t size, int64_t repeat) {
    Tensor wide(DType::kFloat32, run.in(x).shape());
    convert_elements(run.in(x).dtype(), DType::kFloat32, run.in(x).raw(), wide.raw(), wide.size());
    const int64_t n = run.in(zero).size();
    SX_CHECK(run, n == 1 || n == count || (size > 0 && n == wide.size() / size * count), "has ", n,
             " zero points; 1 or ", count, " expected");
    std::vector<float> zeros(static_cast<size_t>(n));
    convert_elements(run.in(zero).dtype(), DType::kFloat32, run.in(zero).raw(), zeros.data(), n);
    for (int64_t i = 0; i < wide.size(); ++i) {
      const int64_t within = i % size / repeat % count;
      const int64_t at = n == 1 ? 0 : n == count ? within : i / size * count + within;
      wide.data<float>()[i] -= zeros[static_cast<size_t>(at)];
    }
    return wide;
  }
};

class QLinearMatMul {
 public:
  explicit QLinearMatMul(Prepare& p) : product_(p, 3) {
    if (p.node().inputs.size() > 8) prepare_sum(p);
  }

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
    if (addends_.defined()) {
      SX_CHECK(run, addends_.size() == s.n, "the addend has ", addends_.size(), " elements; ", s.n, " expected");
      epilogue.addends = addends_.data<float>();
      epilogue.sum_scale = sum_scale_;
      epilogue.sum_zero = sum_zero_;
    }
    product_.run(s, {a.raw(), is_signed(a), false, b.raw(), is_signed(b), &a_zeros, &b_zeros}, epilogue, y.raw());
  }

 private:
  // What is added, in steps of the sum.
  void prepare_sum(Prepare& p) {
    for (int i = 8; i <= 13; ++i) SX_CHECK(p, p.constant(i) != nullptr, "needs constants to add");
    const auto single = [&](int i) { return static_cast<float>(p.constant(i)->scalar_as_double()); };
    const float step = single(12);
    sum_scale_ = single(11) / step;
    sum_zero_ = static_cast<int32_t>(p.constant(13)->scalar_as_int());
    const float scale = single(9) / step, zero = single(10);
    const Tensor addend = p.constant(8)->borrow();
    addends_ = Tensor(DType::kFloat32, Shape{addend.size()});
    convert_elements(addend.dtype(), DType::kFloat32, addend.raw(), addends_.raw(), addend.size());
    for (int64_t j = 0; j < addend.size(); ++j) addends_.data<float>()[j] = (addends_.data<float>()[j] - zero) * scale;
  }

  Int8Product product_;
  Tensor addends_;
  float sum_scale_ = 0.0f;
  int32_t sum_zero_ = 0;
};

Kernel make_qlinear_matmul(Prepare& p) {
  for (int i : {0, 3, 7})
    if (is_float(p.dtype(i))) return FloatQLinearMatMul();
  return QLinearMatMul(p);
}

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
              .out("y", "T3")
              .infer([](InferContext& c) { infer_matmul(c, {}, c.dtype(7), 3); })
              .kernel(make_qlinear_matmul)
              .zero_gradient());
  ops.add(OpDef("QLinearMatMulAdd", "sardonyx")
              .in("a", "T1", kBytes)
              .in("a_scale", "", DType::kFloat32)
              .in("a_zero_point", "T1", kBytes)
              .in("b", "T2", kBytes)
              .in("b_scale", "", DType::kFloat32)
              .in("b_zero_point", "T2", kBytes)
              .in("c_scale", "", DType::kFloat32)
              .in("c_zero_point", "T3", kBytes)
              .in("addend", "T3", kBytes)
              .in("addend_scale", "", DType::kFloat32)
              .in("addend_zero_point", "T3", kBytes)
              .in("own_scale", "", DType::kFloat32)
              .in("y_scale", "", DType::kFloat32)
              .in("y_zero_point", "T3", kBytes)
              .out("y", "T3")
              .infer([](InferContext& c) { infer_matmul(c, {}, c.dtype(13), 3); })
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
              .kernel([](Prepare& p) -> Kernel { return QGemm(p); })
              .no_gradient("its operands are quantized"));
}

}  // namespace sx
