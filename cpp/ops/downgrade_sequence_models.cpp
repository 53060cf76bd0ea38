// Steps down for attention, rotary embeddings and their caches.
#include <cmath>
#include <limits>

#include "ops/downgrade.h"

namespace sx {
namespace {

Expr concat(DowngradeContext& c, const std::vector<Expr>& parts, int64_t axis) {
  return c.op("Concat", parts, {{"axis", axis}});
}

// [batch, positions, heads size] as [batch, heads, positions, size].
Expr by_heads(DowngradeContext& c, const Expr& x, int64_t heads) {
  return c.transpose(c.op("Reshape", {x, c.ints({0, 0, heads, -1})}), {0, 2, 1, 3});
}

Expr extent_of(DowngradeContext& c, const Expr& x, int64_t axis) {
  return c.op("Slice", {c.shape(x), c.ints({axis}), c.ints({axis + 1})});
}

Expr count_up_to(DowngradeContext& c, const Expr& extent) {
  return c.op("Range", {c.scalar(0, DType::kInt64), c.op("Squeeze", {extent}), c.scalar(1, DType::kInt64)});
}

// Heads of keys and values serve several heads of queries each.
Expr repeat_heads(DowngradeContext& c, const Expr& x, int64_t times) {
  if (times == 1) return x;
  const Expr shape = c.shape(x);
  const auto part = [&](int64_t from, int64_t to) { return c.op("Slice", {shape, c.ints({from}), c.ints({to})}); };
  const Expr wide = concat(c, {part(0, 2), c.ints({times}), part(2, 4)}, 0);
  const Expr repeated = c.op("Expand", {c.unsqueeze(x, {2}), wide});
  const Expr merged = concat(c, {part(0, 1), part(1, 2) * c.ints({times}), part(2, 4)}, 0);
  return c.op("Reshape", {repeated, merged});
}

// softmax(Q K' scale + bias) V as its nodes; masks as numbers that are added.
void attention(DowngradeContext& c) {
  enum : size_t { kQ, kK, kV, kMask, kPastKey, kPastValue, kValidKeys };
  // Steps of the versions that brought these have blocked nodes that use them.
  c.drop("left_window_size"), c.drop("right_window_size");
  const int rank = c.rank_in(kQ, "Attention began with opset 23");
  const bool packed = rank == 3;
  const auto heads_of = [&](size_t i, const char* attribute) -> int64_t {
    if (packed) return c.attr_or<int64_t>(attribute, 0);
    const auto& shape = c.in(i).type().shape;
    const Dim heads = shape && shape->size() == 4 ? (*shape)[1] : Dim();
    SX_CHECK(c, heads.known(), "has an unknown number of heads, and Attention began with opset 23");
    return heads.value();
  };
  const int64_t q_heads = heads_of(kQ, "q_num_heads"), kv_heads = heads_of(kK, "kv_num_heads");
  SX_CHECK(c, q_heads > 0 && kv_heads > 0 && q_heads % kv_heads == 0, "has heads that do not fit");
  const DType dtype = c.in(kQ).dtype();
  // Products of halves are summed in f32, and so they stay up to the end.
  const DType inner = dtype == DType::kFloat64 ? dtype : DType::kFloat32;
  const auto split = [&](size_t i, int64_t heads) { return packed ? by_heads(c, c.in(i), heads) : c.in(i); };
  Expr q = split(kQ, q_heads), k = split(kK, kv_heads), v = split(kV, kv_heads);
  Expr past;
  if (c.has_in(kPastKey)) {
    past = extent_of(c, c.in(kPastKey), 2);
    k = concat(c, {c.in(kPastKey), k}, 2);
    v = concat(c, {c.in(kPastValue), v}, 2);
  }
  std::vector<Expr> outputs{Expr(), k, v, Expr()};
  const auto& q_shape = q.type().shape;
  double scale = c.attr_or<float>("scale", 0.0f);
  if (!c.has("scale")) {
    const Dim size = q_shape ? q_shape->back() : Dim();
    SX_CHECK(c, size.known(), "has heads of unknown size, and Attention began with opset 23");
    scale = 1 / std::sqrt(static_cast<double>(size.value()));
  }
  q = c.cast(q, inner) * std::sqrt(scale);
  const Expr keys = c.cast(repeat_heads(c, k, q_heads / kv_heads), inner) * std::sqrt(scale);
  Expr scores = c.op("MatMul", {q, c.transpose(keys, {0, 1, 3, 2})});
  const int64_t mode = c.attr_int("qk_matmul_output_mode");
  const auto show = [&](int64_t at) {
    if (mode == at && c.wants(3)) outputs[3] = c.cast(scores, dtype);
  };
  show(0);
  const double cap = c.attr_float("softcap");
  if (cap != 0) scores = c.op("Tanh", {scores / cap}) * cap;
  show(1);
  const Expr none = c.scalar(-std::numeric_limits<double>::infinity(), inner), zero = c.scalar(0, inner);
  bool masked = false;
  if (c.attr_int("is_causal") != 0) {
    Expr rows = count_up_to(c, extent_of(c, q, 2));
    if (past) rows = rows + past;
    const Expr columns = count_up_to(c, extent_of(c, k, 2));
    const Expr later = c.op("Greater", {c.unsqueeze(columns, {0}), c.unsqueeze(rows, {1})});
    scores = c.where(later, none, scores);
  }
  if (c.has_in(kMask)) {
    const Expr mask = c.in(kMask);
    const auto& shape = mask.type().shape;
    const Type& total = scores.type();
    SX_CHECK(c,
             shape && total.shape &&
                 (shape->back() == total.shape->back() || !shape->back().known() || !total.shape->back().known()),
             "has a mask that is shorter than the keys, and Attention began with opset 23");
    masked = true;
    if (mask.dtype() == DType::kBool) scores = c.where(mask, scores, none);
    else scores = scores + c.cast(mask, inner);
  }
  show(2);
  Expr weights = c.op("Softmax", {scores}, {{"axis", int64_t{-1}}});
  // A row without keys is all NaN; it counts for nothing.
  if (masked) weights = c.where(c.op("IsNaN", {weights}), zero, weights);
  if (mode == 3 && c.wants(3)) outputs[3] = c.cast(weights, dtype);
  Expr y = c.op("MatMul", {weights, c.cast(repeat_heads(c, v, q_heads / kv_heads), inner)});
  if (packed) y = c.op("Reshape", {c.transpose(y, {0, 2, 1, 3}), c.ints({0, 0, -1})});
  outputs[0] = c.cast(y, dtype);
  c.replace(outputs);
}

void attention_without_window(DowngradeContext& c) {
  SX_CHECK(c, c.attr_int("left_window_size") < 0 && c.attr_int("right_window_size") < 0,
           "looks through a window, which began with opset 25");
}

void plain_attention(DowngradeContext& c) {
  SX_CHECK(c, !c.has_in(6), "says how many keys count (nonpad_kv_seqlen), which began with opset 24");
}

// The first channels of every head turn in pairs: (a cos - b sin, b cos + a sin).
void rotary(DowngradeContext& c) {
  const int rank = c.rank_in(0, "RotaryEmbedding began with opset 23");
  const bool packed = rank == 3;
  const int64_t heads = c.attr_or<int64_t>("num_heads", 0);
  SX_CHECK(c, !packed || heads > 0, "needs num_heads");
  // [batch, heads, positions, size]
  const Expr x = packed ? by_heads(c, c.in(0), heads) : c.in(0);
  int64_t turned = c.attr_int("rotary_embedding_dim");
  const bool all = turned == 0;
  const auto cache = [&](size_t i) {
    const Expr rows = c.has_in(3) ? c.op("Gather", {c.in(i), c.in(3)}, {{"axis", int64_t{0}}}) : c.in(i);
    return c.unsqueeze(rows, {1});
  };
  const Expr cosine = cache(1), sine = cache(2);
  const auto cut = [&](const Expr& from, int64_t start, int64_t end, int64_t step) {
    return c.op("Slice", {from, c.ints({start}), c.ints({end}), c.ints({3}), c.ints({step})});
  };
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  const Expr part = all ? x : cut(x, 0, turned, 1);
  const bool interleaved = c.attr_int("interleaved") != 0;
  Expr a, b;
  if (interleaved) {
    a = cut(part, 0, kEnd, 2), b = cut(part, 1, kEnd, 2);
  } else {
    const std::vector<Expr> halves = c.ops(2, "Split", {part}, {{"axis", int64_t{3}}, {"num_outputs", int64_t{2}}});
    a = halves[0], b = halves[1];
  }
  const Expr real = a * cosine - b * sine, imaginary = a * sine + b * cosine;
  Expr y;
  if (interleaved) {
    const Expr pairs = concat(c, {c.unsqueeze(real, {4}), c.unsqueeze(imaginary, {4})}, 4);
    y = c.op("Reshape", {pairs, c.shape(part)});
  } else {
    y = concat(c, {real, imaginary}, 3);
  }
  if (!all) y = concat(c, {y, cut(x, turned, kEnd, 1)}, 3);
  if (packed) y = c.op("Reshape", {c.transpose(y, {0, 2, 1, 3}), c.shape(c.in(0))});
  c.replace({y});
}

// The past in front, a depthwise convolution, and the last positions for the next call.
void causal_conv(DowngradeContext& c) {
  const auto& weight = c.in(1).type().shape;
  SX_CHECK(c, weight && weight->size() == 3 && (*weight)[0].known() && (*weight)[2].known(),
           "convolves with a kernel of unknown extents, and CausalConvWithState began with opset 27");
  const int64_t channels = (*weight)[0].value(), kernel = (*weight)[2].value();
  Expr x = c.in(0);
  const auto before = [&](const Expr& state) { return concat(c, {state, x}, 2); };
  x = c.has_in(3) ? before(c.in(3)) : c.op("Pad", {x, c.ints({0, 0, kernel - 1, 0, 0, 0})});
  Expr y = c.op("Conv", {x, c.in(1), c.in(2)}, {{"group", channels}});
  const std::string activation = c.has_attr("activation") ? c.attr_string("activation") : "none";
  if (activation == "silu" || activation == "swish") y = y * c.op("Sigmoid", {y});
  else SX_CHECK(c, activation == "none" || activation.empty(), "applies " + activation);
  Expr state;
  if (c.wants(1)) {
    constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
    // With a kernel of one there is no state.
    state = kernel == 1 ? c.op("Slice", {x, c.ints({0}), c.ints({0}), c.ints({2})})
                        : c.op("Slice", {x, c.ints({1 - kernel}), c.ints({kEnd}), c.ints({2})});
  }
  c.replace({y, state});
}

}  // namespace

void add_sequence_model_downgrades(Downgrades& all) {
  all.add("Attention", 25, attention_without_window);
  all.add("Attention", 24, plain_attention);
  all.add("Attention", 23, attention);
  all.add("RotaryEmbedding", 23, rotary);
  all.add("CausalConvWithState", 27, causal_conv);
}

}  // namespace sx
