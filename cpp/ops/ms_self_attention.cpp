// y = softmax(scale Q K' + masks) V with [Q K V] = x W + b, in floats (Attention) or from 8-bit x and W (QAttention).
#include <algorithm>
#include <cmath>

#include "kernels/gemm/gemm.h"
#include "ops/attention_gradient.h"
#include "ops/infer.h"
#include "ops/int8_product.h"
#include "ops/ms_attention.h"
#include "ops/pack_matrix.h"
#include "ops/registry.h"
#include "ops/rotary.h"

namespace sx {
namespace {

constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;

// Inputs by place; kNone where an operator lacks one.
struct Places {
  int mask, past, addend, past_length;
};
constexpr Places kFloatPlaces{3, 4, 5, 6};
constexpr Places kBytePlaces{5, 8, kNone, kNone};

struct Spec {
  Places places;
  int64_t heads;
  float filter, scale;
  bool causal, rotary, shares;
  int64_t turned = 0;
  Precision precision = Precision::kF32;
  std::vector<int64_t> widths;  // of Q, K and V; empty: a third of the projection each

  Spec(const NodeView& node, const Places& where)
      : places(where),
        heads(node.attr_int("num_heads")),
        filter(node.attr_float("mask_filter_value")),
        scale(node.attr_or<float>("scale", 0.0f)),
        causal(node.attr_int("unidirectional") != 0),
        rotary(node.attr_int("do_rotary") != 0),
        shares(node.attr_int("past_present_share_buffer") != 0) {
    SX_CHECK(node, heads > 0, "attribute 'num_heads' is ", heads, "; 1 or more expected");
    turned = node.attr_or<int64_t>("rotary_embedding_dim", 0);
    SX_CHECK(node, turned >= 0 && turned % 2 == 0, "attribute 'rotary_embedding_dim' is ", turned,
             "; an even number expected");
    widths = node.attr_or<std::vector<int64_t>>("qkv_hidden_sizes", {});
    SX_CHECK(node, widths.empty() || widths.size() == 3, "attribute 'qkv_hidden_sizes' has ", widths.size(),
             " elements; 3 expected");
    for (const int64_t width : widths)
      SX_CHECK(node, width > 0 && width % heads == 0, "attribute 'qkv_hidden_sizes' holds ", width, ", which ", heads,
               " heads cannot share");
    SX_CHECK(node, widths.empty() || widths[0] == widths[1], "attribute 'qkv_hidden_sizes' is ", widths[0], ", ",
             widths[1], ", ...; queries and keys of one size expected");
  }
};

void infer(InferContext& c, const Places& places, DType dtype) {
  const Spec spec(c, places);
  const Dim heads(spec.heads);
  SymShape y(3), present(5);
  present[0] = Dim(2), present[2] = heads;
  if (c.has_shape(0)) {
    const SymShape& x = c.shape(0);
    SX_CHECK(c, x.size() == 3, "the input is ", c.type(0).str(), "; three axes expected");
    y[0] = present[1] = x[0], y[1] = present[3] = x[1];
  }
  if (c.has_shape(1)) SX_CHECK(c, c.rank(1) == 2, "the weights are ", c.type(1).str(), "; a matrix expected");
  Dim size;
  if (!spec.widths.empty()) {
    y[2] = Dim(spec.widths[2]);
    size = Dim(spec.widths[0] / spec.heads);
  } else if (c.has_shape(1)) {
    y[2] = floor_div(c.shape(1)[1], Dim(3));
    size = floor_div(y[2], heads);
  }
  present[4] = size;
  if (c.has(places.past)) {
    if (c.has_shape(places.past)) {
      SX_CHECK(c, c.rank(places.past) == 5, "past is ", c.type(places.past).str(), "; five axes expected");
      const Dim past = c.shape(places.past)[3];
      present[3] = spec.shares ? past : past + y[1];
    } else {
      present[3] = Dim();
    }
  }
  c.out(0, dtype, y);
  c.out(1, dtype, present);
}

// What is left once `qkv`, [batch, rows, widths of Q, K and V], is there.
class SelfAttention {
 public:
  SelfAttention(Run& run, const Spec& spec, int64_t columns) : run_(run), spec_(spec), columns_(columns) {
    const Shape& x = run.in(0).shape();
    batch_ = x[0], rows_ = x[1];
    if (spec.widths.empty()) {
      SX_CHECK(run, columns % (3 * spec.heads) == 0, "the weights have ", columns, " columns, which Q, K and V of ",
               spec.heads, " heads cannot share");
      width_ = value_width_ = columns / 3;
    } else {
      width_ = spec.widths[0], value_width_ = spec.widths[2];
      SX_CHECK(run, columns == 2 * width_ + value_width_, "the weights have ", columns,
               " columns, but qkv_hidden_sizes add up to ", 2 * width_ + value_width_);
    }
    size_ = width_ / spec.heads, value_size_ = value_width_ / spec.heads;
    caches_ = has(spec.places.past) || run.wants(1);
    SX_CHECK(run, !caches_ || size_ == value_size_, "keys and values of ", size_, " and ", value_size_,
             " elements cannot share a past or present");
    read_past();
  }

  void compute(float* qkv) {
    if (spec_.rotary) turn(qkv);
    const int64_t heads = spec_.heads, keys = past_ + rows_;
    HeadRows<const float> q{qkv, rows_ * columns_, size_, columns_};
    HeadRows<const float> k{qkv + width_, rows_ * columns_, size_, columns_};
    HeadRows<const float> v{qkv + 2 * width_, rows_ * columns_, value_size_, columns_};
    const int64_t length = has(spec_.places.past) && spec_.shares ? capacity_ : keys;
    const OptionalOut present(run_, 1, Shape{2, batch_, heads, length, size_});
    Tensor held;
    if (caches_) {
      float* cache = present.data();
      if (cache == nullptr) {
        held = Tensor(DType::kFloat32, Shape{2, batch_, heads, length, size_});
        cache = held.data<float>();
      }
      std::optional<FloatIn> past;
      if (has(spec_.places.past)) past.emplace(run_.in(spec_.places.past));
      const auto join = [&](int64_t half, HeadRows<const float>& fresh) {
        const auto to = HeadRows<float>::by_head(cache + half * batch_ * heads * length * size_, heads, length, size_);
        if (past) {
          const float* from = past->data() + half * batch_ * heads * capacity_ * size_;
          copy_heads({batch_, heads, capacity_, size_}, HeadRows<const float>::by_head(from, heads, capacity_, size_),
                     nullptr, to);
        }
        HeadRows<float> behind = to;
        behind.data += past_ * size_;
        copy_heads({batch_, heads, rows_, size_}, fresh, nullptr, behind);
        fresh = {to.data, to.batch_step, to.head_step, to.row_step};
      };
      join(0, k);
      join(1, v);
    }
    ScoreMask mask(run_, {batch_, heads, rows_, keys});
    // One column stands for all keys alike, which changes nothing.
    if (has(spec_.places.mask)) {
      const Shape& shape = run_.in(spec_.places.mask).shape();
      const bool idle = shape.rank() == 2 && shape[1] == 1 && (shape[0] == 1 || shape[0] == batch_);
      if (!idle) mask.set_padding(spec_.places.mask, spec_.filter, past_);
    }
    if (has(spec_.places.addend)) mask.set_bias(spec_.places.addend);
    const FloatOut y(run_.out(0, Shape{batch_, rows_, value_width_}));
    Attention<float> problem;
    problem.batch = batch_, problem.heads = problem.kv_heads = heads;
    problem.rows = rows_, problem.keys = keys;
    problem.size = size_, problem.value_size = value_size_;
    problem.q = q, problem.k = k, problem.v = v;
    problem.y = HeadRows<float>::by_row(y.data(), heads, rows_, value_size_);
    problem.scale = spec_.scale;
    problem.precision = spec_.precision;
    attend_masked(problem, mask, spec_.causal, past_);
    y.store();
    present.store();
  }

 private:
  bool has(int i) const { return i != kNone && run_.has(i); }

  void read_past() {
    if (!has(spec_.places.past)) return;
    const Shape& past = run_.in(spec_.places.past).shape();
    SX_CHECK(run_, past.rank() == 5, "past is ", past.str(), "; five axes expected");
    capacity_ = past_ = past[3];
    const Shape fits{2, batch_, spec_.heads, capacity_, size_};
    SX_CHECK(run_, past == fits, "past is ", past.str(), "; ", fits.str(), " expected");
    if (!spec_.shares) return;
    SX_CHECK(run_, has(spec_.places.past_length) && run_.in(spec_.places.past_length).size() == 1,
             "past_present_share_buffer needs one value in past_sequence_length");
    past_ = run_.in(spec_.places.past_length).data<int32_t>()[0];
    SX_CHECK(run_, past_ >= 0 && past_ + rows_ <= capacity_, "past_sequence_length is ", past_, " and ", rows_,
             " keys are new, but the cache holds ", capacity_);
  }

  // Turns queries and keys by angles of position * 10000^(-j / pairs), channel j with j + pairs.
  void turn(float* qkv) const {
    const int64_t turned = spec_.turned > 0 ? spec_.turned : size_;
    SX_CHECK(run_, turned <= size_ && turned % 2 == 0, "turns ", turned, " of ", size_,
             " channels; an even number of them expected");
    const int64_t half = turned / 2;
    const Tensor angles(DType::kFloat32, Shape{2, rows_, half});
    float* cosine = angles.data<float>();
    float* sine = cosine + rows_ * half;
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(past_ + row) * std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
        cosine[row * half + j] = static_cast<float>(std::cos(angle));
        sine[row * half + j] = static_cast<float>(std::sin(angle));
      }
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width_));
    parallel_for(batch_ * rows_, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t at = i % rows_ * half;
        for (int64_t h = 0; h < 2 * spec_.heads; ++h) {
          float* x = qkv + i * columns_ + h * size_;
          turn_head(x, x, size_, cosine + at, sine + at, half, false);
        }
      }
    });
  }

  Run& run_;
  const Spec& spec_;
  const int64_t columns_;
  int64_t batch_, rows_, width_, value_width_, size_, value_size_;
  int64_t past_ = 0, capacity_ = 0;  // keys of the past that count, and that it has room for
  bool caches_;
};

void check_projection(const Run& run) {
  const Shape &x = run.in(0).shape(), &w = run.in(1).shape();
  SX_CHECK(run, x.rank() == 3 && w.rank() == 2 && w[0] == x[2], "the input is ", x.str(), " and the weights ", w.str(),
           "; [batch, rows, n] and [n, columns] expected");
  SX_CHECK(run, !run.has(2) || (run.in(2).rank() == 1 && run.in(2).size() == w[1]), "the bias is ",
           run.in(2).shape().str(), "; ", w[1], " values expected");
}

class FloatAttention {
 public:
  explicit FloatAttention(Prepare& p) : spec_(p, kFloatPlaces) {
    spec_.precision = changing_precision(p.precision());
    const Tensor* weights = p.constant(1);
    if (weights == nullptr || weights->rank() != 2 || weights->size() == 0) return;
    packed_ = p.shared("weights", [&] { return pack_matrix(*weights, false, p.precision()); });
  }

  void operator()(Run& run) const {
    check_projection(run);
    const Shape& x = run.in(0).shape();
    const int64_t columns = run.in(1).dim(1);
    SelfAttention attention(run, spec_, columns);
    const FloatIn input(run.in(0));
    std::optional<FloatIn> weights, bias;
    const Tensor qkv(DType::kFloat32, Shape{x[0], x[1], columns});
    Gemm g;
    g.m = x[0] * x[1], g.n = columns, g.k = x[2];
    g.a = input.data(), g.lda = x[2];
    g.ldb = g.ldc = columns;
    if (packed_.defined()) g.packed_b = packed_words(packed_), g.precision = packed_precision(packed_);
    else g.b = weights.emplace(run.in(1)).data();
    g.c = qkv.data<float>();
    if (run.has(2)) g.epilogue.column_bias = bias.emplace(run.in(2)).data();
    gemm(g);
    attention.compute(qkv.data<float>());
  }

 private:
  Spec spec_;
  Tensor packed_;
};

class ByteAttention {
 public:
  explicit ByteAttention(Prepare& p) : spec_(p, kBytePlaces), product_(p, 1) {
    spec_.precision = changing_precision(p.precision());
  }

  void operator()(Run& run) const {
    enum : int { kX, kWeights, kBias, kXScale, kWeightScale, kMask, kXZero, kWeightZero };
    check_projection(run);
    const Tensor &x = run.in(kX), &weights = run.in(kWeights);
    SelfAttention attention(run, spec_, weights.dim(1));
    const MatMulShape s(run, x.shape(), weights.shape());
    const FloatIn x_scale(run.in(kXScale)), weight_scale(run.in(kWeightScale)), bias(run.in(kBias));
    SX_CHECK(run, run.in(kXScale).size() == 1, "input_scale has ", run.in(kXScale).size(), " elements; 1 expected");
    const int64_t scales = run.in(kWeightScale).size();
    SX_CHECK(run, scales == 1 || scales == s.n, "weight_scale has ", scales, " elements; 1 or ", s.n, " expected");
    const ZeroPoints x_zero = run.has(kXZero) ? ZeroPoints(run, run.in(kXZero), 1, 1) : ZeroPoints();
    const ZeroPoints weight_zeros = run.has(kWeightZero) ? ZeroPoints(run, run.in(kWeightZero), s.n, 1) : ZeroPoints();
    Int8Epilogue epilogue;
    epilogue.output = Int8Output::kFloat32;
    epilogue.scale = x_scale.data()[0];
    if (scales == 1) epilogue.scale *= weight_scale.data()[0];
    else epilogue.column_scales = weight_scale.data();
    epilogue.float_bias = bias.data();
    const Tensor qkv(DType::kFloat32, s.out);
    if (qkv.size() > 0)
      product_.run(s,
                   {x.raw(), x.dtype() == DType::kInt8, false, weights.raw(), weights.dtype() == DType::kInt8, &x_zero,
                    &weight_zeros},
                   epilogue, qkv.raw());
    attention.compute(qkv.data<float>());
  }

 private:
  Spec spec_;
  Int8Product product_;
};

// --- gradients

void differentiate(GradientContext& c) {
  const Spec spec(c, kFloatPlaces);
  SX_CHECK(c, !spec.rotary && !spec.shares,
           "has no gradient with the attributes do_rotary and past_present_share_buffer");
  Expr qkv = c.op("MatMul", {c.in(0), c.in(1)});
  if (c.in(2)) qkv = qkv + c.in(2);
  Attributes thirds = {{"axis", int64_t{2}}};
  std::vector<Expr> inputs = {qkv};
  if (spec.widths.empty()) thirds["num_outputs"] = int64_t{3};
  else inputs.push_back(c.ints(spec.widths));
  const std::vector<Expr> parts = c.ops(3, "Split", inputs, thirds);
  AttentionExprs a;
  a.q = by_head(parts[0], spec.heads);
  a.k = by_head(parts[1], spec.heads);
  a.v = by_head(parts[2], spec.heads);
  const Expr past = c.in(4);
  if (past) {
    SX_CHECK(c, past.rank() == 5, "has no gradient where the rank of its past is unknown");
    const auto half = [&](int64_t i) { return c.op("Gather", {past, c.constant(Tensor::scalar(i))}); };
    a.k = c.concat({half(0), a.k}, 2);
    a.v = c.concat({half(1), a.v}, 2);
  }
  const bool idle = c.in(3) && axis_of(c.in(3), 1) == Dim(1);
  if (!idle) a.mask = padding_scores(c, 3, static_cast<double>(spec.filter), a.q, a.k);
  if (c.in(5)) a.mask = a.mask ? a.mask + c.in(5) : c.in(5);
  if (spec.causal) a.seen = causal_keys(a.q, a.k, past);
  a.scale = static_cast<double>(spec.scale);
  const Expr present = c.grad(1) ? c.concat({c.unsqueeze(a.k, {0}), c.unsqueeze(a.v, {0})}, 0) : Expr();
  c.give_through({by_row(attention_exprs(a).y), present});
}

OpDef with_attributes(const char* name) {
  OpDef op(name, "com.microsoft");
  op.attr("do_rotary", 0)
      .attr("mask_filter_value", -10000.0f)
      .required_attr("num_heads", AttrKind::kInt)
      .attr("past_present_share_buffer", 0)
      .optional_attr("scale", AttrKind::kFloat)
      .attr("unidirectional", 0);
  return op;
}

}  // namespace

void define_ms_self_attention(OpList& ops) {
  ops.add(with_attributes("Attention")
              .optional_attr("qkv_hidden_sizes", AttrKind::kInts)
              .optional_attr("rotary_embedding_dim", AttrKind::kInt)
              .in("input", "T", kTypes)
              .in("weights", "T", kTypes)
              .optional_in("bias", "T", kTypes)
              .optional_in("mask_index", "M", DType::kInt32)
              .optional_in("past", "T", kTypes)
              .optional_in("attention_bias", "T", kTypes)
              .optional_in("past_sequence_length", "M", DType::kInt32)
              .out("output", "T")
              .optional_out("present", "T")
              .infer([](InferContext& c) { infer(c, kFloatPlaces, c.dtype(0)); })
              .kernel([](Prepare& p) -> Kernel { return FloatAttention(p); })
              .gradient(differentiate));
  ops.add(with_attributes("QAttention")
              .in("input", "T1", kBytes)
              .in("weight", "T2", kBytes)
              .in("bias", "T3", kTypes)
              .in("input_scale", "T3", kTypes)
              .in("weight_scale", "T3", kTypes)
              .optional_in("mask_index", "", DType::kInt32)
              .optional_in("input_zero_point", "T1", kBytes)
              .optional_in("weight_zero_point", "T2", kBytes)
              .optional_in("past", "T3", kTypes)
              .out("output", "T3")
              .optional_out("present", "T3")
              .infer([](InferContext& c) { infer(c, kBytePlaces, c.dtype(2)); })
              .kernel([](Prepare& p) -> Kernel { return ByteAttention(p); })
              .no_gradient("its operands are quantized"));
}

}  // namespace sx
