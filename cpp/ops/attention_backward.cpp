// The gradients of attention by its weights P = softmax(scale Q K'), of every head, one head to a task:
// dV = P' dY, dS = P (dY V' - rowsum(P (dY V'))), dQ = scale dS K, dK = scale dS' Q.
#include <algorithm>

#include "base/scratch.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rows.h"
#include "ops/attention_core.h"
#include "ops/attention_gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kQ, kK, kV, kWeights, kDy };
// Scores that one task holds at a time, about; the rows of a block are a multiple of the second, but for the last.
constexpr int64_t kTaskScores = 1 << 16, kTileRows = 12;

struct Extents {
  int64_t batch, heads, rows, keys, size, value_size;
};

Extents extents_of(const Run& run, int64_t heads) {
  const Shape &q = run.in(kQ).shape(), &k = run.in(kK).shape(), &v = run.in(kV).shape(),
              &weights = run.in(kWeights).shape(), &dy = run.in(kDy).shape();
  SX_CHECK(run,
           q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && q[0] == k[0] && q[2] == k[2] && k[0] == v[0] &&
               k[1] == v[1] && q[2] % heads == 0 && v[2] % heads == 0 && dy == Shape({q[0], q[1], v[2]}) &&
               weights == Shape({q[0], heads, q[1], k[1]}),
           "Q, K, V, weights and dY are ", q.str(), ", ", k.str(), ", ", v.str(), ", ", weights.str(), " and ",
           dy.str(), ", which do not fit together for ", heads, " heads");
  return {q[0], heads, q[1], k[1], q[2] / heads, v[2] / heads};
}

class HeadGradients {
 public:
  HeadGradients(Run& run, int64_t heads, float scale, Precision precision)
      : x_(extents_of(run, heads)), scale_(scale), precision_(precision) {
    const auto in = [&](int i) { return run.in(i).data<float>(); };
    q_ = HeadRows<const float>::by_row(in(kQ), heads, x_.rows, x_.size);
    k_ = HeadRows<const float>::by_row(in(kK), heads, x_.keys, x_.size);
    v_ = HeadRows<const float>::by_row(in(kV), heads, x_.keys, x_.value_size);
    dy_ = HeadRows<const float>::by_row(in(kDy), heads, x_.rows, x_.value_size);
    weights_ = in(kWeights);
    const auto out = [&](int i, int64_t rows, int64_t size) {
      return HeadRows<float>::by_row(run.out(i, run.in(i).shape()).data<float>(), heads, rows, size);
    };
    dq_ = out(kQ, x_.rows, x_.size);
    dk_ = out(kK, x_.keys, x_.size);
    dv_ = out(kV, x_.keys, x_.value_size);
  }

  void compute() {
    const int64_t fitting = kTaskScores / std::max<int64_t>(x_.keys, 1) / kTileRows * kTileRows;
    const int64_t block = std::max<int64_t>(x_.rows <= 2 * kTileRows ? x_.rows : std::max(fitting, kTileRows), 1);
    const double work = 2.0 * static_cast<double>(x_.rows * x_.keys) * static_cast<double>(x_.size + x_.value_size);
    const auto grain = static_cast<int64_t>(std::clamp(200000.0 / std::max(work, 1.0), 1.0, 1e6));
    parallel_for(checked_mul(x_.batch, x_.heads), grain, [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t b = task / x_.heads, h = task % x_.heads;
        if (x_.rows == 0) clear(b, h);
        for (int64_t row = 0; row < x_.rows; row += block) head_rows(b, h, row, std::min(block, x_.rows - row));
      }
    });
  }

 private:
  // Without queries nothing flows to keys and values.
  void clear(int64_t b, int64_t h) {
    for (int64_t key = 0; key < x_.keys; ++key) {
      std::fill_n(dk_.at(b, h, key), x_.size, 0.0f);
      std::fill_n(dv_.at(b, h, key), x_.value_size, 0.0f);
    }
  }

  // What rows [row, row + count) of a head give; the sums over rows go on from those before.
  void head_rows(int64_t b, int64_t h, int64_t row, int64_t count) {
    const float* weights = weights_ + ((b * x_.heads + h) * x_.rows + row) * x_.keys;
    const auto scores = static_cast<size_t>(checked_mul(count, x_.keys));
    auto* ds = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, scores * sizeof(float)));
    const float* dy = dy_.at(b, h, row);
    Gemm g;
    g.precision = precision_;
    g.m = count, g.n = x_.keys, g.k = x_.value_size;
    g.a = dy, g.lda = dy_.row_step;
    g.b = v_.at(b, h, 0), g.ldb = v_.row_step, g.trans_b = true;
    g.c = ds, g.ldc = x_.keys;
    gemm(g);
    if (x_.keys > 0) softmax_gradient_rows(weights, ds, ds, count, x_.keys);
    g.n = x_.size, g.k = x_.keys;
    g.a = ds, g.lda = x_.keys;
    g.b = k_.at(b, h, 0), g.ldb = k_.row_step, g.trans_b = false;
    g.c = dq_.at(b, h, row), g.ldc = dq_.row_step;
    g.epilogue.scale = scale_;
    gemm(g);
    g.m = x_.keys, g.k = count;
    g.trans_a = true;
    g.b = q_.at(b, h, row), g.ldb = q_.row_step;
    add_to(g, row, dk_.at(b, h, 0), dk_.row_step);
    g.n = x_.value_size;
    g.a = weights;
    g.b = dy, g.ldb = dy_.row_step;
    g.epilogue.scale = 1.0f;
    add_to(g, row, dv_.at(b, h, 0), dv_.row_step);
  }

  static void add_to(Gemm& g, int64_t row, float* sums, int64_t step) {
    g.c = sums, g.ldc = step;
    g.epilogue.residual = row == 0 ? nullptr : sums;
    g.epilogue.residual_stride = step;
    gemm(g);
  }

  const Extents x_;
  const float scale_;
  const Precision precision_;
  HeadRows<const float> q_, k_, v_, dy_;
  const float* weights_;
  HeadRows<float> dq_, dk_, dv_;
};

Kernel make_attention_gradient(Prepare& p) {
  const int64_t heads = p.attr_int("num_heads");
  SX_CHECK(p, heads > 0, "has ", heads, " heads; at least one expected");
  const float scale = p.attr_float("scale");
  const Precision precision = changing_precision(p.precision());
  if (precision == Precision::kBf16) p.describe("bf16");
  return [=](Run& run) { HeadGradients(run, heads, scale, precision).compute(); };
}

void differentiate_attention_gradient(GradientContext& c) {
  const int64_t heads = c.attr_int("num_heads");
  const auto scale = static_cast<double>(c.attr_float("scale"));
  const auto apart = [&](int i) { return by_head(c.in(static_cast<size_t>(i)), heads); };
  const Expr q = apart(kQ), k = apart(kK), v = apart(kV), dy = apart(kDy), weights = c.in(kWeights);
  const auto times = [&](const Expr& a, const Expr& b) { return c.op("MatMul", {a, b}); };
  const Expr dp = times(dy, c.swap_last(v));
  const Expr ds = weights * (dp - c.reduce_sum(weights * dp, {-1}, true)) * scale;
  c.give_through({by_row(times(ds, k)), by_row(times(c.swap_last(ds), q)), by_row(times(c.swap_last(weights), dy))});
}

}  // namespace

void define_attention_backward(OpList& ops) {
  OpDef op("AttentionGradient", "sardonyx");
  op.required_attr("num_heads", AttrKind::kInt).required_attr("scale", AttrKind::kFloat);
  for (const char* name : {"q", "k", "v", "weights", "dy"}) op.in(name, "", DType::kFloat32);
  for (const char* name : {"dq", "dk", "dv"}) op.out(name, "", DType::kFloat32);
  ops.add(std::move(op)
              .infer([](InferContext& c) {
                for (int i = 0; i < 3; ++i) c.out(i, c.type(i));
              })
              .kernel(make_attention_gradient)
              .gradient(differentiate_attention_gradient));
}

}  // namespace sx
