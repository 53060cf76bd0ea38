// y = softmax(softcap(scale Q K') + mask) V for every head, with grouped heads, key-value caches and windows.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "kernels/attention_rows.h"
#include "kernels/gemm/gemm.h"
#include "ops/attention_core.h"
#include "ops/attention_gradient.h"
#include "ops/float_io.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs and outputs by place.
enum : int { kQ, kK, kV, kMask, kPastKey, kPastValue, kValidKeys };
enum : int { kY, kPresentKey, kPresentValue, kScores };

struct AttentionSpec {
  int64_t q_heads = 0, kv_heads = 0;
  float scale = 0.0f;  // 0: 1 / sqrt(head size)
  float softcap = 0.0f;
  bool causal = false;
  int64_t left = -1, right = -1;
  ScoreStage shown = ScoreStage::kRaw;
  Precision precision = Precision::kF32;
  bool joint = false;     // Q holds Q, K and V, one behind the other in each row
  bool y_panels = false;  // Y is the packed A of a product in bf16 (ops/row_panels.cpp)

  explicit AttentionSpec(const NodeView& node) {
    q_heads = node.attr_or<int64_t>("q_num_heads", 0);
    kv_heads = node.attr_or<int64_t>("kv_num_heads", 0);
    scale = node.attr_or<float>("scale", 0.0f);
    softcap = node.attr_float("softcap");
    causal = node.attr_int("is_causal") != 0;
    left = node.attr_int("left_window_size");
    right = node.attr_int("right_window_size");
    SX_CHECK(node, left >= -1 && right >= -1, "the window sizes are ", left, " and ", right, "; at least -1 expected");
    const int64_t mode = node.attr_int("qk_matmul_output_mode");
    SX_CHECK(node, mode >= 0 && mode <= 3, "attribute 'qk_matmul_output_mode' is ", mode, "; expected 0..3");
    shown = static_cast<ScoreStage>(mode);
  }
};

void infer_as(InferContext& c, DType y) {
  const AttentionSpec spec(c);
  SX_CHECK(c, c.has(kPastKey) == c.has(kPastValue), "past_key and past_value must be given together");
  const DType dtype = c.dtype(kQ);
  if (!c.has_shape(kQ) || !c.has_shape(kK) || !c.has_shape(kV)) {
    c.out(kY, y, std::nullopt);
    c.out(kPresentKey, dtype, std::nullopt);
    c.out(kPresentValue, c.dtype(kV), std::nullopt);
    return c.out(kScores, dtype, std::nullopt);
  }
  const int rank = c.rank(kQ);
  SX_CHECK(c, (rank == 3 || rank == 4) && c.rank(kK) == rank && c.rank(kV) == rank, "Q, K and V are ", c.type(kQ).str(),
           ", ", c.type(kK).str(), " and ", c.type(kV).str(), "; all three must have 3 or all three 4 axes");
  const SymShape &q = c.shape(kQ), &k = c.shape(kK), &v = c.shape(kV);
  Dim total = rank == 4 ? k[2] : k[1];
  if (c.has(kPastKey)) total = c.rank(kPastKey) == 4 ? total + c.shape(kPastKey)[2] : Dim();
  if (rank == 4) {
    c.out(kY, y, SymShape{q[0], q[1], q[2], v[3]});
    c.out(kPresentKey, dtype, SymShape{k[0], k[1], total, k[3]});
    c.out(kPresentValue, c.dtype(kV), SymShape{v[0], v[1], total, v[3]});
    return c.out(kScores, dtype, SymShape{q[0], q[1], q[2], total});
  }
  SX_CHECK(c, spec.q_heads > 0 && spec.kv_heads > 0,
           "needs the attributes q_num_heads and kv_num_heads for inputs with 3 axes");
  const Dim value_size = floor_div(v[2], spec.kv_heads);
  c.out(kY, y, SymShape{q[0], q[1], value_size * Dim(spec.q_heads)});
  c.out(kPresentKey, dtype, SymShape{k[0], Dim(spec.kv_heads), total, floor_div(k[2], spec.kv_heads)});
  c.out(kPresentValue, c.dtype(kV), SymShape{v[0], Dim(spec.kv_heads), total, value_size});
  c.out(kScores, dtype, SymShape{q[0], Dim(spec.q_heads), q[1], total});
}

void infer(InferContext& c) { infer_as(c, c.dtype(kQ)); }

AttentionSpec fused_spec(const NodeView& node) {
  AttentionSpec spec(node);
  spec.joint = node.attr_int("joint") != 0;
  spec.y_panels = node.attr_int("y_panels") != 0;
  SX_CHECK(node, spec.q_heads > 0 && spec.kv_heads > 0 && spec.q_heads % spec.kv_heads == 0, "cannot share ",
           spec.kv_heads, " heads of keys among ", spec.q_heads, " of queries");
  return spec;
}

void infer_fused(InferContext& c) {
  const AttentionSpec spec = fused_spec(c);
  const DType dtype = spec.y_panels ? DType::kBFloat16 : DType::kFloat32;
  if (!spec.joint) return infer_as(c, dtype);
  if (!c.has_shape(kQ)) return c.out(kY, dtype, std::nullopt);
  SymShape shape = c.shape(kQ);
  SX_CHECK(c, shape.size() == 3, "Q, K and V are ", c.type(kQ).str(), "; 3 axes expected");
  shape[2] = floor_div(shape[2], spec.q_heads + 2 * spec.kv_heads) * Dim(spec.q_heads);
  c.out(kY, dtype, shape);
}

// One operand as a stack of matrices [batch][head][row][size].
struct Heads {
  int64_t batch, heads, rows, size;
  int64_t batch_step, head_step, row_step;
  int64_t first = 0;  // where they begin

  Heads(const Run& run, const Shape& x, int64_t head_count, const char* what) {
    batch = x[0];
    if (x.rank() == 4) {
      heads = x[1], rows = x[2], size = x[3];
      row_step = size, head_step = rows * size, batch_step = heads * head_step;
    } else {
      SX_CHECK(run, head_count > 0 && x[2] % head_count == 0, what, " is ", x.str(), ", which ", head_count,
               " heads cannot share");
      heads = head_count, rows = x[1], size = x[2] / head_count;
      head_step = size, row_step = x[2], batch_step = rows * row_step;
    }
  }
  // `count` of the heads of the same size, from `begin` on.
  Heads part(int64_t begin, int64_t count) const {
    Heads some = *this;
    some.heads = count;
    some.first = begin * head_step;
    return some;
  }
  int64_t at(int64_t b, int64_t h, int64_t row) const {
    return first + b * batch_step + h * head_step + row * row_step;
  }
  template <typename T>
  HeadRows<T> rows_of(T* data) const {
    return {data + first, batch_step, head_step, row_step};
  }
};

// The mask as values to add, or as flags of the keys that are seen, broadcast over batch, head and query; keys that it
// does not name are masked out.
template <typename T>
class Mask {
 public:
  Mask(const Run& run, int64_t batch, int64_t heads, int64_t rows, int64_t keys) {
    if (!run.has(kMask)) return;
    const Tensor& mask = run.in(kMask);
    const Shape& shape = mask.shape();
    SX_CHECK(run, shape.rank() >= 1 && shape.rank() <= 4, "the mask is ", shape.str(), "; from 1 to 4 axes expected");
    width_ = shape.back();
    SX_CHECK(run, width_ <= keys, "the mask is ", shape.str(), " but there are only ", keys, " keys");
    const int64_t extents[] = {batch, heads, rows};
    int64_t step = width_;
    for (int i = shape.rank() - 2, axis = 2; i >= 0; --i, --axis) {
      SX_CHECK(run, shape[i] == 1 || shape[i] == extents[axis], "the mask is ", shape.str(), "; it must broadcast to [",
               batch, ",", heads, ",", rows, ",", keys, "]");
      steps_[axis] = shape[i] == 1 ? 0 : step;
      step *= shape[i];
    }
    if (mask.dtype() == DType::kBool || mask.dtype() == dtype_of<T>) {
      held_ = mask;
      return;
    }
    held_ = Tensor(dtype_of<T>, shape);
    T* to = held_.data<T>();
    if (is_float(mask.dtype())) {
      const Tensor from = to_f32(mask);
      std::copy_n(from.data<float>(), mask.size(), to);
    } else {
      const std::vector<int64_t> from = mask.integers();
      for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<T>(from[i]);
    }
  }

  bool defined() const { return held_.defined(); }
  // Adds the mask of one row to the scores of some keys; a masked score becomes -inf whatever it was.
  void add(int64_t b, int64_t h, int64_t row, KeyRange range, T* scores) const {
    const int64_t at = b * steps_[0] + h * steps_[1] + row * steps_[2] + range.first;
    constexpr T kDead = -std::numeric_limits<T>::infinity();
    const int64_t known = std::clamp(width_, range.first, range.last);
    std::fill(scores + (known - range.first), scores + (range.last - range.first), kDead);
    if (held_.dtype() == DType::kBool)
      return hide_unseen(static_cast<const uint8_t*>(held_.raw()) + at, known - range.first, scores);
    const T* mask = held_.data<T>() + at;
    if constexpr (std::is_same_v<T, float>) {
      add_mask(mask, scores, known - range.first);
    } else {
      for (int64_t j = 0; j < known - range.first; ++j) scores[j] = mask[j] == kDead ? kDead : scores[j] + mask[j];
    }
  }

 private:
  static void hide_unseen(const uint8_t* seen, int64_t count, T* scores) {
    // Most rows see all keys, or those up to one.
    const void* first = count > 0 ? std::memchr(seen, 0, static_cast<size_t>(count)) : nullptr;
    if (first == nullptr) return;
    for (int64_t j = static_cast<const uint8_t*>(first) - seen; j < count; ++j)
      scores[j] = seen[j] ? scores[j] : -std::numeric_limits<T>::infinity();
  }

  Tensor held_;
  int64_t width_ = 0;
  int64_t steps_[3] = {0, 0, 0};
};

template <typename T>
class AttentionRun {
 public:
  AttentionRun(Run& run, const AttentionSpec& spec)
      : run_(run),
        spec_(spec),
        q_(heads(kQ, 0, spec.q_heads, "Q")),
        k_(heads(kK, spec.q_heads, spec.kv_heads, "K")),
        v_(heads(kV, spec.q_heads + spec.kv_heads, spec.kv_heads, "V")),
        past_(run.has(kPastKey) ? run.in(kPastKey).dim(2) : 0),
        keys_(past_ + k_.rows) {
    SX_CHECK(run,
             k_.batch == q_.batch && v_.batch == q_.batch && k_.size == q_.size && v_.rows == k_.rows &&
                 v_.heads == k_.heads && k_.heads > 0 && q_.heads % k_.heads == 0,
             "Q, K and V are ", run.in(kQ).shape().str(), ", ", run.in(kK).shape().str(), " and ",
             run.in(kV).shape().str(), ", which do not fit together");
    if (!run.has(kValidKeys)) return;
    valid_ = run.in(kValidKeys).template data<int64_t>();
    SX_CHECK(run, run.in(kValidKeys).size() == q_.batch, "nonpad_kv_seqlen has ", run.in(kValidKeys).size(),
             " elements; ", q_.batch, " expected");
  }

  void compute() {
    const Tensor q = converted(run_.in(kQ));
    const Tensor k = spec_.joint ? q : cache(kK, kPastKey, kPresentKey, k_);
    const Tensor v = spec_.joint ? q : cache(kV, kPastValue, kPresentValue, v_);
    const Mask<T> mask(run_, q_.batch, q_.heads, q_.rows, keys_);
    const bool packed = run_.in(kQ).rank() == 3;
    const Shape y_shape =
        packed ? Shape{q_.batch, q_.rows, q_.heads * v_.size} : Shape{q_.batch, q_.heads, q_.rows, v_.size};
    const Tensor& y = run_.out(kY, y_shape);
    const Tensor result = y.dtype() == dtype_of<T> || spec_.y_panels ? y : Tensor(dtype_of<T>, y_shape);
    const Heads out(run_, y_shape, q_.heads, "Y");
    const Shape score_shape{q_.batch, q_.heads, q_.rows, keys_};
    const Tensor* wanted = run_.wants(kScores) ? &run_.out(kScores, score_shape) : nullptr;
    Tensor shown;
    if (wanted != nullptr) shown = wanted->dtype() == dtype_of<T> ? *wanted : Tensor(dtype_of<T>, score_shape);
    Attention<T> problem;
    problem.batch = q_.batch, problem.heads = q_.heads, problem.kv_heads = k_.heads;
    problem.rows = q_.rows, problem.keys = keys_;
    problem.size = q_.size, problem.value_size = v_.size;
    problem.q = q_.rows_of<const T>(q.data<T>());
    problem.k = k_.rows_of<const T>(k.data<T>());
    problem.v = v_.rows_of<const T>(v.data<T>());
    if (spec_.y_panels) problem.y_panels = static_cast<float*>(y.raw());
    else problem.y = out.rows_of(result.template data<T>());
    problem.scale = spec_.scale, problem.softcap = spec_.softcap;
    const auto seen = [&](int64_t b, int64_t row) { return range(b, row); };
    const FunctionRef<KeyRange(int64_t, int64_t)> seen_ref(seen);
    if (spec_.causal || spec_.left >= 0 || spec_.right >= 0 || valid_ != nullptr) problem.range = &seen_ref;
    const auto add = [&](int64_t b, int64_t h, int64_t row, KeyRange keys, T* scores) {
      mask.add(b, h, row, keys, scores);
    };
    const FunctionRef<void(int64_t, int64_t, int64_t, KeyRange, T*)> add_ref(add);
    if (mask.defined()) problem.mask = &add_ref;
    if (wanted != nullptr) problem.shown = shown.data<T>();
    problem.stage = spec_.shown;
    problem.precision = spec_.precision;
    attend(problem);
    if (y.dtype() != dtype_of<T> && !spec_.y_panels) store_f32(static_cast<const float*>(result.raw()), y);
    if (wanted != nullptr && wanted->dtype() != dtype_of<T>) store_f32(static_cast<const float*>(shown.raw()), *wanted);
  }

 private:
  // Those of an input; where Q, K and V are one, `count` of its heads.
  Heads heads(int input, int64_t begin, int64_t count, const char* what) const {
    if (!spec_.joint) return Heads(run_, run_.in(input).shape(), count, what);
    const Shape& all = run_.in(kQ).shape();
    return Heads(run_, all, spec_.q_heads + 2 * spec_.kv_heads, "the row of Q, K and V").part(begin, count);
  }
  static Tensor converted(const Tensor& x) { return x.dtype() == dtype_of<T> ? x : to_f32(x); }

  // The keys or values behind those of the past, [batch, heads, keys, size] where there is a past or the present is
  // wanted; `heads` then describes that.
  Tensor cache(int input, int past_input, int output, Heads& heads) {
    const Tensor fresh = converted(run_.in(input));
    const Shape shape{heads.batch, heads.heads, keys_, heads.size};
    if (past_ == 0 && !run_.wants(output)) return fresh;
    Tensor joined(dtype_of<T>, shape);
    Tensor past;
    if (run_.has(past_input)) {
      const Shape expected{heads.batch, heads.heads, past_, heads.size};
      SX_CHECK(run_, run_.in(past_input).shape() == expected, "the past is ", run_.in(past_input).shape().str(), "; ",
               expected.str(), " expected");
      past = converted(run_.in(past_input));
    }
    const int64_t old = past_ * heads.size;
    parallel_for(heads.batch * heads.heads, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, keys_ * heads.size)),
                 [&](int64_t from, int64_t to) {
                   for (int64_t i = from; i < to; ++i) {
                     T* place = joined.data<T>() + i * keys_ * heads.size;
                     if (old > 0) std::copy_n(past.data<T>() + i * old, old, place);
                     for (int64_t row = 0; row < heads.rows; ++row)
                       std::copy_n(fresh.data<T>() + heads.at(i / heads.heads, i % heads.heads, row), heads.size,
                                   place + old + row * heads.size);
                   }
                 });
    if (run_.wants(output)) {
      const Tensor& present = run_.out(output, shape);
      if (present.dtype() == dtype_of<T>) std::memcpy(present.raw(), joined.raw(), joined.bytes());
      else store_f32(static_cast<const float*>(joined.raw()), present);
    }
    heads = Heads(run_, shape, heads.heads, "the cache");
    return joined;
  }

  // The keys [first, last) that the query `row` of image `b` may see.
  KeyRange range(int64_t b, int64_t row) const {
    int64_t first = 0, last = keys_;
    if (valid_ != nullptr) last = std::min(last, std::max<int64_t>(valid_[b], 0));
    const int64_t offset = run_.has(kPastKey)  ? past_
                           : valid_ != nullptr ? std::min(std::max<int64_t>(valid_[b], 0), keys_) - q_.rows
                                               : 0;
    const int64_t position = row + offset;
    if (spec_.causal) last = std::min(last, position + 1);
    if (spec_.right >= 0 && spec_.right < keys_) last = std::min(last, position + spec_.right + 1);
    if (spec_.left >= 0 && spec_.left < keys_ + q_.rows) first = std::max(first, position - spec_.left);
    last = std::max<int64_t>(last, 0);
    return {std::min(first, last), last};
  }

  Run& run_;
  const AttentionSpec& spec_;
  Heads q_, k_, v_;
  int64_t past_;
  int64_t keys_;
  const int64_t* valid_ = nullptr;
};

Kernel make(Prepare& p) {
  AttentionSpec made(p);
  made.precision = changing_precision(p.precision());
  if (made.precision == Precision::kBf16) p.describe("bf16");
  return [spec = made](Run& run) {
    const int rank = run.in(kQ).rank();
    SX_CHECK(run, (rank == 3 || rank == 4) && run.in(kK).rank() == rank && run.in(kV).rank() == rank,
             "Q, K and V must all have 3 or all have 4 axes");
    SX_CHECK(run, !run.has(kPastKey) || (run.in(kPastKey).rank() == 4 && run.in(kPastValue).rank() == 4),
             "past_key and past_value must have 4 axes");
    if (run.in(kQ).dtype() == DType::kFloat64 && run.in(kV).dtype() == DType::kFloat64)
      AttentionRun<double>(run, spec).compute();
    else AttentionRun<float>(run, spec).compute();
  };
}

// Of three axes, f32, and of no output but Y, whose last extent is even where it is in panels.
Kernel make_fused(Prepare& p) {
  AttentionSpec spec = fused_spec(p);
  spec.precision = changing_precision(p.precision());
  if (spec.precision == Precision::kBf16) p.describe("bf16");
  return [spec](Run& run) { AttentionRun<float>(run, spec).compute(); };
}

// --- gradients

// Which keys each query sees: [batch or 1, 1, rows, keys], or none where it is all of them.
Expr seen_keys(GradientContext& c, const AttentionSpec& spec, const Expr& q, const Expr& k, const Expr& past) {
  if (!spec.causal && spec.left < 0 && spec.right < 0 && !c.in(kValidKeys)) return Expr();
  const Expr keys = c.unsqueeze(c.iota(c.extent(k, 2)), {0, 1, 2});
  Expr valid;
  if (c.in(kValidKeys)) {
    const Expr count = c.op("Min", {c.op("Max", {c.in(kValidKeys), c.ints({0})}), c.extent(k, 2)});
    valid = c.unsqueeze(count, {1, 2, 3});
  }
  Expr seen = valid ? c.op("Less", {keys, valid}) : c.op("GreaterOrEqual", {keys, c.ints({0})});
  Expr row = c.unsqueeze(c.iota(c.extent(q, 2)), {0, 1, 3});
  if (past) row = row + c.extent(past, 2);
  else if (valid) row = row + (valid - c.extent(q, 2));
  const auto also = [&](const char* op, const Expr& bound) { seen = c.op("And", {seen, c.op(op, {keys, bound})}); };
  if (spec.causal) also("LessOrEqual", row);
  if (spec.right >= 0) also("LessOrEqual", row + c.ints({spec.right}));
  if (spec.left >= 0) also("GreaterOrEqual", row - c.ints({spec.left}));
  return seen;
}

// The mask with keys that it does not name masked out.
Expr whole_mask(GradientContext& c, const Expr& k) {
  Expr mask = c.in(kMask);
  if (!mask) return mask;
  SX_CHECK(c, mask.rank() >= 1, "has no gradient where the rank of its mask is unknown");
  const Dim width = axis_of(mask, static_cast<size_t>(mask.rank()) - 1);
  if (width.known() && width == axis_of(k, 2)) return mask;
  const bool flags = mask.dtype() == DType::kBool;
  if (!flags && !is_float(mask.dtype())) mask = c.cast(mask, c.in(kQ).dtype());
  const Expr fill = flags ? c.constant(Tensor::scalar(false)) : c.scalar(-INFINITY, mask.dtype());
  const Expr missing = c.extent(k, 2) - c.extent(mask, mask.rank() - 1);
  return c.op("Pad", {mask, c.concat({c.ints({0}), missing}, 0), fill, c.ints({-1})});
}

// The usual case by one node that reads the weights, which the node then gives; false where it is another case.
bool differentiate_by_weights(GradientContext& c, const AttentionSpec& spec) {
  const bool shown = kScores < static_cast<int>(c.node().outputs.size()) && c.node().outputs[kScores] != kNone;
  for (int i : {kQ, kK, kV})
    if (c.in(static_cast<size_t>(i)).rank() != 3 || c.in(static_cast<size_t>(i)).dtype() != DType::kFloat32)
      return false;
  for (int i : {kPastKey, kPastValue, kValidKeys})
    if (c.in(static_cast<size_t>(i))) return false;
  for (int i : {kPresentKey, kPresentValue, kScores})
    if (c.grad(static_cast<size_t>(i))) return false;
  if (spec.softcap != 0.0f || spec.q_heads != spec.kv_heads || c.wants(kMask)) return false;
  if (shown && spec.shown != ScoreStage::kSoftmax) return false;
  const Dim width = axis_of(c.in(kQ), 2);
  if (spec.scale == 0.0f && !width.known()) return false;
  const float scale = spec.scale != 0.0f
                          ? spec.scale
                          : 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(width.value() / spec.q_heads, 1)));
  c.graph().node(c.id()).attributes["qk_matmul_output_mode"] = static_cast<int64_t>(ScoreStage::kSoftmax);
  const std::vector<Expr> grads =
      c.ops(3, "AttentionGradient", {c.in(kQ), c.in(kK), c.in(kV), c.out(kScores), c.grad()},
            {{"num_heads", spec.q_heads}, {"scale", scale}}, "sardonyx");
  for (size_t i = 0; i < grads.size(); ++i) c.give(i, grads[i]);
  return true;
}

void differentiate_attention(GradientContext& c) {
  const AttentionSpec spec(c);
  if (differentiate_by_weights(c, spec)) return;
  const int rank = c.in(kQ).rank();
  SX_CHECK(c, rank >= 0 && c.in(kK).rank() == rank && c.in(kV).rank() == rank,
           "has no gradient where the ranks of its inputs are unknown");
  const auto heads = [&](size_t i, int64_t count) { return rank == 3 ? by_head(c.in(i), count) : c.in(i); };
  AttentionExprs a;
  a.q = heads(kQ, spec.q_heads);
  a.k = heads(kK, spec.kv_heads);
  a.v = heads(kV, spec.kv_heads);
  if (c.in(kPastKey)) a.k = c.concat({c.in(kPastKey), a.k}, 2);
  if (c.in(kPastValue)) a.v = c.concat({c.in(kPastValue), a.v}, 2);
  a.mask = whole_mask(c, a.k);
  a.seen = seen_keys(c, spec, a.q, a.k, c.in(kPastKey));
  a.scale = static_cast<double>(spec.scale);
  a.softcap = static_cast<double>(spec.softcap);
  const AttentionResults results = attention_exprs(a);
  c.give_through(
      {rank == 3 ? by_row(results.y) : results.y, a.k, a.v, results.scores[static_cast<size_t>(spec.shown)]});
}

}  // namespace

void define_attention(OpList& ops) {
  const auto with_attributes = [](OpDef op) {
    return op.attr("is_causal", 0)
        .optional_attr("kv_num_heads", AttrKind::kInt)
        .attr("left_window_size", -1)
        .optional_attr("q_num_heads", AttrKind::kInt)
        .attr("qk_matmul_output_mode", 0)
        .attr("right_window_size", -1)
        .optional_attr("scale", AttrKind::kFloat)
        .attr("softcap", 0.0f)
        .optional_attr("softmax_precision", AttrKind::kInt);
  };
  ops.add(with_attributes(OpDef("Attention", "sardonyx"))
              .attr("joint", 0)
              .attr("y_panels", 0)
              .in("Q", "", DType::kFloat32)
              .optional_in("K", "", DType::kFloat32)
              .optional_in("V", "", DType::kFloat32)
              .optional_in("attn_mask", "", kNumbers | DType::kBool)
              .optional_in("past_key", "", DType::kFloat32)
              .optional_in("past_value", "", DType::kFloat32)
              .optional_in("nonpad_kv_seqlen", "", DType::kInt64)
              .out("Y", "", DType::kBFloat16 | DType::kFloat32)
              .infer(infer_fused)
              .kernel(make_fused));
  ops.add(with_attributes(OpDef("Attention").since(25, 23))
              .in("Q", "T1", kFloats)
              .in("K", "T1", kFloats)
              .in("V", "T2", kFloats)
              .optional_in("attn_mask", "U", kNumbers | DType::kBool)
              .optional_in("past_key", "T1", kFloats)
              .optional_in("past_value", "T2", kFloats)
              .optional_in("nonpad_kv_seqlen", "", DType::kInt64)
              .out("Y", "T1")
              .optional_out("present_key", "T1")
              .optional_out("present_value", "T2")
              .optional_out("qk_matmul_output", "T1")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_attention));
}

}  // namespace sx
