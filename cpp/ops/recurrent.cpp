// Attributes, weights and time steps of the recurrent operators.
#include "ops/recurrent.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "base/scratch.h"
#include "kernels/unary.h"
#include "ops/float_io.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

// Sequences that one task takes through time together: few would read the weights for too little, many leave threads
// without work.
constexpr int64_t kFewestRows = 4, kMostRows = 16;
// Rows of X that a task multiplies at a time, well before its steps need them.
constexpr int64_t kStretchRows = 48;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct NamedActivation {
  const char* name;
  Activation kind;
  bool takes_alpha, takes_beta;
  float alpha, beta;
};
constexpr NamedActivation kActivations[] = {
    {"relu", Activation::kRelu, false, false, 0, 0},
    {"tanh", Activation::kTanh, false, false, 0, 0},
    {"sigmoid", Activation::kSigmoid, false, false, 0, 0},
    {"affine", Activation::kAffine, true, true, 1, 0},
    {"leakyrelu", Activation::kLeakyRelu, true, false, 0.01f, 0},
    {"thresholdedrelu", Activation::kThresholdedRelu, true, false, 1, 0},
    {"scaledtanh", Activation::kTanh, true, true, 1, 1},
    {"hardsigmoid", Activation::kHardSigmoid, true, true, 0.2f, 0.5f},
    {"elu", Activation::kElu, true, false, 1, 0},
    {"softsign", Activation::kSoftsign, false, false, 0, 0},
    {"softplus", Activation::kSoftplus, false, false, 0, 0},
};

const NamedActivation& find_activation(const NodeView& node, std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const NamedActivation& known : kActivations)
    if (name == known.name) return known;
  node.error("attribute 'activations' names '", name, "', which is not an activation of recurrent operators");
}

double activated(const CellActivation& f, double x) {
  switch (f.kind) {
    case Activation::kRelu: return x > 0 || std::isnan(x) ? x : 0.0;
    case Activation::kTanh: return std::tanh(x);
    case Activation::kSigmoid: return 1.0 / (1.0 + std::exp(-x));
    case Activation::kAffine: return static_cast<double>(f.alpha) * x + static_cast<double>(f.beta);
    case Activation::kLeakyRelu: return x < 0 ? static_cast<double>(f.alpha) * x : x;
    case Activation::kThresholdedRelu: return x > static_cast<double>(f.alpha) ? x : 0.0;
    case Activation::kHardSigmoid:
      return std::min(std::max(static_cast<double>(f.alpha) * x + static_cast<double>(f.beta), 0.0), 1.0);
    case Activation::kElu: return x < 0 ? static_cast<double>(f.alpha) * std::expm1(x) : x;
    case Activation::kSoftsign: return x / (1.0 + std::abs(x));
    case Activation::kSoftplus: return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
    default: return x;
  }
}

}  // namespace

void activate(const CellActivation& f, float* x, int64_t n) {
  if (f.in_scale != 1.0f) apply(Activation::kAffine, x, x, n, f.in_scale, 0.0f);
  apply(f.kind, x, x, n, f.alpha, f.beta);
  if (f.out_scale != 1.0f) apply(Activation::kAffine, x, x, n, f.out_scale, 0.0f);
}

void activate(const CellActivation& f, double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    x[i] = static_cast<double>(f.out_scale) * activated(f, static_cast<double>(f.in_scale) * x[i]);
}

RecurrentSpec::RecurrentSpec(const NodeView& node, const RecurrentForm& form) : gates(form.gates), states(form.states) {
  const std::vector<std::string>& functions = form.functions;
  const std::string& direction = node.attr_string("direction");
  SX_CHECK(node, direction == "forward" || direction == "reverse" || direction == "bidirectional",
           "attribute 'direction' is '", direction, "'; expected forward, reverse or bidirectional");
  directions = direction == "bidirectional" ? 2 : 1;
  backward_first = direction == "reverse";
  batch_first = node.attr_or<int64_t>("layout", 0) != 0;
  clip = node.attr_or<float>("clip", 0.0f);
  hidden = node.attr_or<int64_t>("hidden_size", 0);
  SX_CHECK(node, hidden >= 0, "attribute 'hidden_size' is ", hidden);

  auto names = node.attr_or<std::vector<std::string>>("activations", {});
  const auto alphas = node.attr_or<std::vector<float>>("activation_alpha", {});
  const auto betas = node.attr_or<std::vector<float>>("activation_beta", {});
  if (names.empty()) names = functions;
  const size_t wanted = functions.size() * static_cast<size_t>(directions);
  if (directions == 2 && names.size() == functions.size()) {
    const std::vector<std::string> once = names;
    names.insert(names.end(), once.begin(), once.end());
  }
  SX_CHECK(node, names.size() >= wanted, "attribute 'activations' has ", names.size(), " names; ", wanted, " expected");
  // Parameters are used up by the activations that have them, in order.
  size_t next_alpha = 0, next_beta = 0;
  for (int d = 0; d < directions; ++d) {
    activations.emplace_back();
    for (size_t i = 0; i < functions.size(); ++i) {
      const NamedActivation& known = find_activation(node, names[static_cast<size_t>(d) * functions.size() + i]);
      CellActivation f{known.kind, known.alpha, known.beta};
      if (known.takes_alpha && next_alpha < alphas.size()) f.alpha = alphas[next_alpha++];
      if (known.takes_beta && next_beta < betas.size()) f.beta = betas[next_beta++];
      if (std::strcmp(known.name, "scaledtanh") == 0) {
        f.out_scale = f.alpha;
        f.in_scale = f.beta;
      }
      activations.back().push_back(f);
    }
  }
}

OpDef& add_recurrent_attrs(OpDef& op) {
  return op.attr("direction", "forward")
      .attr("layout", 0)
      .optional_attr("activation_alpha", AttrKind::kFloats)
      .optional_attr("activation_beta", AttrKind::kFloats)
      .optional_attr("activations", AttrKind::kStrings)
      .optional_attr("clip", AttrKind::kFloat)
      .optional_attr("hidden_size", AttrKind::kInt);
}

OpDef& add_recurrent_ports(OpDef& op) {
  return add_recurrent_attrs(op)
      .since(22)
      .in("X", "T", kFloats)
      .in("W", "T", kFloats)
      .in("R", "T", kFloats)
      .optional_in("B", "T", kFloats)
      .optional_in("sequence_lens", "T1", DType::kInt32)
      .optional_in("initial_h", "T", kFloats)
      .optional_out("Y", "T")
      .optional_out("Y_h", "T")
      .upgrade(7, [](UpgradeContext& c) { c.take<int64_t>("output_sequence", 0); });
}

void infer_recurrent(InferContext& c, const RecurrentSpec& spec, size_t hidden_axis) {
  SX_CHECK(c, !c.has_shape(0) || c.rank(0) == 3, "X is ", c.type(0).str(), "; three axes expected");
  for (int i = 1; i <= 2; ++i)
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 3, i == 1 ? "W" : "R", " is ", c.type(i).str(),
             "; three axes expected");
  Dim steps, batch, hidden;
  if (c.has_shape(0)) {
    steps = c.shape(0)[spec.batch_first ? 1 : 0];
    batch = c.shape(0)[spec.batch_first ? 0 : 1];
  }
  if (spec.hidden > 0) hidden = Dim(spec.hidden);
  else if (c.has_shape(2)) hidden = c.shape(2)[hidden_axis];
  const Dim directions(spec.directions);
  const SymShape state = spec.batch_first ? SymShape{batch, directions, hidden} : SymShape{directions, batch, hidden};
  c.out(0, c.dtype(0),
        spec.batch_first ? SymShape{batch, steps, directions, hidden} : SymShape{steps, directions, batch, hidden});
  for (int i = 1; i <= spec.states; ++i) c.out(i, c.dtype(0), state);
  const Dim width = hidden.known() ? Dim(hidden.value() * spec.gates) : Dim();
  for (int i = 0; i < kKeptCount; ++i)
    c.out(1 + spec.states + i, c.dtype(0), SymShape{directions, steps, batch, i == kKeptGates ? width : hidden});
}

RecurrentSizes::RecurrentSizes(const Run& run, const RecurrentSpec& spec, int64_t hidden_size)
    : hidden(hidden_size),
      directions(spec.directions),
      gates(spec.gates),
      states(spec.states),
      batch_first(spec.batch_first) {
  const Shape& x = run.in(0).shape();
  SX_CHECK(run, x.rank() == 3, "X is ", x.str(), "; three axes expected");
  steps = x[batch_first ? 1 : 0];
  batch = x[batch_first ? 0 : 1];
  inputs = x[2];
  SX_CHECK(run, hidden >= 1 && (spec.hidden == 0 || spec.hidden == hidden), "hidden_size is ", spec.hidden,
           " but the weights have ", hidden);
}

Shape RecurrentSizes::y_shape() const {
  return batch_first ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden};
}
Shape RecurrentSizes::state_shape() const {
  return batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
}

Shape RecurrentSizes::kept_shape(int output) const {
  return {directions, steps, batch, output == kKeptGates ? width() : hidden};
}
int64_t RecurrentSizes::block() const {
  const int64_t share = ceil_div(checked_mul(batch, directions), static_cast<int64_t>(thread_count()));
  const int64_t blocks = ceil_div(batch, std::min(std::max(share, kFewestRows), kMostRows));
  return blocks == 0 ? 0 : ceil_div(batch, blocks);
}

void check_recurrent_inputs(const Run& run, const RecurrentSizes& s) {
  const auto check = [&](int i, const char* what, const Shape& expected) {
    if (run.has(i))
      SX_CHECK(run, run.in(i).shape() == expected, what, " is ", run.in(i).shape().str(), "; ", expected.str(),
               " expected");
  };
  check(3, "B", Shape{s.directions, 2 * s.width()});
  check(4, "sequence_lens", Shape{s.batch});
  check(5, "initial_h", s.state_shape());
  check(6, "initial_c", s.state_shape());
  check(7, "P", Shape{s.directions, 3 * s.hidden});
  if (!run.has(4)) return;
  const int32_t* lengths = run.in(4).data<int32_t>();
  for (int64_t i = 0; i < s.batch; ++i)
    SX_CHECK(run, lengths[i] >= 0 && lengths[i] <= s.steps, "sequence_lens[", i, "] is ", lengths[i], "; 0..", s.steps,
             " expected");
}

RecurrentSizes checked_sizes(const Run& run, const RecurrentSpec& spec) {
  const Shape& r = run.in(2).shape();
  SX_CHECK(run, r.rank() == 3, "R is ", r.str(), "; three axes expected");
  const RecurrentSizes sizes(run, spec, r[2]);
  check_recurrent_inputs(run, sizes);
  return sizes;
}

// --- biases

template <typename T>
Tensor joined_bias(const Tensor& b, int directions, int gates, int kept) {
  const int64_t width = b.size() / (2 * directions);
  const int64_t both = width / gates * (gates - kept);
  Tensor joined(dtype_of<T>, Shape{directions, width});
  const Tensor converted = b.dtype() == dtype_of<T> ? b : to_f32(b);
  const T* from = static_cast<const T*>(converted.raw());
  T* to = joined.data<T>();
  for (int d = 0; d < directions; ++d, from += 2 * width, to += width)
    for (int64_t i = 0; i < width; ++i) to[i] = i < both ? from[i] + from[width + i] : from[i];
  return joined;
}
template Tensor joined_bias<float>(const Tensor&, int, int, int);
template Tensor joined_bias<double>(const Tensor&, int, int, int);

BiasCache::BiasCache(Prepare& p, const RecurrentSpec& spec, int kept)
    : directions_(spec.directions), gates_(spec.gates), kept_(kept) {
  const Tensor* b = p.constant(3);
  if (b == nullptr || b->size() % (2 * directions_ * gates_) != 0) return;
  bias_ = p.shared("bias", [&] {
    return b->dtype() == DType::kFloat64 ? joined_bias<double>(*b, directions_, gates_, kept_)
                                         : joined_bias<float>(*b, directions_, gates_, kept_);
  });
}

Tensor BiasCache::get(const Run& run) const {
  if (bias_.defined() || !run.has(3)) return bias_;
  return run.in(3).dtype() == DType::kFloat64 ? joined_bias<double>(run.in(3), directions_, gates_, kept_)
                                              : joined_bias<float>(run.in(3), directions_, gates_, kept_);
}

// --- time

namespace {

// How the work of a run is cut: a task takes `block` sequences of one direction through time, `stretch` steps at a
// time.
struct RecurrentTasks {
  int64_t blocks, block;  // of one direction
  bool ahead;             // too few tasks for all threads, which therefore multiply all of X together beforehand
  int64_t stretch;

  explicit RecurrentTasks(const RecurrentSizes& s) {
    block = s.block();
    blocks = block == 0 ? 0 : ceil_div(s.batch, block);
    ahead = s.directions * blocks < thread_count();
    stretch = ahead ? s.steps : std::min(s.steps, ceil_div(kStretchRows, std::max<int64_t>(block, 1)));
  }
};

// x W^T + bias for the sequences of one task and some stretch of time.
template <typename T>
struct Projected {
  const T* data;
  int64_t first_time, step_stride, row_stride;
  const T* at(int64_t t) const { return data + (t - first_time) * step_stride; }
};

}  // namespace

template <typename T>
void run_recurrent(const RecurrentSpec& spec, const RecurrentSizes& s, const RecurrentProducts<T>& products,
                   const RecurrentCell<T>& cell, const RecurrentData<T>& data) {
  const RecurrentTasks tasks(s);
  const int64_t width = s.width();
  const auto scratch = [](ScratchSlot slot, int64_t count) {
    return static_cast<T*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, sizeof(T)))));
  };
  const auto bias = [&](int d) { return data.bias ? data.bias + d * width : nullptr; };
  const int64_t whole = checked_mul(s.steps, s.batch);
  const T* ahead = nullptr;
  if (tasks.ahead && whole > 0) {
    T* to = scratch(ScratchSlot::kOperator, checked_mul(checked_mul(whole, width), s.directions));
    for (int d = 0; d < s.directions; ++d)
      products.project(d, {0, 1, whole, whole}, data.x, bias(d), to + d * whole * width);
    ahead = to;
  }

  parallel_for(s.directions * tasks.blocks, 1, [&](int64_t from, int64_t to) {
    const int64_t state = tasks.block * s.hidden;
    T* states = scratch(ScratchSlot::kOperator2, checked_mul(state, s.gates + 3));
    for (int64_t task = from; task < to; ++task) {
      const int d = static_cast<int>(task / tasks.blocks);
      const int64_t first = task % tasks.blocks * tasks.block;
      RecurrentStep<T> step{s,
                            products,
                            d,
                            std::min(tasks.block, s.batch - first),
                            nullptr,
                            0,
                            states,
                            states + state,
                            states + 3 * state,
                            states + 2 * state,
                            data.lengths ? data.lengths + first : nullptr,
                            0,
                            data.kept[kKeptGates] != nullptr};
      const auto load = [&](T* to_state, const T* from_state) {
        for (int64_t r = 0; r < step.rows; ++r) {
          T* row = to_state + r * s.hidden;
          if (from_state == nullptr) std::fill(row, row + s.hidden, T{0});
          else std::copy_n(from_state + s.state_row(d, first + r) * s.hidden, s.hidden, row);
        }
      };
      // Times [t, t + count).
      const auto project = [&](int64_t t, int64_t count) -> Projected<T> {
        const int64_t at = s.x_row(t, first);
        if (ahead)
          return {ahead + (d * whole + at) * width, t, (s.batch_first ? 1 : s.batch) * width,
                  (s.batch_first ? s.steps : 1) * width};
        T* y = scratch(ScratchSlot::kOperator, checked_mul(tasks.stretch * tasks.block, width));
        if (s.batch_first) {
          products.project(d, {at, step.rows, count, s.steps}, data.x, bias(d), y);
          return {y, t, width, count * width};
        }
        products.project(d, {at, count, step.rows, s.batch}, data.x, bias(d), y);
        return {y, t, step.rows * width, width};
      };
      load(step.h, data.initial_h);
      load(step.c, data.initial_c);
      for (int64_t done = 0; done < s.steps; done += tasks.stretch) {
        const int64_t count = std::min(tasks.stretch, s.steps - done);
        const Projected<T> projected = project(spec.backward(d) ? s.steps - done - count : done, count);
        step.projected_stride = projected.row_stride;
        for (int64_t i = done; i < done + count; ++i) {
          step.t = spec.backward(d) ? s.steps - 1 - i : i;
          step.projected = projected.at(step.t);
          const int64_t kept = s.kept_row(step.t, d, first);
          if (step.keeps) {
            step.gates = data.kept[kKeptGates] + kept * width;
            std::copy_n(step.h, step.rows * s.hidden, data.kept[kKeptBefore] + kept * s.hidden);
          }
          if (data.kept[kKeptInner] != nullptr) step.inner = data.kept[kKeptInner] + kept * s.hidden;
          cell.step(step);
          if (data.y == nullptr) continue;
          for (int64_t r = 0; r < step.rows; ++r) {
            T* y = data.y + s.y_row(step.t, d, first + r) * s.hidden;
            if (step.active(r)) std::copy_n(step.h + r * s.hidden, s.hidden, y);
            else std::fill(y, y + s.hidden, T{0});
          }
        }
      }
      const auto keep = [&](const T* from_state, T* to_state) {
        for (int64_t r = 0; r < step.rows && to_state != nullptr; ++r)
          std::copy_n(from_state + r * s.hidden, s.hidden, to_state + s.state_row(d, first + r) * s.hidden);
      };
      keep(step.h, data.last_h);
      keep(step.c, data.last_c);
    }
  });
}
template void run_recurrent(const RecurrentSpec&, const RecurrentSizes&, const RecurrentProducts<float>&,
                            const RecurrentCell<float>&, const RecurrentData<float>&);
template void run_recurrent(const RecurrentSpec&, const RecurrentSizes&, const RecurrentProducts<double>&,
                            const RecurrentCell<double>&, const RecurrentData<double>&);

// --- inputs and outputs

template <typename T>
RecurrentIo<T>::RecurrentIo(Run& run, const RecurrentSizes& sizes) : run_(run), sizes_(sizes) {
  held_.reserve(8);
}

template <typename T>
const T* RecurrentIo<T>::input(int i) {
  if (!run_.has(i)) return nullptr;
  if constexpr (std::is_same_v<T, double>) {
    return run_.in(i).template data<double>();
  } else {
    if (run_.in(i).dtype() == DType::kFloat32) return run_.in(i).template data<float>();
    held_.push_back(to_f32(run_.in(i)));
    return held_.back().template data<float>();
  }
}

template <typename T>
T* RecurrentIo<T>::output(int i, const Shape& shape) {
  if (!run_.wants(i)) return nullptr;
  const Tensor& y = run_.out(i, shape);
  if (y.dtype() == dtype_of<T>) return y.template data<T>();
  targets_[i] = &y;
  results_[i] = Tensor(dtype_of<T>, shape);
  return results_[i].template data<T>();
}

template <typename T>
RecurrentData<T> RecurrentIo<T>::data(const T* bias) {
  RecurrentData<T> data;
  data.x = input(0);
  data.bias = bias;
  data.lengths = run_.has(4) ? run_.in(4).template data<int32_t>() : nullptr;
  data.initial_h = input(5);
  data.initial_c = input(6);
  data.y = output(0, sizes_.y_shape());
  data.last_h = output(1, sizes_.state_shape());
  data.last_c = sizes_.states == 2 ? output(2, sizes_.state_shape()) : nullptr;
  for (int i = 0; i < kKeptCount; ++i) data.kept[i] = output(1 + sizes_.states + i, sizes_.kept_shape(i));
  return data;
}

template <typename T>
void RecurrentIo<T>::store() const {
  for (int i = 0; i < kOutputs; ++i)
    if (targets_[i] != nullptr) store_f32(static_cast<const float*>(results_[i].raw()), *targets_[i]);
}
template class RecurrentIo<float>;
template class RecurrentIo<double>;

}  // namespace sx
