// y = f(x; alpha, beta): the activation functions of neural networks, Clip and Shrink.
#include <cmath>
#include <limits>

#include "kernels/f64.h"
#include "kernels/gelu_gradient.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
// min(max(x, low), high) that keeps NaN.
double clamp(double x, double low, double high) { return x < low ? (low < high ? low : high) : x > high ? high : x; }

// The gradient of x from that of y, dy, and the values of the row's parameters.
using Pullback = Expr (*)(const Expr& dy, const Expr& x, const Expr& y, double alpha, double beta);

Expr call(const char* op, const Expr& x) { return x.emitter().op(op, {x}); }
Expr less(const Expr& x, double bound) { return x.emitter().op("Less", {x, x.emitter().scalar(bound, x.dtype())}); }
Expr greater(const Expr& x, double bound) {
  return x.emitter().op("Greater", {x, x.emitter().scalar(bound, x.dtype())});
}
Expr where(const Expr& condition, const Expr& a, const Expr& b) { return a.emitter().where(condition, a, b); }
// dy where the condition holds, else 0.
Expr keep(const Expr& condition, const Expr& dy) { return where(condition, dy, dy.emitter().scalar(0, dy.dtype())); }

Expr pull_relu(const Expr& dy, const Expr&, const Expr& y, double, double) { return keep(greater(y, 0), dy); }
Expr pull_leaky_relu(const Expr& dy, const Expr& x, const Expr&, double alpha, double) {
  return where(less(x, 0), dy * alpha, dy);
}
Expr pull_sigmoid(const Expr& dy, const Expr&, const Expr& y, double, double) { return dy * (y * (1.0 - y)); }
Expr pull_elu(const Expr& dy, const Expr& x, const Expr& y, double alpha, double) {
  return where(less(x, 0), dy * (y + alpha), dy);
}
Expr pull_selu(const Expr& dy, const Expr& x, const Expr& y, double alpha, double gamma) {
  return where(less(x, 0), dy * (y + alpha * gamma), dy * gamma);
}
Expr pull_celu(const Expr& dy, const Expr& x, const Expr& y, double alpha, double) {
  return where(less(x, 0), dy * (y / alpha + 1.0), dy);
}
Expr pull_thresholded_relu(const Expr& dy, const Expr& x, const Expr&, double alpha, double) {
  return keep(greater(x, alpha), dy);
}
Expr pull_hard_sigmoid(const Expr& dy, const Expr&, const Expr& y, double alpha, double) {
  return keep(y.emitter().op("And", {greater(y, 0), less(y, 1)}), dy * alpha);
}
Expr pull_hard_swish(const Expr& dy, const Expr& x, const Expr&, double, double) {
  return where(less(x, 3), keep(greater(x, -3), dy * (x / 3.0 + 0.5)), dy);
}
Expr pull_softplus(const Expr& dy, const Expr& x, const Expr&, double, double) { return dy * call("Sigmoid", x); }
Expr pull_softsign(const Expr& dy, const Expr& x, const Expr&, double, double) {
  const Expr denominator = 1.0 + call("Abs", x);
  return dy / (denominator * denominator);
}
Expr pull_mish(const Expr& dy, const Expr& x, const Expr&, double, double) {
  const Expr t = call("Tanh", call("Softplus", x));
  return dy * (t + x * (1.0 - t * t) * call("Sigmoid", x));
}
Expr pull_swish(const Expr& dy, const Expr& x, const Expr&, double alpha, double) {
  const Expr s = call("Sigmoid", alpha == 1.0 ? x : x * alpha);
  return dy * (s + x * s * (1.0 - s) * alpha);
}
Expr gelu_gradient_of(const Expr& x, const Expr& dy) {
  const Expr density = call("Exp", x * x * -0.5) * (0.5 * M_2_SQRTPI * M_SQRT1_2);
  return dy * ((call("Erf", x * M_SQRT1_2) + 1.0) * 0.5 + x * density);
}
Expr pull_gelu(const Expr& dy, const Expr& x, const Expr&, double, double) {
  if (x.dtype() != DType::kFloat32) return gelu_gradient_of(x, dy);
  return x.emitter().op("GeluGradient", {x, dy}, {}, "sardonyx");
}
Expr pull_gelu_tanh(const Expr& dy, const Expr& x, const Expr&, double, double) {
  constexpr double kScale = M_2_SQRTPI * M_SQRT1_2;
  const Expr square = x * x;
  const Expr t = call("Tanh", x * (square * 0.044715 + 1.0) * kScale);
  return dy * ((t + 1.0) * 0.5 + x * (1.0 - t * t) * (square * (3 * 0.044715) + 1.0) * (0.5 * kScale));
}

struct Row {
  const char* name;
  int since, first;
  Activation f32;
  double (*f64)(double x, double alpha, double beta);  // null where the kernels have one for f64
  Pullback pullback;
  // Attribute names with their defaults; null where the function has no such parameter.
  const char* alpha = nullptr;
  float alpha_default = 0.0f;
  const char* beta = nullptr;
  float beta_default = 0.0f;
};

constexpr Row kRows[] = {
    {"LeakyRelu", 16, 1, Activation::kLeakyRelu, [](double x, double a, double) { return x < 0 ? a * x : x; },
     pull_leaky_relu, "alpha", 0.01f},
    {"Sigmoid", 13, 1, Activation::kSigmoid, nullptr, pull_sigmoid},
    {"Elu", 22, 1, Activation::kElu, [](double x, double a, double) { return x < 0 ? a * std::expm1(x) : x; }, pull_elu,
     "alpha", 1.0f},
    {"Selu", 22, 1, Activation::kSelu, [](double x, double a, double b) { return b * (x < 0 ? a * std::expm1(x) : x); },
     pull_selu, "alpha", 1.67326319217681884765625f, "gamma", 1.05070102214813232421875f},
    {"Celu", 28, 12, Activation::kCelu, [](double x, double a, double) { return x < 0 ? a * std::expm1(x / a) : x; },
     pull_celu, "alpha", 1.0f},
    {"ThresholdedRelu", 22, 10, Activation::kThresholdedRelu, [](double x, double a, double) { return x > a ? x : 0; },
     pull_thresholded_relu, "alpha", 1.0f},
    {"HardSigmoid", 22, 1, Activation::kHardSigmoid,
     [](double x, double a, double b) { return clamp(a * x + b, 0, 1); }, pull_hard_sigmoid, "alpha", 0.2f, "beta",
     0.5f},
    {"HardSwish", 22, 14, Activation::kHardSwish, [](double x, double, double) { return x * clamp(x / 6 + 0.5, 0, 1); },
     pull_hard_swish},
    {"Softplus", 22, 1, Activation::kSoftplus, [](double x, double, double) { return softplus(x); }, pull_softplus},
    {"Softsign", 22, 1, Activation::kSoftsign, [](double x, double, double) { return x / (1 + std::fabs(x)); },
     pull_softsign},
    {"Mish", 22, 18, Activation::kMish, [](double x, double, double) { return x * std::tanh(softplus(x)); }, pull_mish},
    {"Swish", 24, 24, Activation::kSwish, [](double x, double a, double) { return x * sigmoid(a * x); }, pull_swish,
     "alpha", 1.0f},
};

constexpr Row kRelu = {"Relu", 14, 1, Activation::kRelu, nullptr, pull_relu};
constexpr Row kGelu = {
    "Gelu",   20, 20, Activation::kGelu, [](double x, double, double) { return x / 2 * std::erfc(-x * M_SQRT1_2); },
    pull_gelu};
constexpr Row kGeluTanh = {
    "Gelu",
    20,
    20,
    Activation::kGeluTanh,
    [](double x, double, double) { return x * sigmoid(2 * M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)); },
    pull_gelu_tanh};

void map(const Row& row, float alpha, float beta, const Tensor& x, Tensor& y) {
  const DoubleFunction vectorized = double_function(row.f32);
  map_floats(
      x, y, kElementGrain, [&](const float* from, float* to, int64_t n) { apply(row.f32, from, to, n, alpha, beta); },
      [&](const double* from, double* to, int64_t n) {
        if (vectorized) return vectorized(from, to, n);
        for (int64_t i = 0; i < n; ++i) to[i] = row.f64(from[i], alpha, beta);
      });
}

Kernel row_kernel(const Row& row, Prepare& p) {
  const float alpha = row.alpha ? p.attr_float(row.alpha) : 0.0f;
  const float beta = row.beta ? p.attr_float(row.beta) : 0.0f;
  return [&row, alpha, beta](Run& run) { map(row, alpha, beta, run.in(0), run.out(0, run.in(0).shape())); };
}

GradientFn row_gradient(const Row& row) {
  return [&row](GradientContext& c) {
    const double alpha = row.alpha ? c.attr_float(row.alpha) : 0;
    const double beta = row.beta ? c.attr_float(row.beta) : 0;
    c.give(0, row.pullback(c.grad(), c.in(0), c.out(), alpha, beta));
  };
}

OpDef activation(const char* name, int since, int first, DTypeSet types, UpgradeFn upgrade = drop_consumed_inputs) {
  OpDef op(name);
  op.since(since, first).in("x", "T", types).out("y", "T").in_place({0}).infer(same_as(0));
  if (first == 1) op.upgrade(6, std::move(upgrade));
  return op;
}

// --- Relu, Gelu

Kernel make_relu(Prepare& p) {
  if (is_float(p.dtype(0))) return row_kernel(kRelu, p);
  return [](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    with_integer(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
        generate(y.data<T>() + begin, end - begin,
                 [from = x.data<T>() + begin](int64_t i) { return from[i] > T(0) ? from[i] : T(0); });
      });
    });
  };
}

Kernel make_gelu(Prepare& p) {
  const std::string& approximate = p.attr_string("approximate");
  SX_CHECK(p, approximate == "none" || approximate == "tanh", "approximate is '", approximate,
           "'; 'none' or 'tanh' expected");
  return row_kernel(approximate == "tanh" ? kGeluTanh : kGelu, p);
}

// Selu-1 rounded its defaults.
void upgrade_selu(UpgradeContext& c) {
  drop_consumed_inputs(c);
  if (!c.has("alpha")) c.set("alpha", 1.6732f);
  if (!c.has("gamma")) c.set("gamma", 1.0507f);
}

// --- PRelu: x < 0 ? slope * x : x, slope broadcast to x

void infer_prelu(InferContext& c) {
  if (c.has_shape(0) && c.has_shape(1)) {
    SX_CHECK(c, c.rank(1) <= c.rank(0), "slope ", c.type(1).str(), " has more dimensions than x ", c.type(0).str());
    const SymShape shape = broadcast(c, c.shape(0), c.shape(1));
    for (int i = 0; i < c.rank(0); ++i) {
      const Dim& x = c.shape(0)[static_cast<size_t>(i)];
      const Dim& y = shape[static_cast<size_t>(i)];
      SX_CHECK(c, !x.known() || !y.known() || x == y, "slope ", c.type(1).str(), " does not broadcast to x ",
               c.type(0).str());
    }
  }
  c.out(0, c.type(0));
}

template <typename T>
void prelu_tile(const void* x, const void* slope, void* y, const Tile& tile) {
  binary_tile<T, T>(x, slope, y, tile, [](T a, T s) { return a < T(0) ? static_cast<T>(a * s) : a; });
}

void prelu_f32(const void* x, const void* slope, void* y, const Tile& tile) {
  if (!tile.scalar[1] || tile.scalar[0]) return prelu_tile<float>(x, slope, y, tile);
  for (int64_t r = 0; r < tile.rows; ++r)
    apply(Activation::kLeakyRelu, static_cast<const float*>(x) + tile.at[0] + r * tile.row[0],
          static_cast<float*>(y) + tile.out + r * tile.n, tile.n,
          static_cast<const float*>(slope)[tile.at[1] + r * tile.row[1]]);
}

Kernel make_prelu(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const Broadcast plan = plan_broadcast(run, {&x.shape(), &run.in(1).shape()});
    SX_CHECK(run, plan.shape == x.shape(), "slope of shape ", run.in(1).shape().str(), " does not broadcast to ",
             x.shape().str());
    Tensor& y = run.out(0, plan.shape);
    switch (x.dtype()) {
      case DType::kFloat32: return run_binary(plan, x, run.in(1), y, kElementGrain, prelu_f32);
      case DType::kFloat64: return run_binary(plan, x, run.in(1), y, kElementGrain, prelu_tile<double>);
      // Signed products wrap as unsigned ones do; the sign test is made on the signed value.
      case DType::kInt32:
        return run_binary(
            plan, x, run.in(1), y, kElementGrain, [](const void* a, const void* s, void* to, const Tile& tile) {
              binary_tile<uint32_t, uint32_t>(
                  a, s, to, tile, [](uint32_t v, uint32_t w) { return static_cast<int32_t>(v) < 0 ? v * w : v; });
            });
      case DType::kInt64:
        return run_binary(
            plan, x, run.in(1), y, kElementGrain, [](const void* a, const void* s, void* to, const Tile& tile) {
              binary_tile<uint64_t, uint64_t>(
                  a, s, to, tile, [](uint64_t v, uint64_t w) { return static_cast<int64_t>(v) < 0 ? v * w : v; });
            });
      case DType::kUInt32: return run_binary(plan, x, run.in(1), y, kElementGrain, prelu_tile<uint32_t>);
      case DType::kUInt64: return run_binary(plan, x, run.in(1), y, kElementGrain, prelu_tile<uint64_t>);
      default: return run_binary_half(plan, x, run.in(1), y, kElementGrain, prelu_f32);
    }
  };
}

// PRelu-1 and -6 let a slope of one dimension mean one value for each channel.
void upgrade_prelu(UpgradeContext& c) {
  drop_consumed_inputs(c);
  const int rank = c.input(0).type.rank();
  if (c.input(1).type.rank() != 1 || c.input(1).type.shape->front() == Dim(1)) return;
  SX_REQUIRE(rank >= 0, kInvalidGraph, label(c.draft()),
             " needs the rank of its input; export the model with opset 7 or later");
  std::vector<int64_t> axes;
  for (int i = 1; i < rank - 1; ++i) axes.push_back(i);
  if (!axes.empty()) c.set_input(1, c.emit("Unsqueeze", {c.input_id(1), c.constant(Tensor::vector(axes))}));
}

// --- Shrink: x < -lambd ? x + bias : x > lambd ? x - bias : 0

Kernel make_shrink(Prepare& p) {
  const float bias = p.attr_float("bias");
  const float lambd = p.attr_float("lambd");
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    auto shrink = [=](auto v) -> decltype(v) { return v < -lambd ? v + bias : v > lambd ? v - bias : 0; };
    auto each = [&](auto* from, auto* to, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] = shrink(from[i]);
    };
    if (is_float(x.dtype())) return map_floats(x, y, kElementGrain, each, each);
    with_integer(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const double v = shrink(static_cast<double>(x.data<T>()[i]));
          const double low = static_cast<double>(std::numeric_limits<T>::min());
          const double high = static_cast<double>(std::numeric_limits<T>::max());
          y.data<T>()[i] = v <= low    ? std::numeric_limits<T>::min()
                           : v >= high ? std::numeric_limits<T>::max()
                                       : static_cast<T>(v);
        }
      });
    });
  };
}

// --- Clip: min(max(x, min), max)

void infer_clip(InferContext& c) {
  for (int i = 1; i <= 2; ++i) {
    if (c.rank(i) <= 0) continue;
    const Dim& extent = c.shape(i)[0];
    SX_CHECK(c, c.rank(i) == 1 && (!extent.known() || extent == Dim(1)), i == 1 ? "min" : "max", " is ",
             c.type(i).str(), "; a scalar expected");
  }
  same_as(0)(c);
  if (!c.facts(0).elements) return;
  std::vector<Dim> elements = *c.facts(0).elements;
  for (int i = 1; i <= 2; ++i) {
    if (!c.has(i)) continue;
    const auto bound = c.elements(i);
    for (Dim& element : elements) {
      const Dim limit = bound && bound->size() == 1 ? bound->front() : Dim();
      // A bound of at most 1 does not bite into an extent.
      if (i == 1 && element.symbolic() && element.non_negative() && limit.known() && limit.value() <= 0) continue;
      element = i == 1 ? max(element, limit) : min(element, limit);
    }
  }
  c.out_elements(0, std::move(elements));
}

const Tensor* bound(const Run& run, int i) {
  if (!run.has(i)) return nullptr;
  SX_CHECK(run, run.in(i).size() == 1, i == 1 ? "min" : "max", " has the shape ", run.in(i).shape().str(),
           "; a scalar expected");
  return &run.in(i);
}

Kernel make_clip(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor* low = bound(run, 1);
    const Tensor* high = bound(run, 2);
    if (is_float(x.dtype())) {
      const double infinity = std::numeric_limits<double>::infinity();
      const double from = low ? low->scalar_as_double() : -infinity;
      const double to = high ? high->scalar_as_double() : infinity;
      return map_floats(
          x, run.out(0, x.shape()), kElementGrain,
          [=](const float* a, float* y, int64_t n) {
            apply(Activation::kClip, a, y, n, static_cast<float>(from), static_cast<float>(to));
          },
          [=](const double* a, double* y, int64_t n) {
            for (int64_t i = 0; i < n; ++i) y[i] = clamp(a[i], from, to);
          });
    }
    with_integer(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T from = low ? low->data<T>()[0] : std::numeric_limits<T>::min();
      const T to = high ? high->data<T>()[0] : std::numeric_limits<T>::max();
      Tensor& y = run.out(0, x.shape());
      parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
        generate(y.data<T>() + begin, end - begin, [=, in = x.data<T>() + begin](int64_t i) {
          const T v = in[i] < from ? from : in[i];
          return v > to ? to : v;
        });
      });
    });
  };
}

// Before opset 11 the bounds were attributes.
void upgrade_clip(UpgradeContext& c) {
  drop_consumed_inputs(c);
  size_t index = 1;
  for (const char* name : {"min", "max"}) {
    if (c.has(name)) {
      Tensor bound = Tensor::scalar(c.take<float>(name, 0.0f));
      ValueId value = c.constant(bound);
      const DType dtype = c.input(0).type.dtype;
      if (dtype != DType::kFloat32) value = c.emit("Cast", {value}, {{"to", static_cast<int64_t>(dtype)}});
      c.set_input(index, value);
    }
    ++index;
  }
}

// --- SwiGLU: a * sigmoid(alpha * a) * b

void infer_swiglu(InferContext& c) {
  if (c.has_shape(0) && c.has_shape(1)) {
    bool same = c.rank(0) == c.rank(1);
    for (size_t i = 0; same && i < c.shape(0).size(); ++i) {
      const Dim& a = c.shape(0)[i];
      const Dim& b = c.shape(1)[i];
      same = !a.known() || !b.known() || a == b;
    }
    SX_CHECK(c, same, "A is ", c.type(0).str(), " and B is ", c.type(1).str(), "; equal shapes expected");
  }
  c.out(0, c.type(0));
}

Kernel make_swiglu(Prepare& p) {
  const float alpha = p.attr_float("alpha");
  return [alpha](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    SX_CHECK(run, a.shape() == b.shape(), "A has the shape ", a.shape().str(), " and B ", b.shape().str(),
             "; equal shapes expected");
    Tensor& y = run.out(0, a.shape());
    parallel_for(a.size(), kElementGrain / 2, [&](int64_t begin, int64_t end) {
      if (a.dtype() == DType::kFloat64) {
        for (int64_t i = begin; i < end; ++i)
          y.data<double>()[i] = a.data<double>()[i] * sigmoid(alpha * a.data<double>()[i]) * b.data<double>()[i];
        return;
      }
      alignas(64) float gate[kHalfBlock];
      alignas(64) float value[kHalfBlock];
      for (int64_t i = begin; i < end; i += kHalfBlock) {
        const int64_t n = end - i < kHalfBlock ? end - i : kHalfBlock;
        load_floats(a.dtype(), element(a, i), gate, n);
        load_floats(b.dtype(), element(b, i), value, n);
        apply(Activation::kSwish, gate, gate, n, alpha);
        generate(gate, n, [&](int64_t k) { return gate[k] * value[k]; });
        store_floats(y.dtype(), gate, element(y, i), n);
      }
    });
  };
}

// --- gradients

Kernel make_gelu_gradient(Prepare&) {
  return [](Run& run) {
    const Tensor &x = run.in(0), &dy = run.in(1);
    SX_CHECK(run, x.shape() == dy.shape(), "x is ", x.shape().str(), " but dy ", dy.shape().str());
    gelu_gradient(x.data<float>(), dy.data<float>(), run.out(0, x.shape()).data<float>(), x.size());
  };
}

void differentiate_gelu(GradientContext& c) {
  row_gradient(c.attr_string("approximate") == "tanh" ? kGeluTanh : kGelu)(c);
}

void differentiate_prelu(GradientContext& c) {
  const Expr below = less(c.in(0), 0);
  if (c.wants(0)) c.give(0, where(below, c.grad() * c.in(1), c.grad()));
  if (c.wants(1)) c.give_sum(1, keep(below, c.grad() * c.in(0)));
}

void differentiate_shrink(GradientContext& c) {
  const double lambd = c.attr_float("lambd");
  c.give(0, keep(c.op("Or", {less(c.in(0), -lambd), greater(c.in(0), lambd)}), c.grad()));
}

// A bound that is met takes the gradient; the upper one goes first.
void differentiate_clip(GradientContext& c) {
  Expr inner = c.grad();
  if (c.in(2)) {
    const Expr above = c.op("Greater", {c.in(0), c.in(2)});
    c.give_sum(2, keep(above, inner));
    inner = keep(c.op("Not", {above}), inner);
  }
  if (c.in(1)) {
    const Expr below = c.op("Less", {c.in(0), c.in(1)});
    c.give_sum(1, keep(below, inner));
    inner = keep(c.op("Not", {below}), inner);
  }
  c.give(0, inner);
}

void differentiate_swiglu(GradientContext& c) {
  const double alpha = c.attr_float("alpha");
  const Expr a = c.in(0);
  if (c.wants(0)) c.give(0, pull_swish(c.grad() * c.in(1), a, {}, alpha, 0));
  if (c.wants(1)) c.give(1, c.grad() * a * call("Sigmoid", alpha == 1.0 ? a : a * alpha));
}

}  // namespace

void define_activation(OpList& ops) {
  for (const Row& row : kRows) {
    const bool selu = row.f32 == Activation::kSelu;
    OpDef op = activation(row.name, row.since, row.first, kFloats, selu ? upgrade_selu : drop_consumed_inputs);
    if (row.alpha) op.attr(row.alpha, row.alpha_default);
    if (row.beta) op.attr(row.beta, row.beta_default);
    op.kernel([&row](Prepare& p) { return row_kernel(row, p); }).gradient(row_gradient(row));
    ops.add(std::move(op));
  }
  ops.add(activation("Relu", 14, 1, kFloats | kSignedIntegers).kernel(make_relu).gradient(row_gradient(kRelu)));
  ops.add(
      activation("Gelu", 20, 20, kFloats).attr("approximate", "none").kernel(make_gelu).gradient(differentiate_gelu));
  ops.add(OpDef("GeluGradient", "sardonyx")
              .in("x", "", DType::kFloat32)
              .in("dy", "", DType::kFloat32)
              .out("dx", "", DType::kFloat32)
              .in_place({1, 0})
              .infer(same_as(0))
              .kernel(make_gelu_gradient)
              .gradient([](GradientContext& c) { c.give_through({gelu_gradient_of(c.in(0), c.in(1))}); }));
  ops.add(OpDef("PRelu")
              .since(16)
              .in("x", "T", kFloats | DType::kInt32 | DType::kInt64 | DType::kUInt32 | DType::kUInt64)
              .in("slope", "T", kNumbers)
              .out("y", "T")
              .in_place({0})
              .infer(infer_prelu)
              .kernel(make_prelu)
              .gradient(differentiate_prelu)
              .upgrade(7, upgrade_prelu));
  ops.add(activation("Shrink", 9, 9, kNumbers - DType::kBFloat16)
              .attr("bias", 0.0f)
              .attr("lambd", 0.5f)
              .kernel(make_shrink)
              .gradient(differentiate_shrink));
  ops.add(OpDef("Clip")
              .since(13)
              .in("input", "T", kNumbers)
              .optional_in("min", "T", kNumbers)
              .optional_in("max", "T", kNumbers)
              .out("output", "T")
              .in_place({0})
              .infer(infer_clip)
              .kernel(make_clip)
              .gradient(differentiate_clip)
              .upgrade(11, upgrade_clip));
  ops.add(OpDef("SwiGLU")
              .since(28, 28)
              .attr("alpha", 1.0f)
              .in("A", "T", kFloats)
              .in("B", "T", kFloats)
              .out("Y", "T")
              .in_place({0, 1})
              .infer(infer_swiglu)
              .kernel(make_swiglu)
              .gradient(differentiate_swiglu));
}

}  // namespace sx
