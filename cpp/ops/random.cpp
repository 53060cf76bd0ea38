// RandomUniform, RandomNormal and their Like forms, Bernoulli, Multinomial.
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/random.h"
#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/node_state.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kBlock = 256;
constexpr int64_t kRandomGrain = 2048;

std::shared_ptr<RandomSource> source_of(const Prepare& p) {
  return node_state<RandomSource>(p, "source", [&] {
    return p.has_attr("seed") ? new RandomSource(bits_of(p.attr_float("seed"))) : new RandomSource();
  });
}

// Fills y with draw(stream, index), a double, rounded to its type.
template <typename F>
void fill(Tensor& y, const RandomStream& stream, F draw) {
  parallel_for(y.size(), kRandomGrain, [&](int64_t begin, int64_t end) {
    double block[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t n = std::min(kBlock, end - i);
      for (int64_t k = 0; k < n; ++k) block[k] = draw(stream, i + k);
      convert_elements(DType::kFloat64, y.dtype(), block, element(y, i), n);
    }
  });
}

DType checked_dtype(const NodeView& node, int64_t dtype, DTypeSet allowed) {
  SX_CHECK(node, dtype > 0 && dtype < kDTypeCount && allowed.has(static_cast<DType>(dtype)), "dtype is ", dtype,
           "; one of ", allowed.str(), " expected");
  return static_cast<DType>(dtype);
}

DType dtype_or(const InferContext& c, DTypeSet allowed) {
  return checked_dtype(c, c.attr_or<int64_t>("dtype", static_cast<int64_t>(c.dtype(0))), allowed);
}

// --- RandomUniform, RandomNormal

template <bool normal, bool like>
Kernel make_random(Prepare& p) {
  const auto source = source_of(p);
  const double first = p.attr_float(normal ? "mean" : "low");
  const double second = p.attr_float(normal ? "scale" : "high");
  const Shape fixed = like ? Shape() : Shape(p.attr_ints("shape"));
  return [=](Run& run) {
    Tensor& y = run.out(0, like ? run.in(0).shape() : fixed);
    fill(y, source->next(), [=](const RandomStream& stream, int64_t i) {
      const auto index = static_cast<uint64_t>(i);
      return normal ? first + second * stream.normal(index) : first + (second - first) * stream.uniform(index);
    });
  };
}

void infer_random(InferContext& c) {
  const std::vector<int64_t>& shape = c.attr_ints("shape");
  c.out(0, checked_dtype(c, c.attr_int("dtype"), kFloats), SymShape(shape.begin(), shape.end()));
}

void infer_random_like(InferContext& c) { c.out(0, dtype_or(c, kFloats), c.type(0).shape); }

OpDef random_operator(const char* name, bool normal) {
  OpDef op(name);
  op.since(22).optional_attr("seed", AttrKind::kFloat).nondeterministic();
  op.attr(normal ? "mean" : "low", 0.0f).attr(normal ? "scale" : "high", 1.0f);
  return op;
}

template <bool normal>
void define_random_pair(OpList& ops, const char* name, const char* like_name) {
  ops.add(random_operator(name, normal)
              .attr("dtype", 1)
              .required_attr("shape", AttrKind::kInts)
              .out("output", "T", kFloats)
              .infer(infer_random)
              .kernel(make_random<normal, false>)
              .zero_gradient());
  ops.add(random_operator(like_name, normal)
              .optional_attr("dtype", AttrKind::kInt)
              .in("input", "T1", kAllTypes)
              .out("output", "T2", kFloats)
              .shape_only({0})
              .infer(infer_random_like)
              .kernel(make_random<normal, true>)
              .zero_gradient());
}

// --- Bernoulli

constexpr DTypeSet kBernoulliTypes = kNumbers | DType::kBool;

Kernel make_bernoulli(Prepare& p) {
  const auto source = source_of(p);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    const RandomStream stream = source->next();
    parallel_for(x.size(), kRandomGrain, [&](int64_t begin, int64_t end) {
      double probabilities[kBlock];
      bool hits[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        convert_elements(x.dtype(), DType::kFloat64, element(x, i), probabilities, n);
        for (int64_t k = 0; k < n; ++k) hits[k] = stream.uniform(static_cast<uint64_t>(i + k)) < probabilities[k];
        convert_elements(DType::kBool, y.dtype(), hits, element(y, i), n);
      }
    });
  };
}

void infer_bernoulli(InferContext& c) { c.out(0, dtype_or(c, kBernoulliTypes), c.type(0).shape); }

// --- Multinomial: classes drawn by their unnormalized logarithmic probabilities

Kernel make_multinomial(Prepare& p) {
  const auto source = source_of(p);
  const int64_t samples = p.attr_int("sample_size");
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() == 2, "input has the shape ", x.shape().str(), "; [batch, classes] expected");
    const int64_t batch = x.dim(0);
    const int64_t classes = x.dim(1);
    SX_CHECK(run, classes > 0 || batch == 0, "there are no classes to draw from");
    Tensor& y = run.out(0, Shape{batch, samples});
    Tensor sums(DType::kFloat64, x.shape());
    convert_elements(x.dtype(), DType::kFloat64, x.raw(), sums.raw(), x.size());
    const RandomStream stream = source->next();
    for (int64_t row = 0; row < batch; ++row) {
      double* sum = sums.data<double>() + row * classes;
      const double greatest = *std::max_element(sum, sum + classes);
      SX_CHECK(run, std::isfinite(greatest), "row ", row, " has no finite greatest element");
      double total = 0;
      for (int64_t k = 0; k < classes; ++k) {
        total += std::isnan(sum[k]) ? 0 : std::exp(sum[k] - greatest);
        sum[k] = total;
      }
      for (int64_t k = 0; k < samples; ++k) {
        const double at = stream.uniform(static_cast<uint64_t>(row * samples + k)) * total;
        const int64_t found = std::min<int64_t>(std::upper_bound(sum, sum + classes, at) - sum, classes - 1);
        convert_elements(DType::kInt64, y.dtype(), &found, element(y, row * samples + k), 1);
      }
    }
  };
}

void infer_multinomial(InferContext& c) {
  const int64_t samples = c.attr_int("sample_size");
  SX_CHECK(c, samples >= 0, "sample_size is ", samples, "; a number of samples expected");
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 2, "input is ", c.type(0).str(), "; [batch, classes] expected");
  c.out(0, checked_dtype(c, c.attr_int("dtype"), DType::kInt32 | DType::kInt64),
        SymShape{c.has_shape(0) ? c.shape(0)[0] : Dim(), Dim(samples)});
}

}  // namespace

void define_random(OpList& ops) {
  define_random_pair<false>(ops, "RandomUniform", "RandomUniformLike");
  define_random_pair<true>(ops, "RandomNormal", "RandomNormalLike");
  ops.add(OpDef("Bernoulli")
              .since(22, 15)
              .optional_attr("dtype", AttrKind::kInt)
              .optional_attr("seed", AttrKind::kFloat)
              .in("input", "T1", kFloats)
              .out("output", "T2", kBernoulliTypes)
              .nondeterministic()
              .infer(infer_bernoulli)
              .kernel(make_bernoulli)
              .zero_gradient());
  ops.add(OpDef("Multinomial")
              .since(22, 7)
              .attr("dtype", 6)
              .attr("sample_size", 1)
              .optional_attr("seed", AttrKind::kFloat)
              .in("input", "T1", kFloats)
              .out("output", "T2", DType::kInt32 | DType::kInt64)
              .nondeterministic()
              .infer(infer_multinomial)
              .kernel(make_multinomial));
}

}  // namespace sx
