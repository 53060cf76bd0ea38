// y = softmax(scale (Q + b_q) (K + b_k)' + masks) (V + b_v) for every head, with caches of keys and values.
#include <algorithm>
#include <limits>

#include "kernels/gemm/gemm.h"
#include "ops/attention_gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/ms_attention.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs and outputs by place.
enum : int { kQ, kK, kV, kBias, kPadding, kAddend, kPastKey, kPastValue, kPastLength, kBeams };
enum : int { kY, kPresentKey, kPresentValue, kScores };

struct Spec {
  int64_t heads;
  float filter, scale;
  bool causal;
  Precision precision = Precision::kF32;
  explicit Spec(const NodeView& node)
      : heads(node.attr_int("num_heads")),
        filter(node.attr_float("mask_filter_value")),
        scale(node.attr_or<float>("scale", 0.0f)),
        causal(node.attr_int("unidirectional") != 0) {
    SX_CHECK(node, heads > 0, "attribute 'num_heads' is ", heads, "; 1 or more expected");
  }
};

// The ranks of query, key and value say how they are packed: key and value may be absent.
template <typename View>
void check_ranks(const View& view, int q, int k, int v, const std::string& found) {
  const bool apart = q == 3 && ((k == 3 && v == 3) || (k == 4 && v == 4));
  const bool packed_kv = q == 3 && k == 5 && v < 0;
  const bool packed = q == 5 && k < 0 && v < 0;
  SX_CHECK(view, apart || packed_kv || packed, "query, key and value are ", found,
           "; three with 3 axes, a query with 3 and the others with 4, a query with 3 and a key with 5 (packed), or a "
           "query with 5 alone expected");
}

void infer(InferContext& c) {
  const Spec spec(c);
  SX_CHECK(c, c.has(kPastKey) == c.has(kPastValue), "past_key and past_value must be given together");
  SX_CHECK(c, !c.has(kPastLength) || c.has(kPastKey), "past_sequence_length needs past_key and past_value");
  SX_CHECK(c, !c.has(kBeams) || c.has(kPastLength), "cache_indirection needs past_sequence_length");
  const DType dtype = c.dtype(kQ);
  const auto unknown = [&] {
    c.out(kY, dtype, SymShape(3));
    for (int i : {kPresentKey, kPresentValue, kScores}) c.out(i, dtype, SymShape(4));
  };
  for (int i : {kQ, kK, kV, kPastKey, kPastValue})
    if (c.has(i) && !c.has_shape(i)) return unknown();
  const auto rank = [&](int i) { return c.has(i) ? c.rank(i) : -1; };
  const auto name = [&](int i) { return c.has(i) ? c.type(i).str() : std::string("absent"); };
  check_ranks(c, rank(kQ), rank(kK), rank(kV), join(name(kQ), ", ", name(kK), " and ", name(kV)));
  const SymShape& q = c.shape(kQ);
  const Dim heads(spec.heads);
  Dim size, value_size, fresh;
  if (rank(kQ) == 5) {
    size = value_size = q[4], fresh = q[1];
  } else {
    size = floor_div(q[2], heads);
    const SymShape& k = c.shape(kK);
    fresh = rank(kK) == 4 ? k[2] : k[1];
    value_size = rank(kK) == 5 ? k[4] : rank(kV) == 4 ? c.shape(kV)[3] : floor_div(c.shape(kV)[2], heads);
  }
  Dim total = fresh, present = fresh;
  if (c.has(kPastKey)) {
    SX_CHECK(c, c.rank(kPastKey) == 4 && c.rank(kPastValue) == 4, "past_key and past_value are ",
             c.type(kPastKey).str(), " and ", c.type(kPastValue).str(), "; four axes expected");
    const Dim past = c.shape(kPastKey)[2];
    total = present = past + fresh;
    if (c.has(kPastLength)) {
      present = past;
      const auto length = c.elements(kPastLength);
      total = length && length->size() == 1 ? length->front() + fresh : Dim();
    }
  }
  c.out(kY, dtype, SymShape{q[0], q[1], value_size * heads});
  c.out(kPresentKey, dtype, SymShape{q[0], heads, present, size});
  c.out(kPresentValue, dtype, SymShape{q[0], heads, present, value_size});
  c.out(kScores, dtype, SymShape{q[0], heads, q[1], total});
}

class MultiHead {
 public:
  MultiHead(Run& run, const Spec& spec) : run_(run), spec_(spec) {
    const auto rank = [&](int i) { return run.has(i) ? run.in(i).rank() : -1; };
    check_ranks(run, rank(kQ), rank(kK), rank(kV), join(name(kQ), ", ", name(kK), " and ", name(kV)));
    const Shape& q = run.in(kQ).shape();
    const int64_t heads = spec.heads;
    batch_ = q[0], rows_ = q[1];
    if (q.rank() == 5) {
      SX_CHECK(run, q[2] == heads && q[3] == 3, "query is ", q.str(), "; [batch, rows, ", heads, ", 3, size] expected");
      size_ = value_size_ = q[4], fresh_ = rows_;
    } else {
      size_ = share(q[2], "query");
      const Shape& k = run.in(kK).shape();
      SX_CHECK(run, k[0] == batch_, "query is ", q.str(), " and key ", k.str(), "; the first axes must agree");
      fresh_ = k.rank() == 4 ? k[2] : k[1];
      const Shape expected = k.rank() == 3   ? Shape{batch_, fresh_, heads * size_}
                             : k.rank() == 4 ? Shape{batch_, heads, fresh_, size_}
                                             : Shape{batch_, fresh_, heads, 2, size_};
      SX_CHECK(run, k == expected, "key is ", k.str(), "; ", expected.str(), " expected");
      value_size_ = size_;
      if (k.rank() != 5) {
        const Shape& v = run.in(kV).shape();
        value_size_ = v.rank() == 4 ? v[3] : share(v[2], "value");
        const Shape fits = v.rank() == 3 ? Shape{batch_, fresh_, v[2]} : Shape{batch_, heads, fresh_, value_size_};
        SX_CHECK(run, v == fits, "value is ", v.str(), "; ", fits.str(), " expected");
      }
    }
    read_past();
  }

  void compute() {
    const int64_t heads = spec_.heads;
    const FloatIn q_in(run_.in(kQ));
    std::optional<FloatIn> k_in, v_in, bias_in;
    if (run_.has(kK)) k_in.emplace(run_.in(kK));
    if (run_.has(kV)) v_in.emplace(run_.in(kV));
    const float* bias = nullptr;
    if (run_.has(kBias)) {
      const Tensor& b = run_.in(kBias);
      const int64_t wanted = heads * (2 * size_ + value_size_);
      SX_CHECK(run_, b.rank() == 1 && b.size() == wanted, "bias is ", b.shape().str(), "; ", wanted,
               " values expected");
      bias = bias_in.emplace(b).data();
    }
    HeadRows<const float> q, k, v;
    if (run_.in(kQ).rank() == 5) {
      q = k = v = {q_in.data(), rows_ * heads * 3 * size_, 3 * size_, heads * 3 * size_};
      k.data += size_, v.data += 2 * size_;
    } else {
      q = HeadRows<const float>::by_row(q_in.data(), heads, rows_, size_);
      const int rank = run_.in(kK).rank();
      if (rank == 5) {
        k = v = {k_in->data(), fresh_ * heads * 2 * size_, 2 * size_, heads * 2 * size_};
        v.data += size_;
      } else if (rank == 4) {
        k = HeadRows<const float>::by_head(k_in->data(), heads, fresh_, size_);
        v = HeadRows<const float>::by_head(v_in->data(), heads, fresh_, value_size_);
      } else {
        k = HeadRows<const float>::by_row(k_in->data(), heads, fresh_, size_);
        v = HeadRows<const float>::by_row(v_in->data(), heads, fresh_, value_size_);
      }
    }
    Tensor q_sum;
    if (bias != nullptr && rows_ > 0) {
      q_sum = Tensor(DType::kFloat32, Shape{batch_, rows_, heads * size_});
      const auto to = HeadRows<float>::by_row(q_sum.data<float>(), heads, rows_, size_);
      copy_heads({batch_, heads, rows_, size_}, q, bias, to);
      q = {to.data, to.batch_step, to.head_step, to.row_step};
    }
    // Keys and values with 4 axes come from a cache, which has its bias already.
    const bool adds = bias != nullptr && (!run_.has(kK) || run_.in(kK).rank() != 4);
    const int64_t length = run_.has(kPastLength) ? capacity_ : past_ + fresh_;
    const OptionalOut present_key(run_, kPresentKey, Shape{batch_, heads, length, size_});
    const OptionalOut present_value(run_, kPresentValue, Shape{batch_, heads, length, value_size_});
    Tensor k_held, v_held;
    k = cache(kPastKey, size_, length, k, adds ? bias + heads * size_ : nullptr, present_key.data(), k_held);
    v = cache(kPastValue, value_size_, length, v, adds ? bias + 2 * heads * size_ : nullptr, present_value.data(),
              v_held);
    Tensor k_beams, v_beams;
    if (run_.has(kBeams)) {
      k = beams(k, size_, k_beams);
      v = beams(v, value_size_, v_beams);
    }
    const int64_t keys = past_ + fresh_;
    ScoreMask mask(run_, {batch_, heads, rows_, keys});
    mask.set_padding(kPadding, spec_.filter, past_);
    mask.set_bias(kAddend);
    const FloatOut y(run_.out(kY, Shape{batch_, rows_, heads * value_size_}));
    const OptionalOut scores(run_, kScores, Shape{batch_, heads, rows_, keys});
    Attention<float> problem;
    problem.batch = batch_, problem.heads = problem.kv_heads = heads;
    problem.rows = rows_, problem.keys = keys;
    problem.size = size_, problem.value_size = value_size_;
    problem.q = q, problem.k = k, problem.v = v;
    problem.y = HeadRows<float>::by_row(y.data(), heads, rows_, value_size_);
    problem.scale = spec_.scale;
    problem.precision = spec_.precision;
    problem.shown = scores.data();
    problem.stage = ScoreStage::kMasked;
    problem.unseen = std::numeric_limits<float>::lowest();
    attend_masked(problem, mask, spec_.causal, past_);
    y.store();
    scores.store();
    present_key.store();
    present_value.store();
  }

 private:
  std::string name(int i) const { return run_.has(i) ? run_.in(i).shape().str() : "absent"; }

  int64_t share(int64_t width, const char* what) const {
    SX_CHECK(run_, width % spec_.heads == 0, what, " has ", width, " columns, which num_heads = ", spec_.heads,
             " cannot share");
    return width / spec_.heads;
  }

  void read_past() {
    if (!run_.has(kPastKey)) return;
    const Shape &k = run_.in(kPastKey).shape(), &v = run_.in(kPastValue).shape();
    SX_CHECK(run_, k.rank() == 4 && v.rank() == 4, "past_key and past_value are ", k.str(), " and ", v.str(),
             "; four axes expected");
    capacity_ = past_ = k[2];
    const Shape k_fits{batch_, spec_.heads, capacity_, size_}, v_fits{batch_, spec_.heads, capacity_, value_size_};
    SX_CHECK(run_, k == k_fits && v == v_fits, "past_key and past_value are ", k.str(), " and ", v.str(), "; ",
             k_fits.str(), " and ", v_fits.str(), " expected");
    if (!run_.has(kPastLength)) return;
    const Tensor& length = run_.in(kPastLength);
    SX_CHECK(run_, length.size() == 1, "past_sequence_length is ", length.shape().str(), "; one value expected");
    past_ = length.data<int32_t>()[0];
    SX_CHECK(run_, past_ >= 0 && past_ + fresh_ <= capacity_, "past_sequence_length is ", past_, " and ", fresh_,
             " keys are new, but the cache holds ", capacity_);
  }

  // Keys or values behind those of the past, in `present` or else in memory that `held` keeps; the given ones
  // themselves where nothing has to be added.
  HeadRows<const float> cache(int past_input, int64_t size, int64_t length, const HeadRows<const float>& fresh,
                              const float* bias, float* present, Tensor& held) const {
    const bool has_past = run_.has(past_input) && capacity_ > 0;
    if (present == nullptr && !has_past && bias == nullptr) return fresh;
    const int64_t heads = spec_.heads;
    if (present == nullptr) {
      held = Tensor(DType::kFloat32, Shape{batch_, heads, length, size});
      present = held.data<float>();
    }
    const auto to = HeadRows<float>::by_head(present, heads, length, size);
    if (has_past) {
      const FloatIn past(run_.in(past_input));
      copy_heads({batch_, heads, capacity_, size}, HeadRows<const float>::by_head(past.data(), heads, capacity_, size),
                 nullptr, to);
    }
    HeadRows<float> behind = to;
    behind.data += past_ * size;
    copy_heads({batch_, heads, fresh_, size}, fresh, bias, behind);
    return {to.data, to.batch_step, to.head_step, to.row_step};
  }

  // Keys or values of the past taken from the beams that cache_indirection names.
  HeadRows<const float> beams(const HeadRows<const float>& from, int64_t size, Tensor& held) const {
    const Tensor& table = run_.in(kBeams);
    const Shape& shape = table.shape();
    SX_CHECK(run_, shape.rank() == 3 && shape[0] * shape[1] == batch_ && shape[2] >= past_, "cache_indirection is ",
             shape.str(), "; [n, beams, ", capacity_, "] with n * beams = ", batch_, " expected");
    const int32_t* beam = table.data<int32_t>();
    const int64_t width = shape[1], heads = spec_.heads, keys = past_ + fresh_;
    for (int64_t b = 0; b < batch_; ++b)
      for (int64_t j = 0; j < past_; ++j)
        SX_CHECK(run_, beam[b * shape[2] + j] >= 0 && beam[b * shape[2] + j] < width, "cache_indirection holds ",
                 beam[b * shape[2] + j], "; 0..", width - 1, " expected");
    held = Tensor(DType::kFloat32, Shape{batch_, heads, keys, size});
    const auto to = HeadRows<float>::by_head(held.data<float>(), heads, keys, size);
    parallel_for(batch_ * heads, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, keys * size)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t b = i / heads, h = i % heads;
                     for (int64_t j = 0; j < keys; ++j) {
                       const int64_t source = j < past_ ? b / width * width + beam[b * shape[2] + j] : b;
                       std::copy_n(from.at(source, h, j), size, to.at(b, h, j));
                     }
                   }
                 });
    return {to.data, to.batch_step, to.head_step, to.row_step};
  }

  Run& run_;
  const Spec& spec_;
  int64_t batch_, rows_, fresh_, size_, value_size_;
  int64_t past_ = 0;      // keys of the past that count
  int64_t capacity_ = 0;  // keys that past_key has room for
};

Kernel make(Prepare& p) {
  Spec made(p);
  made.precision = changing_precision(p.precision());
  return [spec = made](Run& run) { MultiHead(run, spec).compute(); };
}

// --- gradients

// x as [batch, heads, rows, size], with the bias where it comes in rows.
Expr operand(const Spec& spec, const Expr& x, const Expr& bias) {
  if (x.rank() == 4) return x;
  return by_head(bias ? x + bias : x, spec.heads);
}

void differentiate(GradientContext& c) {
  const Spec spec(c);
  SX_CHECK(c, !c.in(kPastLength) && !c.in(kBeams), "has no gradient through a cache that is larger than the past");
  const int rank = c.in(kQ).rank();
  const int key_rank = c.in(kK) ? c.in(kK).rank() : 0;
  SX_CHECK(c, rank > 0 && key_rank >= 0 && (!c.in(kV) || c.in(kV).rank() > 0),
           "has no gradient where the ranks of its inputs are unknown");
  // Packed operands lie side by side at each head.
  const auto part = [&](const Expr& x, int64_t i) {
    const Expr one = c.op("Gather", {x, c.constant(Tensor::scalar(i))}, {{"axis", int64_t{3}}});
    return c.reshape(one, {0, 0, -1});
  };
  Expr q = c.in(kQ), k = c.in(kK), v = c.in(kV);
  if (rank == 5) k = part(q, 1), v = part(q, 2), q = part(q, 0);
  else if (key_rank == 5) v = part(k, 1), k = part(k, 0);
  std::vector<Expr> biases(3);
  if (c.in(kBias)) {
    const Expr width = c.extent(q, 2), end = c.ints({INT64_MAX});
    const auto slice = [&](const Expr& from, const Expr& to) { return c.op("Slice", {c.in(kBias), from, to}); };
    biases = {slice(c.ints({0}), width), slice(width, width + width), slice(width + width, end)};
  }
  AttentionExprs a;
  a.q = operand(spec, q, biases[0]);
  a.k = operand(spec, k, biases[1]);
  a.v = operand(spec, v, biases[2]);
  if (c.in(kPastKey)) a.k = c.concat({c.in(kPastKey), a.k}, 2), a.v = c.concat({c.in(kPastValue), a.v}, 2);
  a.mask = padding_scores(c, kPadding, static_cast<double>(spec.filter), a.q, a.k);
  if (c.in(kAddend)) a.mask = a.mask ? a.mask + c.in(kAddend) : c.in(kAddend);
  if (spec.causal) a.seen = causal_keys(a.q, a.k, c.in(kPastKey));
  a.scale = static_cast<double>(spec.scale);
  const AttentionResults results = attention_exprs(a);
  c.give_through({by_row(results.y), a.k, a.v, results.scores[static_cast<size_t>(ScoreStage::kMasked)]});
}

}  // namespace

void define_ms_multi_head_attention(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  ops.add(OpDef("MultiHeadAttention", "com.microsoft")
              .attr("mask_filter_value", -10000.0f)
              .required_attr("num_heads", AttrKind::kInt)
              .optional_attr("scale", AttrKind::kFloat)
              .attr("unidirectional", 0)
              .in("query", "T", kTypes)
              .optional_in("key", "T", kTypes)
              .optional_in("value", "T", kTypes)
              .optional_in("bias", "T", kTypes)
              .optional_in("key_padding_mask", "M", DType::kInt32)
              .optional_in("attention_bias", "T", kTypes)
              .optional_in("past_key", "T", kTypes)
              .optional_in("past_value", "T", kTypes)
              .optional_in("past_sequence_length", "M", DType::kInt32)
              .optional_in("cache_indirection", "M", DType::kInt32)
              .out("output", "T")
              .optional_out("present_key", "T")
              .optional_out("present_value", "T")
              .optional_out("qk", "T")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate));
}

}  // namespace sx
