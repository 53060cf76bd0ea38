// y = softmax(softcap(scale Q K') + bias) V where groups of heads share keys and values, which a cache holds.
#include <algorithm>
#include <cmath>

#include "kernels/gemm/gemm.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/ms_kv_cache.h"
#include "ops/registry.h"
#include "ops/rotary.h"

namespace sx {
namespace {

// Inputs and outputs by place.
enum : int {
  kQ,
  kK,
  kV,
  kPastKey,
  kPastValue,
  kLengths,
  kTotal,
  kCos,
  kSin,
  kPositions,
  kAddend,
  kSinks,
  kKeyScale,
  kValueScale,
  kQueryNorm,
  kKeyNorm
};
enum : int { kY, kPresentKey, kPresentValue, kScores };

struct Spec {
  int64_t heads, kv_heads, window;
  float scale, softcap, epsilon;
  bool causal, rotary, interleaved, smooth, sliding;
  int shown, bits;
  Precision precision = Precision::kF32;

  explicit Spec(const NodeView& node)
      : heads(node.attr_int("num_heads")),
        kv_heads(node.attr_int("kv_num_heads")),
        window(node.attr_int("local_window_size")),
        scale(node.attr_or<float>("scale", 0.0f)),
        softcap(node.attr_float("softcap")),
        epsilon(node.attr_float("qk_norm_epsilon")),
        causal(node.attr_int("causal") != 0),
        rotary(node.attr_int("do_rotary") != 0),
        interleaved(node.attr_int("rotary_interleaved") != 0),
        smooth(node.attr_int("smooth_softmax") == 1),
        sliding(node.attr_int("sliding_window_cache") != 0),
        shown(static_cast<int>(node.attr_int("qk_output"))),
        bits(static_cast<int>(node.attr_int("kv_cache_bit_width"))) {
    SX_CHECK(node, kv_heads > 0 && heads > 0 && heads % kv_heads == 0, "num_heads is ", heads, " and kv_num_heads ",
             kv_heads, "; the first must be a multiple of the second");
    SX_CHECK(node, window == -1 || window >= 1, "attribute 'local_window_size' is ", window,
             "; -1 or at least 1 expected");
    SX_CHECK(node, causal || window == -1, "attribute 'local_window_size' needs causal = 1");
    SX_CHECK(node, !sliding || window >= 1, "attribute 'sliding_window_cache' needs 'local_window_size'");
    SX_CHECK(node, shown >= 0 && shown <= 2, "attribute 'qk_output' is ", shown, "; 0..2 expected");
    const std::string& keys = node.attr_string("k_quant_type");
    const std::string& values = node.attr_string("v_quant_type");
    for (const std::string& kind : {keys, values})
      SX_CHECK(node, kind == "NONE" || kind == "PER_TENSOR" || kind == "PER_CHANNEL", "a quantization type is '", kind,
               "'; NONE, PER_TENSOR or PER_CHANNEL expected");
    SX_CHECK(node, (keys == "NONE") == (values == "NONE"), "k_quant_type is ", keys, " and v_quant_type ", values,
             "; both or none must be quantized");
    SX_CHECK(node, keys == "NONE" ? bits == 0 : bits == 4 || bits == 8, "attribute 'kv_cache_bit_width' is ", bits,
             " with k_quant_type ", keys, "; 4 or 8, or 0 with NONE, expected");
  }
  DType cache_type(DType floats) const { return bits == 0 ? floats : bits == 8 ? DType::kInt8 : DType::kUInt8; }
};

void infer(InferContext& c) {
  const Spec spec(c);
  SX_CHECK(c, c.has(kK) == c.has(kV), "key and value must be given together");
  SX_CHECK(c, c.has(kPastKey) == c.has(kPastValue), "past_key and past_value must be given together");
  SX_CHECK(c, c.has(kCos) == c.has(kSin), "cos_cache and sin_cache must be given together");
  SX_CHECK(c, c.has(kQueryNorm) == c.has(kKeyNorm), "q_norm_weight and k_norm_weight must be given together");
  SX_CHECK(c, !spec.rotary || c.has(kCos), "do_rotary needs cos_cache and sin_cache");
  SX_CHECK(c, !spec.sliding || c.has(kPastKey), "sliding_window_cache needs past_key and past_value");
  SX_CHECK(c, spec.bits == 0 || (c.has(kKeyScale) && c.has(kValueScale)),
           "a quantized cache needs k_scale and v_scale");
  const DType dtype = c.dtype(kQ), cache = spec.cache_type(dtype);
  SX_CHECK(c, !c.has(kPastKey) || c.dtype(kPastKey) == cache, "past_key is ", c.type(kPastKey).str(), "; ",
           name_of(cache), " expected with kv_cache_bit_width = ", spec.bits);
  SymShape y(3), present(4), scores(4);
  const Dim heads(spec.heads), kv_heads(spec.kv_heads);
  Dim total;
  if (const auto known = c.elements(kTotal); known && known->size() == 1) total = known->front();
  present[1] = kv_heads, scores[1] = heads, scores[3] = total;
  if (c.has_shape(kQ)) {
    const SymShape& q = c.shape(kQ);
    SX_CHECK(c, q.size() == 3, "query is ", c.type(kQ).str(), "; three axes expected");
    const Dim size = floor_div(q[2], c.has(kK) ? heads : Dim(spec.heads + 2 * spec.kv_heads));
    y = {q[0], q[1], size * heads};
    present[0] = scores[0] = q[0], scores[2] = q[1];
    present[3] = spec.bits == 4 ? floor_div(size, Dim(2)) : size;
    // Without a past, every key is new.
    if (!c.has(kPastKey)) present[2] = q[1];
  }
  if (c.has(kPastKey) && c.has_shape(kPastKey)) {
    SX_CHECK(c, c.rank(kPastKey) == 4, "past_key is ", c.type(kPastKey).str(), "; four axes expected");
    const Dim past = c.shape(kPastKey)[2];
    present[2] = spec.sliding ? past : max(total, past);
  }
  c.out(kY, dtype, y);
  c.out(kPresentKey, cache, present);
  c.out(kPresentValue, cache, present);
  c.out(kScores, dtype, scores);
}

// The rows that a window-sized cache holds after `tokens` of a sequence: it forgets in steps when it is full.
int64_t resident(int64_t tokens, int64_t capacity, int64_t window) {
  if (tokens <= capacity) return tokens;
  const int64_t step = capacity - window + 1;
  return tokens - (tokens - capacity + step - 1) / step * step;
}

class GroupQuery {
 public:
  GroupQuery(Run& run, const Spec& spec) : run_(run), spec_(spec) {
    const Shape& q = run.in(kQ).shape();
    SX_CHECK(run, q.rank() == 3, "query is ", q.str(), "; three axes expected");
    const bool packed = !run.has(kK);
    const int64_t shares = packed ? spec.heads + 2 * spec.kv_heads : spec.heads;
    SX_CHECK(run, q[2] % shares == 0, "query is ", q.str(), ", which ", shares, " heads cannot share");
    batch_ = q[0], rows_ = q[1], size_ = q[2] / shares;
    SX_CHECK(run, spec.bits != 4 || size_ % 2 == 0, "the head size is ", size_, "; an even one expected for 4 bits");
    const Shape expected{batch_, rows_, spec.kv_heads * size_};
    for (int i : {kK, kV})
      SX_CHECK(run, packed || run.in(i).shape() == expected, i == kK ? "key" : "value", " is ", run.in(i).shape().str(),
               "; ", expected.str(), " expected");
    if (run.has(kPastKey)) {
      const Shape &k = run.in(kPastKey).shape(), &v = run.in(kPastValue).shape();
      SX_CHECK(run, k.rank() == 4 && v == k && k[0] == batch_ && k[1] == spec.kv_heads && k[3] == width(),
               "past_key and past_value are ", k.str(), " and ", v.str(), "; [", batch_, ",", spec.kv_heads, ",n,",
               width(), "] expected");
      capacity_ = k[2];
    }
    read_lengths();
  }

  void compute() {
    const int64_t heads = spec_.heads, kv_heads = spec_.kv_heads;
    const FloatIn q_in(run_.in(kQ));
    std::optional<FloatIn> k_in, v_in;
    HeadRows<const float> q, k, v;
    if (run_.has(kK)) {
      q = HeadRows<const float>::by_row(q_in.data(), heads, rows_, size_);
      k = HeadRows<const float>::by_row(k_in.emplace(run_.in(kK)).data(), kv_heads, rows_, size_);
      v = HeadRows<const float>::by_row(v_in.emplace(run_.in(kV)).data(), kv_heads, rows_, size_);
    } else {
      q = k = v = HeadRows<const float>::by_row(q_in.data(), heads + 2 * kv_heads, rows_, size_);
      k.data += heads * size_, v.data += (heads + kv_heads) * size_;
    }
    const int64_t length = spec_.sliding ? capacity_ : std::max(total_, capacity_);
    const HeadBlock fresh{batch_, kv_heads, rows_, size_};
    KvCache keys(run_, kPastKey, kKeyScale, spec_.bits, fresh, plans_, kPresentKey, length);
    KvCache values(run_, kPastValue, kValueScale, spec_.bits, fresh, plans_, kPresentValue, length);
    Tensor turned;
    prepare(q, k, v, keys.rows(), values.rows(), turned);
    keys.finish();
    values.finish();
    attend_to(q, keys.rows(), values.rows());
  }

 private:
  int64_t width() const { return spec_.bits == 4 ? size_ / 2 : size_; }

  void read_lengths() {
    const Tensor& lengths = run_.in(kLengths);
    SX_CHECK(run_, lengths.size() == batch_, "seqlens_k is ", lengths.shape().str(), "; ", batch_, " values expected");
    SX_CHECK(run_, run_.in(kTotal).size() == 1, "total_sequence_length is ", run_.in(kTotal).shape().str(),
             "; one value expected");
    total_ = run_.in(kTotal).data<int32_t>()[0];
    SX_CHECK(run_, total_ >= rows_, "total_sequence_length is ", total_, ", but there are ", rows_, " queries");
    SX_CHECK(run_, total_ <= checked_add(capacity_, rows_) || spec_.sliding, "total_sequence_length is ", total_,
             ", but the past holds ", capacity_, " keys and ", rows_, " are new");
    first_ = rows_ == total_;
    SX_CHECK(run_, !spec_.sliding || capacity_ >= spec_.window, "the cache has room for ", capacity_,
             " keys, but local_window_size is ", spec_.window);
    const int32_t* last = lengths.data<int32_t>();
    for (int64_t b = 0; b < batch_; ++b) {
      SX_CHECK(run_, last[b] >= 0 && last[b] < total_, "seqlens_k holds ", last[b], "; 0..", total_ - 1, " expected");
      const int64_t tokens = int64_t{last[b]} + 1;
      const int64_t past = first_ ? 0 : tokens - rows_;
      SX_CHECK(run_, past >= 0, "seqlens_k holds ", last[b], ", but ", rows_, " keys are new");
      SX_CHECK(run_, spec_.sliding || past <= capacity_, "seqlens_k holds ", last[b], ", but the past holds ",
               capacity_, " keys and ", rows_, " are new");
      CachePlan plan{past, 0};
      if (spec_.sliding) {
        plan.kept = resident(past, capacity_, spec_.window);
        plan.dropped = plan.kept + tokens - past - resident(tokens, capacity_, spec_.window);
      }
      tokens_.push_back(tokens);
      past_.push_back(past);
      plans_.push_back(plan);
    }
  }

  // Puts the new keys and values into their caches, normalized and turned as the node asks, and so the queries.
  void prepare(HeadRows<const float>& q, const HeadRows<const float>& k, const HeadRows<const float>& v,
               const HeadRows<float>& keys, const HeadRows<float>& values, Tensor& turned) const {
    const int64_t heads = spec_.heads, kv_heads = spec_.kv_heads;
    std::optional<FloatIn> cosine, sine, q_norm, k_norm;
    int64_t half = 0;
    if (spec_.rotary) {
      const Shape& caches = run_.in(kCos).shape();
      SX_CHECK(run_, caches.rank() == 2 && run_.in(kSin).shape() == caches && caches[1] <= size_ / 2,
               "cos_cache and sin_cache are ", caches.str(), " and ", run_.in(kSin).shape().str(), "; [n, ", size_ / 2,
               " or less], the same in both, expected");
      half = caches[1];
      cosine.emplace(run_.in(kCos));
      sine.emplace(run_.in(kSin));
    }
    if (run_.has(kQueryNorm)) {
      for (int i : {kQueryNorm, kKeyNorm})
        SX_CHECK(run_, run_.in(i).size() == size_, "a norm's weight is ", run_.in(i).shape().str(), "; ", size_,
                 " values expected");
      q_norm.emplace(run_.in(kQueryNorm));
      k_norm.emplace(run_.in(kKeyNorm));
    }
    check_positions();
    const bool changes = spec_.rotary || q_norm;
    HeadRows<float> to;
    if (changes) {
      turned = Tensor(DType::kFloat32, Shape{batch_, rows_, heads * size_});
      to = HeadRows<float>::by_row(turned.data<float>(), heads, rows_, size_);
    }
    const auto change = [&](const float* x, float* y, int64_t position, const std::optional<FloatIn>& norm) {
      if (norm) {
        normalize(x, norm->data(), y);
        x = y;
      }
      if (spec_.rotary) {
        turn_head(x, y, size_, cosine->data() + position * half, sine->data() + position * half, half,
                  spec_.interleaved);
      } else if (x != y) {
        std::copy_n(x, size_, y);
      }
    };
    const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, (heads + 2 * kv_heads) * size_));
    parallel_for(batch_ * rows_, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / rows_, row = i % rows_;
        const int64_t place = plans_[static_cast<size_t>(b)].kept + row, angle = position(b, row);
        for (int64_t h = 0; h < heads && changes; ++h) change(q.at(b, h, row), to.at(b, h, row), angle, q_norm);
        for (int64_t h = 0; h < kv_heads; ++h) {
          change(k.at(b, h, row), keys.at(b, h, place), angle, k_norm);
          std::copy_n(v.at(b, h, row), size_, values.at(b, h, place));
        }
      }
    });
    if (changes) q = {to.data, to.batch_step, to.head_step, to.row_step};
  }

  void normalize(const float* x, const float* weight, float* y) const {
    float sum = 0.0f;
    for (int64_t i = 0; i < size_; ++i) sum += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(size_) + spec_.epsilon);
    for (int64_t i = 0; i < size_; ++i) y[i] = x[i] * factor * weight[i];
  }

  // Where a query stands for its angle. A first prompt starts everywhere at the first id.
  int64_t position(int64_t b, int64_t row) const {
    if (!run_.has(kPositions)) return past_[static_cast<size_t>(b)] + row;
    const int64_t* ids = run_.in(kPositions).data<int64_t>();
    return first_ ? ids[0] + row : ids[b * rows_ + row];
  }

  void check_positions() const {
    if (run_.has(kPositions)) {
      const Shape& ids = run_.in(kPositions).shape();
      SX_CHECK(run_, ids == Shape({batch_, rows_}), "position_ids are ", ids.str(), "; [", batch_, ",", rows_,
               "] expected");
    }
    if (!spec_.rotary) return;
    const int64_t limit = run_.in(kCos).dim(0);
    for (int64_t b = 0; b < batch_; ++b)
      for (int64_t row = 0; row < rows_; ++row) {
        const int64_t found = position(b, row);
        SX_CHECK(run_, found >= 0 && found < limit, "a query stands at position ", found,
                 ", but cos_cache and sin_cache hold ", limit);
      }
  }

  void attend_to(const HeadRows<const float>& q, const HeadRows<float>& keys, const HeadRows<float>& values) {
    const int64_t heads = spec_.heads;
    // Row r of an image's cache is the key of its token offset(b) + r.
    const auto offset = [&](int64_t b) { return past_[static_cast<size_t>(b)] - plans_[static_cast<size_t>(b)].kept; };
    int64_t key_rows = total_;
    if (spec_.sliding) {
      key_rows = 0;
      for (const CachePlan& plan : plans_) key_rows = std::max(key_rows, plan.kept + rows_);
    }
    ScoreMask mask(run_, {batch_, heads, rows_, total_});
    mask.set_bias(kAddend);
    std::optional<FloatIn> sinks;
    Tensor zeros;
    Attention<float> problem;
    if (run_.has(kSinks)) {
      SX_CHECK(run_, run_.in(kSinks).size() == heads, "head_sink is ", run_.in(kSinks).shape().str(), "; ", heads,
               " values expected");
      problem.sinks = sinks.emplace(run_.in(kSinks)).data();
    } else if (spec_.smooth) {
      zeros = Tensor(DType::kFloat32, Shape{heads});
      std::fill_n(zeros.data<float>(), heads, 0.0f);
      problem.sinks = zeros.data<float>();
    }
    const FloatOut y(run_.out(kY, Shape{batch_, rows_, heads * size_}));
    const OptionalOut shown(run_, kScores, Shape{batch_, heads, rows_, total_});
    problem.batch = batch_, problem.heads = heads, problem.kv_heads = spec_.kv_heads;
    problem.rows = rows_, problem.keys = key_rows;
    problem.size = problem.value_size = size_;
    problem.q = q;
    problem.k = {keys.data, keys.batch_step, keys.head_step, keys.row_step};
    problem.v = {values.data, values.batch_step, values.head_step, values.row_step};
    problem.y = HeadRows<float>::by_row(y.data(), heads, rows_, size_);
    problem.scale = spec_.scale, problem.softcap = spec_.softcap;
    problem.precision = spec_.precision;
    problem.stage = spec_.shown == 2 ? ScoreStage::kSoftmax : ScoreStage::kMasked;
    problem.unseen = 0.0f;
    Tensor rows_shown;
    if (shown.data() != nullptr && spec_.sliding) {
      rows_shown = Tensor(DType::kFloat32, Shape{batch_, heads, rows_, key_rows});
      problem.shown = rows_shown.data<float>();
    } else {
      problem.shown = shown.data();
    }
    const auto seen = [&](int64_t b, int64_t row) {
      const int64_t tokens = tokens_[static_cast<size_t>(b)], at = past_[static_cast<size_t>(b)] + row;
      const int64_t last = spec_.causal ? std::min(at + 1, tokens) : tokens;
      const int64_t first = spec_.window > 0 ? std::max<int64_t>(0, at + 1 - spec_.window) : 0;
      return KeyRange{std::min(std::max(first, offset(b)), last) - offset(b), last - offset(b)};
    };
    const FunctionRef<KeyRange(int64_t, int64_t)> seen_ref(seen);
    problem.range = &seen_ref;
    const auto add = [&](int64_t b, int64_t h, int64_t row, KeyRange range, float* scores) {
      mask.add(b, h, row, {range.first + offset(b), range.last + offset(b)}, scores);
    };
    const FunctionRef<void(int64_t, int64_t, int64_t, KeyRange, float*)> add_ref(add);
    if (mask.defined()) problem.mask = &add_ref;
    attend(problem);
    if (rows_shown.defined()) {
      std::fill_n(shown.data(), batch_ * heads * rows_ * total_, 0.0f);
      for (int64_t i = 0; i < batch_ * heads * rows_; ++i) {
        const int64_t b = i / (heads * rows_);
        std::copy_n(problem.shown + i * key_rows, std::min(key_rows, total_ - offset(b)),
                    shown.data() + i * total_ + offset(b));
      }
    }
    y.store();
    shown.store();
  }

  Run& run_;
  const Spec& spec_;
  int64_t batch_, rows_, size_;
  int64_t capacity_ = 0;  // rows of the past caches
  int64_t total_ = 0;
  bool first_ = false;  // nothing of the past counts
  std::vector<int64_t> tokens_, past_;
  std::vector<CachePlan> plans_;
};

Kernel make(Prepare& p) {
  SX_CHECK(p, (p.attr_int("qk_output") != 0) == p.wants(kScores),
           "qk_output and the output output_qk must be given together");
  Spec made(p);
  made.precision = changing_precision(p.precision());
  return [spec = made](Run& run) { GroupQuery(run, spec).compute(); };
}

}  // namespace

void define_ms_group_query_attention(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  constexpr DTypeSet kCacheTypes = kTypes | DType::kInt8 | DType::kUInt8;
  ops.add(OpDef("GroupQueryAttention", "com.microsoft")
              .attr("causal", 1)
              .attr("do_rotary", 0)
              .attr("k_quant_type", "NONE")
              .attr("kv_cache_bit_width", 0)
              .required_attr("kv_num_heads", AttrKind::kInt)
              .attr("local_window_size", -1)
              .required_attr("num_heads", AttrKind::kInt)
              .attr("qk_norm_epsilon", 1e-6f)
              .attr("qk_output", 0)
              .attr("rotary_interleaved", 0)
              .optional_attr("scale", AttrKind::kFloat)
              .attr("sliding_window_cache", 0)
              .attr("smooth_softmax", 0)
              .attr("softcap", 0.0f)
              .attr("v_quant_type", "NONE")
              .in("query", "T", kTypes)
              .optional_in("key", "T", kTypes)
              .optional_in("value", "T", kTypes)
              .optional_in("past_key", "C", kCacheTypes)
              .optional_in("past_value", "C", kCacheTypes)
              .in("seqlens_k", "M", DType::kInt32)
              .in("total_sequence_length", "M", DType::kInt32)
              .optional_in("cos_cache", "T", kTypes)
              .optional_in("sin_cache", "T", kTypes)
              .optional_in("position_ids", "", DType::kInt64)
              .optional_in("attention_bias", "T", kTypes)
              .optional_in("head_sink", "T", kTypes)
              .optional_in("k_scale", "", DType::kFloat32)
              .optional_in("v_scale", "", DType::kFloat32)
              .optional_in("q_norm_weight", "T", kTypes)
              .optional_in("k_norm_weight", "T", kTypes)
              .out("output", "T")
              .optional_out("present_key", "C")
              .optional_out("present_value", "C")
              .optional_out("output_qk", "T")
              .infer(infer)
              .kernel(make)
              .no_gradient("it is fused for decoding with caches: train the model that it was made of"));
}

}  // namespace sx
