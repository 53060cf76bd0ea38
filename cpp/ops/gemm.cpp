// Y = alpha op(A) op(B) + beta C, with C broadcast to the result; com.microsoft's FusedGemm applies an activation to
// it.
#include <algorithm>
#include <optional>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/matmul.h"
#include "ops/pack_matrix.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

struct GemmSpec {
  bool trans_a, trans_b;
  float alpha, beta;
  FusedActivation activation;
};

GemmSpec gemm_spec(const NodeView& node) {
  return {node.attr_int("transA") != 0,
          node.attr_int("transB") != 0,
          node.attr_float("alpha"),
          node.attr_float("beta"),
          {}};
}

GemmSpec fused_gemm_spec(const NodeView& node) {
  GemmSpec spec = gemm_spec(node);
  spec.activation = read_fused_activation(node);
  return spec;
}

struct GemmShape {
  int64_t m, n, k;
  int64_t lda, ldb;
};

GemmShape gemm_shape(const Run& run, const GemmSpec& spec) {
  const Shape& a = run.in(0).shape();
  const Shape& b = run.in(1).shape();
  SX_CHECK(run, a.rank() == 2 && b.rank() == 2, "multiplies ", a.str(), " by ", b.str(), "; matrices expected");
  const int64_t k = spec.trans_a ? a[0] : a[1];
  const int64_t other = spec.trans_b ? b[1] : b[0];
  SX_CHECK(run, k == other, "multiplies ", a.str(), " by ", b.str(), "; the inner extents ", k, " and ", other,
           " must be equal");
  return {spec.trans_a ? a[1] : a[0], spec.trans_b ? b[0] : b[1], k, a[1], b[1]};
}

// How C stretches over the result: 0 where it has one row (column), else its row (column) stride.
struct Addend {
  int64_t rows = 1, columns = 1;
  int64_t row_step() const { return rows == 1 ? 0 : columns; }
  int64_t column_step() const { return columns == 1 ? 0 : 1; }
};

Addend addend(const Run& run, const GemmShape& s) {
  const Shape& c = run.in(2).shape();
  Addend x;
  if (c.rank() >= 1) x.columns = c.back();
  if (c.rank() >= 2) x.rows = c[c.rank() - 2];
  SX_CHECK(run,
           c.size() == x.rows * x.columns && (x.rows == 1 || x.rows == s.m) && (x.columns == 1 || x.columns == s.n),
           "C is ", c.str(), ", which does not broadcast to the result [", s.m, ",", s.n, "]");
  return x;
}

template <typename T, typename Stored>
void run_plain(Run& run, const GemmSpec& spec, const GemmShape& s, Tensor& y) {
  PlainProduct<T> p;
  p.m = s.m, p.n = s.n, p.k = s.k;
  p.a = static_cast<const T*>(run.in(0).raw());
  p.b = static_cast<const T*>(run.in(1).raw());
  p.c = static_cast<T*>(y.raw());
  p.a_row = spec.trans_a ? 1 : s.lda, p.a_column = spec.trans_a ? s.lda : 1;
  p.b_row = spec.trans_b ? 1 : s.ldb, p.b_column = spec.trans_b ? s.ldb : 1;
  const bool has_c = run.has(2) && spec.beta != 0.0f;
  const Addend x = has_c ? addend(run, s) : Addend();
  const T* c = has_c ? static_cast<const T*>(run.in(2).raw()) : nullptr;
  // Integer results are scaled in double and cut off; a factor of one keeps all 64 bits.
  auto scaled = [](T value, float factor) {
    if (factor == 1.0f) return value;
    const double product = static_cast<double>(static_cast<Stored>(value)) * static_cast<double>(factor);
    if constexpr (std::is_same_v<T, double>) {
      return product;
    } else {
      constexpr double kLimit = 9.2e18;
      return static_cast<T>(static_cast<int64_t>(product > kLimit ? kLimit : product > -kLimit ? product : -kLimit));
    }
  };
  parallel_for(s.m, plain_product_grain(s.n, s.k), [&](int64_t from, int64_t to) {
    plain_product(p, from, to);
    for (int64_t i = from; i < to; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        T& value = p.c[i * s.n + j];
        value = scaled(value, spec.alpha);
        if (c != nullptr) value += scaled(c[i * x.row_step() + j * x.column_step()], spec.beta);
      }
  });
}

Kernel make_plain(const GemmSpec& spec, DType dtype) {
  return [spec, dtype](Run& run) {
    const GemmShape s = gemm_shape(run, spec);
    Tensor& y = run.out(0, Shape{s.m, s.n});
    switch (dtype) {
      case DType::kFloat64: return run_plain<double, double>(run, spec, s, y);
      case DType::kInt32: return run_plain<uint32_t, int32_t>(run, spec, s, y);
      case DType::kUInt32: return run_plain<uint32_t, uint32_t>(run, spec, s, y);
      case DType::kInt64: return run_plain<uint64_t, int64_t>(run, spec, s, y);
      default: return run_plain<uint64_t, uint64_t>(run, spec, s, y);
    }
  };
}

class FloatGemm {
 public:
  FloatGemm(Prepare& p, const GemmSpec& spec) : spec_(spec) {
    spec.activation.set(epilogue_);
    epilogue_.scale = spec.alpha;
    const Tensor* b = p.constant(1);
    const bool packs = b != nullptr && b->rank() == 2 && b->size() > 0;
    if (packs) packed_ = p.shared("b", [&] { return pack_matrix(*b, spec.trans_b, p.precision()); });
    precision_ = packs ? packed_precision(packed_) : changing_precision(p.precision());
    describe_precision(p, precision_);
  }

  void operator()(Run& run) const {
    const GemmShape s = gemm_shape(run, spec_);
    Gemm g;
    g.epilogue = epilogue_;
    g.precision = precision_;
    g.m = s.m, g.n = s.n, g.k = s.k;
    g.lda = s.lda, g.ldb = s.ldb, g.ldc = s.n;
    g.trans_a = spec_.trans_a, g.trans_b = spec_.trans_b;
    const FloatIn a(run.in(0));
    g.a = a.data();
    std::optional<FloatIn> b, c;
    if (packed_.defined()) g.packed_b = packed_words(packed_);
    else g.b = b.emplace(run.in(1)).data();
    if (run.has(2) && spec_.beta != 0.0f) add_c(addend(run, s), s, c.emplace(run.in(2)).data(), g.epilogue);
    Tensor& y = run.out(0, Shape{s.m, s.n});
    if (y.size() == 0) return;
    const FloatOut out(y);
    g.c = out.data();
    gemm(g);
    out.store();
  }

 private:
  void add_c(const Addend& x, const GemmShape& s, const float* c, Epilogue& epilogue) const {
    if (x.rows == s.m && x.columns == s.n && s.m > 1) {
      epilogue.residual = c;
      epilogue.residual_stride = s.n;
      epilogue.residual_scale = spec_.beta;
      return;
    }
    const bool per_row = x.rows > 1;
    const int64_t count = per_row ? s.m : s.n;
    if (spec_.beta != 1.0f || x.rows * x.columns != count) {
      auto* scaled =
          static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(count) * sizeof(float)));
      const int64_t step = x.rows * x.columns == 1 ? 0 : 1;
      for (int64_t i = 0; i < count; ++i) scaled[i] = c[i * step] * spec_.beta;
      c = scaled;
    }
    (per_row ? epilogue.row_bias : epilogue.column_bias) = c;
  }

  GemmSpec spec_;
  Tensor packed_;
  Precision precision_ = Precision::kF32;
  Epilogue epilogue_;
};

void infer_gemm(InferContext& c) {
  const GemmSpec spec = gemm_spec(c);
  for (int i = 0; i < 2; ++i)
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 2, i == 0 ? "A" : "B", " is ", c.type(i).str(), "; a matrix expected");
  if (c.has_shape(0) && c.has_shape(1)) {
    const Dim& k = c.shape(0)[spec.trans_a ? 0 : 1];
    const Dim& other = c.shape(1)[spec.trans_b ? 1 : 0];
    SX_CHECK(c, !k.known() || !other.known() || k == other, "multiplies ", c.type(0).str(), " by ", c.type(1).str(),
             "; the inner extents ", k.str(), " and ", other.str(), " must be equal");
  }
  const Dim m = c.has_shape(0) ? c.shape(0)[spec.trans_a ? 1 : 0] : Dim();
  const Dim n = c.has_shape(1) ? c.shape(1)[spec.trans_b ? 0 : 1] : Dim();
  const SymShape out{m, n};
  if (c.has_shape(2)) {
    const SymShape& addend = c.shape(2);
    for (size_t i = 0; i < addend.size(); ++i) {
      const size_t behind = addend.size() - i;  // 1 for the last axis
      const Dim target = behind <= 2 ? out[2 - behind] : Dim(1);
      SX_CHECK(c, !addend[i].known() || !target.known() || addend[i] == Dim(1) || addend[i] == target, "C is ",
               c.type(2).str(), ", which does not broadcast to the result ", to_string(out));
    }
  }
  c.out(0, c.dtype(0), out);
}

template <typename SpecOf>
KernelFactory gemm_factory(SpecOf spec_of) {
  return [spec_of](Prepare& p) -> Kernel {
    const GemmSpec spec = spec_of(p);
    const DType dtype = p.dtype(0);
    if (is_integer(dtype) || dtype == DType::kFloat64) return make_plain(spec, dtype);
    return FloatGemm(p, spec);
  };
}

// For Y = alpha A' B' + beta C, where ' transposes or not: dA' = alpha dY B'^T, dB' = alpha A'^T dY, dC = beta dY.
void differentiate_gemm(GradientContext& c) {
  const int64_t trans_a = c.attr_int("transA") != 0;
  const int64_t trans_b = c.attr_int("transB") != 0;
  const float alpha = c.attr_float("alpha");
  const auto product = [&](const Expr& left, int64_t trans_left, const Expr& right, int64_t trans_right) {
    return c.op("Gemm", {left, right}, {{"alpha", alpha}, {"transA", trans_left}, {"transB", trans_right}});
  };
  const Expr dy = c.grad();
  if (c.wants(0)) c.give(0, trans_a ? product(c.in(1), trans_b, dy, 1) : product(dy, 0, c.in(1), !trans_b));
  if (c.wants(1)) c.give(1, trans_b ? product(dy, 1, c.in(0), trans_a) : product(c.in(0), !trans_a, dy, 0));
  if (c.wants(2)) {
    const float beta = c.attr_float("beta");
    c.give_sum(2, beta == 1.0f ? dy : dy * beta);
  }
}

// Through the Gemm and the activation.
void differentiate_fused(GradientContext& c) {
  Attributes attributes;
  for (const char* name : {"transA", "transB"}) attributes[name] = c.attr_int(name);
  for (const char* name : {"alpha", "beta"}) attributes[name] = c.attr_float(name);
  c.give_through({activated(c, read_fused_activation(c), c.op("Gemm", {c.in(0), c.in(1), c.in(2)}, attributes))});
}

}  // namespace

void define_gemm(OpList& ops) {
  constexpr DTypeSet kTypes = kFloats | DType::kInt32 | DType::kInt64 | DType::kUInt32 | DType::kUInt64;
  ops.add(OpDef("Gemm")
              .since(13)
              .attr("transA", 0)
              .attr("transB", 0)
              .attr("alpha", 1.0f)
              .attr("beta", 1.0f)
              .in("A", "T", kTypes)
              .in("B", "T", kTypes)
              .optional_in("C", "T", kTypes)
              .out("Y", "T")
              .infer(infer_gemm)
              .kernel(gemm_factory(gemm_spec))
              .gradient(differentiate_gemm)
              // C always broadcasts now.
              .upgrade(7, [](UpgradeContext& c) { c.take<int64_t>("broadcast", 0); }));
  OpDef& fused = ops.add(OpDef("FusedGemm", "com.microsoft")
                             .attr("transA", 0)
                             .attr("transB", 0)
                             .attr("alpha", 1.0f)
                             .attr("beta", 1.0f)
                             .attr("activation_gamma", 0.0f)
                             .in("A", "T", kHalfFloats | DType::kFloat32)
                             .in("B", "T", kHalfFloats | DType::kFloat32)
                             .optional_in("C", "T", kHalfFloats | DType::kFloat32)
                             .out("Y", "T")
                             .infer(infer_gemm)
                             .kernel(gemm_factory(fused_gemm_spec))
                             .gradient(differentiate_fused));
  add_fused_activation_attrs(fused);
}

}  // namespace sx
