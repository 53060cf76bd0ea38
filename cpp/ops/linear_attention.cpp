// S = exp(g) S + k (beta (v - S' k))', o = scale S' q: attention as a recurrence over a state for every head.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "kernels/unary.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kQuery, kKey, kValue, kPast, kDecay, kBeta };

struct LinearSpec {
  int64_t q_heads, kv_heads;
  float scale;
  bool gated, delta;

  explicit LinearSpec(const NodeView& node)
      : q_heads(node.attr_int("q_num_heads")),
        kv_heads(node.attr_int("kv_num_heads")),
        scale(node.attr_float("scale")) {
    SX_CHECK(node, kv_heads > 0 && q_heads > 0 && q_heads % kv_heads == 0, "q_num_heads is ", q_heads,
             " and kv_num_heads ", kv_heads, "; the first must be a multiple of the second");
    const std::string& rule = node.attr_string("update_rule");
    SX_CHECK(node, rule == "linear" || rule == "gated" || rule == "delta" || rule == "gated_delta",
             "attribute 'update_rule' is '", rule, "'; expected linear, gated, delta or gated_delta");
    gated = rule == "gated" || rule == "gated_delta";
    delta = rule == "delta" || rule == "gated_delta";
  }

  template <typename View>
  void check_inputs(const View& view) const {
    SX_CHECK(view, view.has(kDecay) == gated, "its update rule ", gated ? "needs" : "has no", " decay");
    SX_CHECK(view, view.has(kBeta) == delta, "its update rule ", delta ? "needs" : "has no", " beta");
  }
};

void infer(InferContext& c) {
  const LinearSpec spec(c);
  spec.check_inputs(c);
  const DType state = c.has(kPast) ? c.dtype(kPast) : c.dtype(kQuery);
  for (int i : {kQuery, kKey, kValue})
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 3, "input ", i, " is ", c.type(i).str(), "; three axes expected");
  if (!c.has_shape(kQuery) || !c.has_shape(kValue)) {
    c.out(0, c.dtype(kQuery), SymShape(3));
    return c.out(1, state, SymShape(4));
  }
  const SymShape &q = c.shape(kQuery), &v = c.shape(kValue);
  const Dim value_size = floor_div(v[2], spec.kv_heads);
  c.out(0, c.dtype(kQuery), SymShape{q[0], q[1], value_size * Dim(spec.q_heads)});
  c.out(1, state, SymShape{q[0], Dim(spec.kv_heads), floor_div(q[2], spec.q_heads), value_size});
}

struct LinearSizes {
  int64_t batch, steps, key_size, value_size;
  int64_t decay_width, beta_width;  // values for each step; 0: none
};

LinearSizes sizes_of(const Run& run, const LinearSpec& spec) {
  const Shape &q = run.in(kQuery).shape(), &k = run.in(kKey).shape(), &v = run.in(kValue).shape();
  SX_CHECK(run,
           q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && q[2] % spec.q_heads == 0 && v[2] % spec.kv_heads == 0 &&
               k[2] == q[2] / spec.q_heads * spec.kv_heads && k[0] == q[0] && v[0] == q[0] && k[1] == q[1] &&
               v[1] == q[1],
           "query, key and value are ", q.str(), ", ", k.str(), " and ", v.str(), ", which do not fit together");
  LinearSizes s{q[0], q[1], q[2] / spec.q_heads, v[2] / spec.kv_heads, 0, 0};
  const auto width = [&](int i, int64_t wide, int64_t narrow, const char* what) {
    if (!run.has(i)) return int64_t{0};
    const Shape& x = run.in(i).shape();
    SX_CHECK(run, x.rank() == 3 && x[0] == s.batch && x[1] == s.steps && (x[2] == wide || x[2] == narrow), what, " is ",
             x.str(), "; [", s.batch, ",", s.steps, ",", narrow, " or ", wide, "] expected");
    return x[2];
  };
  s.decay_width = width(kDecay, spec.kv_heads * s.key_size, spec.kv_heads, "decay");
  s.beta_width = width(kBeta, spec.kv_heads, 1, "beta");
  const Shape state{s.batch, spec.kv_heads, s.key_size, s.value_size};
  if (run.has(kPast))
    SX_CHECK(run, run.in(kPast).shape() == state, "past_state is ", run.in(kPast).shape().str(), "; ", state.str(),
             " expected");
  return s;
}

struct LinearData {
  const float *query, *key, *value, *decay, *beta;
  float *state, *output;
};

// One head of one image through all steps; `fresh` holds value_size floats, `factors` key_size.
void run_head(const LinearSpec& spec, const LinearSizes& s, const LinearData& data, int64_t image, int64_t head,
              float* fresh, float* factors) {
  float* state = data.state + (image * spec.kv_heads + head) * s.key_size * s.value_size;
  const float scale = spec.scale != 0.0f ? spec.scale : 1.0f / std::sqrt(static_cast<float>(s.key_size));
  const int64_t group = spec.q_heads / spec.kv_heads;
  for (int64_t t = 0; t < s.steps; ++t) {
    const int64_t row = image * s.steps + t;
    const float* key = data.key + (row * spec.kv_heads + head) * s.key_size;
    const float* value = data.value + (row * spec.kv_heads + head) * s.value_size;
    if (data.decay != nullptr) {
      const bool shared = s.decay_width == spec.kv_heads;
      const float* decay = data.decay + row * s.decay_width + head * (shared ? 1 : s.key_size);
      for (int64_t i = 0; i < s.key_size; ++i) factors[i] = decay[shared ? 0 : i];
      apply(Activation::kExp, factors, factors, s.key_size);
      for (int64_t i = 0; i < s.key_size; ++i)
        for (int64_t j = 0; j < s.value_size; ++j) state[i * s.value_size + j] *= factors[i];
    }
    std::copy_n(value, s.value_size, fresh);
    if (data.beta != nullptr) {
      for (int64_t i = 0; i < s.key_size; ++i)
        for (int64_t j = 0; j < s.value_size; ++j) fresh[j] -= state[i * s.value_size + j] * key[i];
      const float rate = data.beta[row * s.beta_width + (s.beta_width == 1 ? 0 : head)];
      for (int64_t j = 0; j < s.value_size; ++j) fresh[j] *= rate;
    }
    for (int64_t i = 0; i < s.key_size; ++i)
      for (int64_t j = 0; j < s.value_size; ++j) state[i * s.value_size + j] += key[i] * fresh[j];
    for (int64_t reader = head * group; reader < (head + 1) * group; ++reader) {
      const float* query = data.query + (row * spec.q_heads + reader) * s.key_size;
      float* output = data.output + (row * spec.q_heads + reader) * s.value_size;
      std::fill_n(output, s.value_size, 0.0f);
      for (int64_t i = 0; i < s.key_size; ++i)
        for (int64_t j = 0; j < s.value_size; ++j) output[j] += query[i] * state[i * s.value_size + j];
      for (int64_t j = 0; j < s.value_size; ++j) output[j] *= scale;
    }
  }
}

Kernel make(Prepare& p) {
  return [spec = LinearSpec(p)](Run& run) {
    spec.check_inputs(run);
    const LinearSizes s = sizes_of(run, spec);
    const Shape state_shape{s.batch, spec.kv_heads, s.key_size, s.value_size};
    const Tensor& y = run.out(0, Shape{s.batch, s.steps, spec.q_heads * s.value_size});
    const FloatIn query(run.in(kQuery)), key(run.in(kKey)), value(run.in(kValue));
    std::optional<FloatIn> decay, beta;
    const FloatOut out(y);
    Tensor state(DType::kFloat32, state_shape);
    if (run.has(kPast)) std::copy_n(FloatIn(run.in(kPast)).data(), state.size(), state.data<float>());
    else std::fill_n(state.data<float>(), state.size(), 0.0f);
    const LinearData data{query.data(),
                          key.data(),
                          value.data(),
                          spec.gated ? decay.emplace(run.in(kDecay)).data() : nullptr,
                          spec.delta ? beta.emplace(run.in(kBeta)).data() : nullptr,
                          state.data<float>(),
                          out.data()};
    parallel_for(s.batch * spec.kv_heads, 1, [&](int64_t from, int64_t to) {
      auto* scratch = static_cast<float*>(
          thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(s.key_size + s.value_size) * sizeof(float)));
      for (int64_t i = from; i < to; ++i)
        run_head(spec, s, data, i / spec.kv_heads, i % spec.kv_heads, scratch, scratch + s.value_size);
    });
    out.store();
    if (run.wants(1)) store_f32(state.data<float>(), run.out(1, state_shape));
  };
}

// --- gradients

// The recurrence as a Scan over time of a state [batch, heads, key size, value size].
void differentiate_linear_attention(GradientContext& c) {
  const LinearSpec spec(c);
  const Expr query = c.in(kQuery), value = c.in(kValue);
  SX_CHECK(c, query.rank() == 3 && value.rank() == 3, "has no gradient where the ranks of its inputs are unknown");
  const int64_t heads = spec.kv_heads, group = spec.q_heads / heads;
  const DType dtype = query.dtype();
  // [steps, batch, heads, ...]
  const auto by_time = [&](const Expr& x, const std::vector<int64_t>& rest) {
    std::vector<int64_t> shape = {0, 0}, order = {1, 0};
    for (size_t i = 0; i < rest.size(); ++i) order.push_back(static_cast<int64_t>(i) + 2);
    shape.insert(shape.end(), rest.begin(), rest.end());
    return c.transpose(c.reshape(x, shape), order);
  };
  Expr state = c.in(kPast);
  const Expr key_size = c.op("Div", {c.extent(query, 2), c.ints({spec.q_heads})});
  const Expr value_size = c.op("Div", {c.extent(value, 2), c.ints({heads})});
  if (!state)
    state =
        c.op("Expand", {c.scalar(0, dtype), c.concat({c.extent(query, 0), c.ints({heads}), key_size, value_size}, 0)});
  std::vector<Expr> inputs = {c.cast(state, dtype), by_time(query, {heads, group, -1}),
                              by_time(c.in(kKey), {heads, 1, -1}), by_time(value, {heads, 1, -1})};
  if (spec.gated) inputs.push_back(by_time(c.in(kDecay), {heads, -1, 1}));
  if (spec.delta) {
    const Expr beta = c.in(kBeta);
    inputs.push_back(by_time(beta, {-1, 1, 1}));
  }
  BodyBuilder body(c);
  Emitter& e = body.emitter();
  std::vector<Expr> items;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Type type = inputs[i].type();
    if (i > 0 && type.shape) type.shape->erase(type.shape->begin());
    items.push_back(body.input("item", type));
  }
  Expr s = items[0];
  const Expr q = items[1], k = items[2], v = items[3];
  if (spec.gated) s = s * e.op("Exp", {items[4]});
  Expr fresh = v;
  if (spec.delta) fresh = (v - e.op("MatMul", {k, s})) * items.back();
  s = s + e.op("MatMul", {e.swap_last(k), fresh});
  std::vector<Body> bodies;
  bodies.push_back(body.finish("body", {s, e.op("MatMul", {q, s})}));
  const std::vector<Expr> found =
      c.ops(2, "Scan", inputs, {{"num_scan_inputs", static_cast<int64_t>(inputs.size()) - 1}}, "", std::move(bodies));
  // [steps, batch, heads, group, value size]
  Expr y = c.reshape(c.transpose(found[1], {1, 0, 2, 3, 4}), {0, 0, -1});
  if (spec.scale != 0.0f) y = y * static_cast<double>(spec.scale);
  else y = y / c.op("Sqrt", {c.cast(key_size, dtype)});
  c.give_through({y, c.in(kPast) ? c.cast(found[0], c.in(kPast).dtype()) : found[0]});
}

}  // namespace

void define_linear_attention(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  ops.add(OpDef("LinearAttention")
              .since(27, 27)
              .attr("chunk_size", 64)
              .required_attr("kv_num_heads", AttrKind::kInt)
              .required_attr("q_num_heads", AttrKind::kInt)
              .attr("scale", 0.0f)
              .attr("update_rule", "gated_delta")
              .in("query", "T", kTypes)
              .in("key", "T", kTypes)
              .in("value", "T", kTypes)
              .optional_in("past_state", "S", kTypes)
              .optional_in("decay", "T", kTypes)
              .optional_in("beta", "T", kTypes)
              .out("output", "T")
              .optional_out("present_state", "S")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_linear_attention));
}

}  // namespace sx
