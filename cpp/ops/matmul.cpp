// y = a b, stacks of matrices multiplied under NumPy's matmul rules, and the fused forms of it.
#include "ops/gradient.h"
#include "ops/matmul.h"

#include <algorithm>
#include <vector>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "ops/float_io.h"
#include "ops/pack_matrix.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kFloatsPerLine = 16;

int64_t round_to_line(int64_t floats) {
  return checked_add(floats, kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine;
}

// The batch, row and column extents of an operand; a vector is one row of A or one column of B.
template <typename Extents>
struct Operand {
  Extents batch;
  typename std::decay_t<decltype(std::declval<Extents>()[0])> rows{1}, columns{1};
};

template <typename Extents>
Operand<Extents> operand(const Extents& shape, int rank, bool is_a, bool trans, bool batch_inside) {
  Operand<Extents> x;
  if (rank == 1) {
    (is_a ? x.columns : x.rows) = shape[0];
    return x;
  }
  x.rows = shape[batch_inside ? 0 : rank - 2];
  x.columns = shape[rank - 1];
  for (int i = 0; i < rank - 2; ++i) x.batch.push_back(shape[batch_inside ? i + 1 : i]);
  if (trans) std::swap(x.rows, x.columns);
  return x;
}

}  // namespace

void infer_matmul(InferContext& c, const MatMulSpec& spec, DType dtype, int second) {
  if (!c.has_shape(0) || !c.has_shape(second)) return c.out(0, dtype, std::nullopt);
  SX_CHECK(c, c.rank(0) >= 1 && c.rank(second) >= 1, "multiplies ", c.type(0).str(), " by ", c.type(second).str(),
           "; both must have at least one axis");
  const auto a = operand(c.shape(0), c.rank(0), true, spec.trans_a, spec.batch_inside_a);
  const auto b = operand(c.shape(second), c.rank(second), false, spec.trans_b, spec.batch_inside_b);
  SX_CHECK(c, !a.columns.known() || !b.rows.known() || a.columns == b.rows, "multiplies ", c.type(0).str(), " by ",
           c.type(second).str(), "; the inner extents ", a.columns.str(), " and ", b.rows.str(), " must be equal");
  SymShape out = broadcast(c, a.batch, b.batch);
  if (c.rank(0) > 1) out.push_back(a.rows);
  if (c.rank(second) > 1) out.push_back(b.columns);
  if (spec.bias != kNone && c.has_shape(spec.bias)) {
    const SymShape& bias = c.shape(spec.bias);
    SX_CHECK(
        c, bias.size() == 1 && (!bias[0].known() || !b.columns.known() || bias[0] == b.columns || bias[0] == Dim(1)),
        "the bias is ", c.type(spec.bias).str(), "; one value for each of the ", b.columns.str(), " columns expected");
  }
  c.out(0, dtype, out);
}

MatMulShape::MatMulShape(const Run& run, const Shape& a, const Shape& b, const MatMulSpec& spec)
    : trans_a(spec.trans_a && a.rank() > 1), trans_b(spec.trans_b && b.rank() > 1) {
  SX_CHECK(run, a.rank() >= 1 && b.rank() >= 1, "multiplies ", a.str(), " by ", b.str(),
           "; both must have at least one axis");
  const bool inside_a = spec.batch_inside_a && a.rank() > 2;
  const bool inside_b = spec.batch_inside_b && b.rank() > 2;
  const auto left = operand(a, a.rank(), true, trans_a, inside_a);
  const auto right = operand(b, b.rank(), false, trans_b, inside_b);
  SX_CHECK(run, left.columns == right.rows, "multiplies ", a.str(), " by ", b.str(), "; the inner extents ",
           left.columns, " and ", right.rows, " must be equal");
  m = left.rows;
  n = right.columns;
  k = left.columns;
  batch_a = left.batch;
  batch_b = right.batch;
  batch = out = broadcast(batch_a, batch_b);
  if (a.rank() > 1) out.push_back(m);
  if (b.rank() > 1) out.push_back(n);
  const int64_t width_a = trans_a ? m : k;
  const int64_t width_b = trans_b ? k : n;
  ld_a = inside_a ? checked_mul(batch_a.size(), width_a) : width_a;
  ld_b = inside_b ? checked_mul(batch_b.size(), width_b) : width_b;
  step_a = inside_a ? width_a : checked_mul(m, k);
  step_b = inside_b ? width_b : checked_mul(k, n);
  one_product = batch_b.size() == 1 && !inside_a && (!trans_a || batch.size() == 1);
}

int64_t MatMulShape::matrix(const Shape& stored, int64_t index) const {
  int64_t result = 0;
  int64_t step = 1;
  for (int axis = batch.rank() - 1, from = stored.rank() - 1; from >= 0; --axis, --from) {
    if (stored[from] != 1) result += index % batch[axis] * step;
    step *= stored[from];
    index /= batch[axis];
  }
  return result;
}

template <typename T>
void plain_product(const PlainProduct<T>& p, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) {
    T* c = p.c + i * p.n;
    const T* a = p.a + i * p.a_row;
    if (p.b_column == 1) {
      std::fill(c, c + p.n, T{0});
      for (int64_t k = 0; k < p.k; ++k) {
        const T factor = a[k * p.a_column];
        const T* b = p.b + k * p.b_row;
        for (int64_t j = 0; j < p.n; ++j) c[j] += factor * b[j];
      }
    } else {
      for (int64_t j = 0; j < p.n; ++j) {
        T sum{0};
        for (int64_t k = 0; k < p.k; ++k) sum += a[k * p.a_column] * p.b[k * p.b_row + j * p.b_column];
        c[j] = sum;
      }
    }
  }
}
template void plain_product(const PlainProduct<double>&, int64_t, int64_t);
template void plain_product(const PlainProduct<uint32_t>&, int64_t, int64_t);
template void plain_product(const PlainProduct<uint64_t>&, int64_t, int64_t);

int64_t plain_product_grain(int64_t n, int64_t k) {
  return std::max<int64_t>(1, (int64_t{1} << 16) / std::max<int64_t>(1, n * k));
}

Gemm gemm_of(const DenseProduct<float>& p) {
  Gemm g;
  g.m = p.m, g.n = p.n, g.k = p.k;
  g.a = p.a, g.lda = p.lda;
  g.b = p.b, g.ldb = p.ldb, g.trans_b = p.trans_b;
  g.c = p.c, g.ldc = p.ldc;
  g.epilogue.scale = p.scale;
  return g;
}

void multiply(const DenseProduct<float>& p) { gemm(gemm_of(p)); }

void multiply(const DenseProduct<double>& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    PlainProduct<double> row;
    row.m = 1, row.n = p.n, row.k = p.k;
    row.a = p.a + i * p.lda, row.a_column = 1;
    row.b = p.b, row.b_row = p.trans_b ? 1 : p.ldb, row.b_column = p.trans_b ? p.ldb : 1;
    row.c = p.c + i * p.ldc;
    plain_product(row, 0, 1);
    for (int64_t j = 0; j < p.n && p.scale != 1.0f; ++j) row.c[j] *= static_cast<double>(p.scale);
  }
}

namespace {

template <typename T>
void multiply_plain(const MatMulShape& s, const T* a, const T* b, T* y, float alpha) {
  parallel_for(s.products() * s.m, plain_product_grain(s.n, s.k), [&](int64_t from, int64_t to) {
    for (int64_t row = from; row < to;) {
      const int64_t index = row / s.m;
      const int64_t first = row % s.m;
      const int64_t last = std::min(s.m, first + to - row);
      PlainProduct<T> p;
      p.m = s.m, p.n = s.n, p.k = s.k;
      p.a = a + s.matrix_a(index) * s.step_a;
      p.b = b + s.matrix_b(index) * s.step_b;
      p.a_row = s.trans_a ? 1 : s.ld_a, p.a_column = s.trans_a ? s.ld_a : 1;
      p.b_row = s.trans_b ? 1 : s.ld_b, p.b_column = s.trans_b ? s.ld_b : 1;
      p.c = y + index * s.m * s.n;
      plain_product(p, first, last);
      if (alpha != 1.0f)
        for (int64_t i = first * s.n; i < last * s.n; ++i) p.c[i] = static_cast<T>(p.c[i] * static_cast<T>(alpha));
      row += last - first;
    }
  });
}

Kernel make_plain(const MatMulSpec& spec) {
  return [spec](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const MatMulShape s(run, a.shape(), b.shape(), spec);
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    if (a.dtype() == DType::kFloat64) {
      multiply_plain(s, a.data<double>(), b.data<double>(), y.data<double>(), spec.alpha);
    } else if (size_of(a.dtype()) == 4) {
      // Signed and unsigned products agree in the low bits.
      multiply_plain(s, static_cast<const uint32_t*>(a.raw()), static_cast<const uint32_t*>(b.raw()),
                     static_cast<uint32_t*>(y.raw()), 1.0f);
    } else {
      multiply_plain(s, static_cast<const uint64_t*>(a.raw()), static_cast<const uint64_t*>(b.raw()),
                     static_cast<uint64_t*>(y.raw()), 1.0f);
    }
  };
}

// All matrices of a constant operand packed one after another, each at a multiple of 64 bytes.
struct Packed {
  Tensor data;
  int64_t step = 0;
  bool defined() const { return data.defined(); }
};

Packed pack_constant(Prepare& p, int index, const MatMulSpec& spec) {
  Packed packed;
  const Tensor* constant = p.constant(index);
  if (constant == nullptr || constant->rank() < 1 || constant->size() == 0) return packed;
  const bool is_a = index == 0;
  const bool trans = (is_a ? spec.trans_a : spec.trans_b) && constant->rank() > 1;
  const bool inside = (is_a ? spec.batch_inside_a : spec.batch_inside_b) && constant->rank() > 2;
  const auto x = operand(constant->shape(), constant->rank(), is_a, trans, inside);
  const auto size = [&](Precision precision) {
    return round_to_line(is_a ? packed_a_size(x.rows, x.columns)
                              : packed_b_size(x.rows, x.columns, active_isa(), precision));
  };
  packed.data = p.shared(is_a ? "a" : "b", [&] {
    const int64_t count = x.batch.size();
    if (!is_a && count == 1)
      return pack_matrix(constant->reshaped(trans ? Shape{x.columns, x.rows} : Shape{x.rows, x.columns}), trans,
                         p.precision());
    const Tensor from = to_f32(constant->borrow());
    // An A is f32: few models have weights there.
    const Precision precision = is_a ? Precision::kF32 : kept_precision(from.data<float>(), from.size(), p.precision());
    const int64_t step = size(precision);
    const Tensor to = packed_memory(checked_mul(count, step), precision);
    const int64_t width = trans ? x.rows : x.columns;
    const int64_t ld = inside ? count * width : width;
    for (int64_t i = 0; i < count; ++i) {
      const float* matrix = from.data<float>() + i * (inside ? width : x.rows * x.columns);
      float* place = packed_words(to) + i * step;
      if (is_a) pack_a(x.rows, x.columns, matrix, ld, trans, place);
      else pack_b(x.rows, x.columns, matrix, ld, trans, place, active_isa(), precision);
    }
    return to;
  });
  packed.step = size(packed_precision(packed.data));
  return packed;
}

class FloatMatMul {
 public:
  FloatMatMul(Prepare& p, const MatMulSpec& spec) : spec_(spec) {
    b_ = pack_constant(p, 1, spec);
    if (!b_.defined()) a_ = pack_constant(p, 0, spec);
    if (b_.defined()) precision_ = packed_precision(b_.data);
    else if (!a_.defined()) precision_ = changing_precision(p.precision());
    spec_.activation.set(epilogue_);
    epilogue_.scale = spec.alpha;
    describe_precision(p, precision_);
  }

  void operator()(Run& run) const {
    const MatMulShape s(run, run.in(0).shape(), run.in(1).shape(), spec_);
    Gemm g;
    g.epilogue = epilogue_;
    g.m = s.m, g.n = s.n, g.k = s.k;
    g.lda = s.ld_a, g.ldb = s.ld_b, g.ldc = s.n;
    g.trans_a = s.trans_a, g.trans_b = s.trans_b;

    std::optional<FloatIn> a, b, bias, residual;
    if (spec_.a_panels) g.packed_a = static_cast<const float*>(run.in(0).raw());
    else if (a_.defined()) g.packed_a = packed_words(a_.data);
    else g.a = a.emplace(run.in(0)).data();
    g.precision = precision_;
    if (b_.defined()) g.packed_b = packed_words(b_.data);
    else g.b = b.emplace(run.in(1)).data();
    if (spec_.bias != kNone && run.has(spec_.bias)) g.epilogue.column_bias = column_bias(run, s, bias);
    if (spec_.residual != kNone && run.has(spec_.residual)) {
      const Tensor& tensor = run.in(spec_.residual);
      SX_CHECK(run, tensor.shape() == s.out, "the residual is ", tensor.shape().str(), " but the result is ",
               s.out.str());
      g.epilogue.residual = residual.emplace(tensor).data();
      g.epilogue.residual_stride = s.n;
    }
    Tensor& y = run.out(0, s.out);
    if (y.size() == 0) return;
    if (spec_.y_panels) {
      g.c_panels = true;
      g.c = static_cast<float*>(y.raw());
      return multiply(s, g);
    }
    const FloatOut out(y);
    g.c = out.data();
    multiply(s, g);
    out.store();
  }

 private:
  const float* column_bias(const Run& run, const MatMulShape& s, std::optional<FloatIn>& view) const {
    const Tensor& tensor = run.in(spec_.bias);
    SX_CHECK(run, tensor.size() == s.n || tensor.size() == 1, "the bias has ", tensor.size(),
             " elements but the result has ", s.n, " columns");
    const float* bias = view.emplace(tensor).data();
    if (tensor.size() == s.n) return bias;
    auto* filled =
        static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(s.n) * sizeof(float)));
    std::fill(filled, filled + s.n, *bias);
    return filled;
  }

  void multiply(const MatMulShape& s, Gemm& g) const {
    const int64_t products = s.products();
    if (products == 1) return gemm(g);
    if (s.one_product && !a_.defined()) {
      g.m = products * s.m;
      return gemm(g);
    }
    const int64_t step_a = a_.defined() ? a_.step : s.step_a;
    const int64_t step_b = b_.defined() ? b_.step : s.step_b;
    const bool all_a = s.batch_a.size() == products;
    const bool all_b = s.batch_b.size() == products;
    if ((all_a || s.batch_a.size() == 1) && (all_b || s.batch_b.size() == 1)) {
      const int64_t step = s.m * s.n;
      return gemm_batched(g, products, {all_a ? step_a : 0, all_b ? step_b : 0, step, step});
    }
    for (int64_t i = 0; i < products; ++i) {
      Gemm one = g;
      (a_.defined() ? one.packed_a : one.a) += s.matrix_a(i) * step_a;
      (b_.defined() ? one.packed_b : one.b) += s.matrix_b(i) * step_b;
      one.c += i * s.m * s.n;
      if (one.epilogue.residual != nullptr) one.epilogue.residual += i * s.m * s.n;
      gemm(one);
    }
  }

  MatMulSpec spec_;
  Packed a_, b_;
  Precision precision_ = Precision::kF32;
  Epilogue epilogue_;
};

MatMulSpec fused_spec(const NodeView& node) {
  MatMulSpec spec;
  spec.trans_a = node.attr_int("transA") != 0;
  spec.trans_b = node.attr_int("transB") != 0;
  spec.alpha = node.attr_float("alpha");
  spec.activation = read_fused_activation(node);
  spec.bias = 2;
  spec.residual = 3;
  return spec;
}

MatMulSpec panel_spec(const NodeView& node) {
  MatMulSpec spec = fused_spec(node);
  spec.a_panels = node.attr_int("a_panels") != 0;
  spec.y_panels = node.attr_int("y_panels") != 0;
  return spec;
}

void infer_panel_matmul(InferContext& c) {
  const MatMulSpec spec = panel_spec(c);
  infer_matmul(c, spec, spec.y_panels ? DType::kBFloat16 : DType::kFloat32);
}

Kernel make_panel_matmul(Prepare& p) {
  const MatMulSpec spec = panel_spec(p);
  const Tensor* b = p.constant(1);
  SX_CHECK(p, b != nullptr && b->rank() == 2 && !spec.trans_a && changing_precision(p.precision()) == Precision::kBf16,
           "multiplies panels of bf16 by a constant matrix, on CPUs that can and where it is allowed");
  return FloatMatMul(p, spec);
}

MatMulSpec microsoft_spec(const NodeView& node) {
  MatMulSpec spec;
  spec.trans_a = node.attr_int("transA") != 0;
  spec.trans_b = node.attr_int("transB") != 0;
  spec.batch_inside_a = node.attr_int("transBatchA") != 0;
  spec.batch_inside_b = node.attr_int("transBatchB") != 0;
  spec.alpha = node.attr_float("alpha");
  return spec;
}

// Operators whose spec follows from their attributes.
template <typename SpecOf>
void add_matmul(OpDef& op, SpecOf spec_of) {
  op.infer([spec_of](InferContext& c) { infer_matmul(c, spec_of(c), c.dtype(0)); });
  op.kernel([spec_of](Prepare& p) { return make_matmul(p, spec_of(p)); });
}

// dA = dY B^T and dB = A^T dY, summed over what was broadcast; a vector is a matrix of one row or column.
void differentiate_matmul(GradientContext& c) {
  Expr a = c.in(0);
  Expr b = c.in(1);
  Expr dy = c.grad();
  SX_CHECK(c, a.rank() > 0 && b.rank() > 0, "has no gradient where the ranks of its inputs are unknown");
  if (b.rank() == 1) {
    b = c.unsqueeze(b, {1});
    dy = c.unsqueeze(dy, {-1});
  }
  if (a.rank() == 1) {
    a = c.unsqueeze(a, {0});
    dy = c.unsqueeze(dy, {-2});
  }
  if (c.wants(0)) c.give(0, c.reshape_like(c.sum_like(c.op("MatMul", {dy, c.swap_last(b)}), a), c.in(0)));
  if (!c.wants(1)) return;
  if (b.rank() == 2 && a.rank() > 2) {
    // One product over all rows in place of one for each matrix and a sum.
    a = c.op("Flatten", {a}, {{"axis", int64_t{-1}}});
    dy = c.op("Flatten", {dy}, {{"axis", int64_t{-1}}});
  }
  c.give(1, c.reshape_like(c.sum_like(c.op("MatMul", {c.swap_last(a), dy}), b), c.in(1)));
}

// Through the product of what the attributes make of A and B.
void differentiate_microsoft(GradientContext& c) {
  const auto operand = [&](size_t i, const char* transposed, const char* batch_inside) {
    Expr x = c.in(i);
    SX_CHECK(c, x.rank() >= 0, "has no gradient where the ranks of its inputs are unknown");
    if (c.attr_int(batch_inside) != 0 && x.rank() >= 2) {
      std::vector<int64_t> order;
      for (int axis = 1; axis + 1 < x.rank(); ++axis) order.push_back(axis);
      order.insert(order.end(), {0, x.rank() - 1});
      x = c.transpose(x, order);
    }
    return c.attr_int(transposed) != 0 && x.rank() >= 2 ? c.swap_last(x) : x;
  };
  const Expr y = c.op("MatMul", {operand(0, "transA", "transBatchA"), operand(1, "transB", "transBatchB")});
  c.give_through({y * static_cast<double>(c.attr_float("alpha"))});
}

}  // namespace

Kernel make_matmul(Prepare& p, const MatMulSpec& spec) {
  const DType dtype = p.dtype(0);
  if (is_integer(dtype) || dtype == DType::kFloat64) return make_plain(spec);
  return FloatMatMul(p, spec);
}

void define_matmul(OpList& ops) {
  constexpr DTypeSet kTypes = kFloats | DType::kInt32 | DType::kInt64 | DType::kUInt32 | DType::kUInt64;
  add_matmul(ops.add(OpDef("MatMul")
                         .since(13)
                         .in("A", "T", kTypes)
                         .in("B", "T", kTypes)
                         .out("Y", "T")
                         .gradient(differentiate_matmul)),
             [](const NodeView&) { return MatMulSpec{}; });

  OpDef& fused = ops.add(OpDef("MatMul", "sardonyx")
                             .attr("transA", 0)
                             .attr("transB", 0)
                             .attr("alpha", 1.0f)
                             .in("A", "T", kHalfFloats | DType::kFloat32)
                             .in("B", "T", kHalfFloats | DType::kFloat32)
                             .optional_in("bias", "T", kHalfFloats | DType::kFloat32)
                             .optional_in("residual", "T", kHalfFloats | DType::kFloat32)
                             .out("Y", "T")
                             .in_place({3}));
  add_fused_activation_attrs(fused);
  add_matmul(fused, fused_spec);

  OpDef& panels = ops.add(OpDef("PanelMatMul", "sardonyx")
                              .attr("transA", 0)
                              .attr("transB", 0)
                              .attr("alpha", 1.0f)
                              .attr("a_panels", 0)
                              .attr("y_panels", 0)
                              .in("A", "", DType::kBFloat16 | DType::kFloat32)
                              .in("B", "", DType::kFloat32)
                              .optional_in("bias", "", DType::kFloat32)
                              .optional_in("residual", "", DType::kFloat32)
                              .out("Y", "", DType::kBFloat16 | DType::kFloat32)
                              .in_place({3})
                              .infer(infer_panel_matmul)
                              .kernel(make_panel_matmul));
  add_fused_activation_attrs(panels);

  for (const char* name : {"FusedMatMul", "TransposeMatMul"})
    add_matmul(ops.add(OpDef(name, "com.microsoft")
                           .attr("transA", 0)
                           .attr("transB", 0)
                           .attr("transBatchA", 0)
                           .attr("transBatchB", 0)
                           .attr("alpha", 1.0f)
                           .in("A", "T", kFloats)
                           .in("B", "T", kFloats)
                           .out("Y", "T")
                           .gradient(differentiate_microsoft)),
               microsoft_spec);
}

}  // namespace sx
