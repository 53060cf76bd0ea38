// SVMRegressor and SVMClassifier: sums of kernels between x and support vectors, votes and probabilities as in libsvm
#include <algorithm>
#include <cmath>

#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

// K(a, b)
struct SvmKernel {
  enum class Kind { kLinear, kPoly, kRbf, kSigmoid };
  Kind kind = Kind::kLinear;
  float gamma = 0, offset = 0, degree = 0;

  // A fixed number of partial sums, so that an addition need not wait for the one before.
  template <typename Term>
  static float total(int64_t count, const Term& term) {
    constexpr int kParts = 8;
    float sums[kParts] = {};
    int64_t i = 0;
    for (; i + kParts <= count; i += kParts)
      for (int part = 0; part < kParts; ++part) sums[part] += term(i + part);
    for (int part = 0; i < count; ++i, ++part) sums[part] += term(i);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }

  float operator()(const float* a, const float* b, int64_t width) const {
    if (kind == Kind::kRbf)
      return std::exp(-gamma * total(width, [&](int64_t i) { return (a[i] - b[i]) * (a[i] - b[i]); }));
    const float sum = total(width, [&](int64_t i) { return a[i] * b[i]; });
    if (kind == Kind::kPoly) return std::pow(gamma * sum + offset, degree);
    if (kind == Kind::kSigmoid) return std::tanh(gamma * sum + offset);
    return sum;
  }
};

SvmKernel kernel_of(const NodeView& node) {
  const std::string& name = node.attr_string("kernel_type");
  SvmKernel kernel;
  if (name == "POLY") kernel.kind = SvmKernel::Kind::kPoly;
  else if (name == "RBF") kernel.kind = SvmKernel::Kind::kRbf;
  else if (name == "SIGMOID") kernel.kind = SvmKernel::Kind::kSigmoid;
  else SX_CHECK(node, name == "LINEAR", "kernel_type is '", name, "'; LINEAR, POLY, RBF or SIGMOID expected");
  const std::vector<float> parameters = floats_attr(node, "kernel_params");
  SX_CHECK(node, parameters.empty() || parameters.size() == 3, "kernel_params has ", parameters.size(),
           " entries; gamma, coef0 and degree expected");
  if (!parameters.empty()) {
    kernel.gamma = parameters[0];
    kernel.offset = parameters[1];
    kernel.degree = parameters[2];
  }
  return kernel;
}

// Support vectors with a kernel, or coefficients of the features themselves where there are none.
struct Vectors {
  SvmKernel kernel;
  std::vector<float> vectors;
  std::vector<float> coefficients;
  std::vector<float> rho;
  int64_t count = 0;  // 0: linear
  int64_t width = 0;
};

// Members one by one: gcc 12 destroys the parts of a nested aggregate twice when a later initializer throws.
void read_vectors(const NodeView& node, Vectors& model) {
  model.kernel = kernel_of(node);
  model.vectors = floats_attr(node, "support_vectors");
  model.coefficients = floats_attr(node, "coefficients");
  model.rho = floats_attr(node, "rho");
}

template <typename Finish>
void for_each_row(const Run& run, const Vectors& model, const Tensor& x, const Finish& finish) {
  const Rows rows = rows_of(run, x);
  SX_CHECK(run, rows.width == model.width, "its input is ", x.shape().str(), "; ", model.width, " features expected");
  const int64_t width = std::max<int64_t>(1, model.width), work = width * std::max<int64_t>(1, model.count);
  // Of a few rows the support vectors are shared out among the threads instead.
  const bool few = rows.count < thread_count();
  const int64_t grain = few ? rows.count : std::max<int64_t>(1, 65536 / work);
  parallel_for(rows.count, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> features(static_cast<size_t>(model.width));
    std::vector<float> kernels(static_cast<size_t>(model.count));
    auto compare = [&](int64_t first, int64_t last) {
      for (int64_t v = first; v < last; ++v)
        kernels[static_cast<size_t>(v)] =
            model.kernel(features.data(), model.vectors.data() + v * model.width, model.width);
    };
    for (int64_t row = begin; row < end; ++row) {
      read_as(x, row * model.width, model.width, features.data());
      if (few) parallel_for(model.count, std::max<int64_t>(1, 16384 / width), compare);
      else compare(0, model.count);
      finish(row, features, kernels);
    }
  });
}

// --- SVMRegressor

struct Regressor {
  Vectors model;
  bool one_class = false;
  PostTransform transform = PostTransform::kNone;
};

Kernel make_regressor(Prepare& p) {
  Regressor how;
  Vectors& model = how.model;
  read_vectors(p, model);
  how.one_class = p.attr_int("one_class") != 0;
  how.transform = post_transform_of(p, p.attr_string("post_transform"));
  SX_CHECK(p, !model.rho.empty(), "has no rho");
  model.count = p.attr_int("n_supports");
  SX_CHECK(p, model.count >= 0, "n_supports is ", model.count);
  if (model.count > 0) {
    const auto size = static_cast<int64_t>(model.vectors.size());
    SX_CHECK(p, size % model.count == 0, "has ", size, " numbers for ", model.count, " support vectors");
    SX_CHECK(p, static_cast<int64_t>(model.coefficients.size()) >= model.count, "has ", model.coefficients.size(),
             " coefficients for ", model.count, " support vectors");
    model.width = size / model.count;
  } else {
    model.width = static_cast<int64_t>(model.coefficients.size());
    model.kernel.kind = SvmKernel::Kind::kLinear;
  }
  if (how.transform != PostTransform::kProbit)
    how.transform = PostTransform::kNone;  // a single score, as in ONNX Runtime
  return [how = std::make_shared<const Regressor>(std::move(how))](Run& run) {
    const Vectors& model = how->model;
    float* y = run.out(0, Shape{rows_of(run, run.in(0)).count, 1}).data<float>();
    for_each_row(run, model, run.in(0),
                 [&](int64_t row, const std::vector<float>& features, const std::vector<float>& kernels) {
                   float sum = 0;
                   if (model.count > 0) {
                     for (size_t i = 0; i < kernels.size(); ++i) sum += model.coefficients[i] * kernels[i];
                   } else {
                     sum = model.kernel(features.data(), model.coefficients.data(), model.width);
                   }
                   sum += model.rho[0];
                   if (how->one_class) sum = sum > 0 ? 1.0f : -1.0f;
                   apply_transform(how->transform, &sum, 1);
                   y[row] = sum;
                 });
  };
}

void infer_regressor(InferContext& c) { c.out(0, DType::kFloat32, SymShape{rows_of(c, 0), Dim(1)}); }

// --- SVMClassifier

struct Classifier {
  Vectors model;
  ClassLabels labels;
  std::vector<int64_t> counts;  // support vectors of each class
  std::vector<float> prob_a, prob_b;
  PostTransform transform = PostTransform::kNone;
  int64_t classes = 0;
  bool positive = true;  // no coefficient is negative

  bool linear() const { return counts.empty(); }
  bool probabilities() const { return !prob_a.empty(); }
  int64_t scores() const { return linear() || probabilities() ? classes : classes * (classes - 1) / 2; }
  // Two classes with one score, or a linear model of one class, give two columns.
  int64_t columns() const { return scores() == 1 && labels.size() == 2 ? 2 : scores(); }
};

Classifier classifier_of(const NodeView& node) {
  Classifier how;
  Vectors& model = how.model;
  read_vectors(node, model);
  how.labels = ClassLabels::read(node, "classlabels_ints", "classlabels_strings");
  how.counts = ints_attr(node, "vectors_per_class");
  how.prob_a = floats_attr(node, "prob_a");
  how.prob_b = floats_attr(node, "prob_b");
  how.transform = post_transform_of(node, node.attr_string("post_transform"));
  SX_CHECK(node, how.labels.size() > 0, "has no class labels");
  SX_CHECK(node, !model.coefficients.empty() && !model.rho.empty(), "has no coefficients or no rho");
  for (float c : model.coefficients) how.positive = how.positive && c >= 0;
  const auto given = static_cast<int64_t>(model.coefficients.size());
  if (how.linear()) {
    how.classes = static_cast<int64_t>(how.labels.size());
    SX_CHECK(node, given % how.classes == 0, "has ", given, " coefficients for ", how.classes, " classes");
    model.width = given / how.classes;
    model.kernel.kind = SvmKernel::Kind::kLinear;
    return how;
  }
  how.classes = static_cast<int64_t>(how.counts.size());
  for (int64_t count : how.counts) {
    SX_CHECK(node, count >= 0, "vectors_per_class has ", count);
    model.count = checked_add(model.count, count);
  }
  const auto pairs = static_cast<size_t>(how.classes * (how.classes - 1) / 2);
  const auto size = static_cast<int64_t>(model.vectors.size());
  SX_CHECK(node, how.classes <= static_cast<int64_t>(how.labels.size()), "has ", how.classes, " classes and ",
           how.labels.size(), " labels");
  SX_CHECK(node, how.classes >= 2 && model.count > 0 && size % model.count == 0, "has ", size, " numbers for ",
           model.count, " support vectors");
  SX_CHECK(node, given == model.count * (how.classes - 1), "has ", given, " coefficients; ",
           model.count * (how.classes - 1), " expected");
  SX_CHECK(node, model.rho.size() >= pairs, "rho has ", model.rho.size(), " entries; ", pairs, " expected");
  SX_CHECK(node, how.prob_a.size() == how.prob_b.size() && (how.prob_a.empty() || how.prob_a.size() >= pairs),
           "prob_a has ", how.prob_a.size(), " and prob_b ", how.prob_b.size(), " entries; ", pairs, " expected");
  model.width = size / model.count;
  return how;
}

// Probabilities of classes from those of pairs, after Wu, Lin and Weng, "Probability estimates for multi-class
// classification by pairwise coupling" (2004), second method.
void couple(int64_t classes, const std::vector<float>& pair, std::vector<float>& p) {
  const auto n = static_cast<size_t>(classes);
  std::vector<float> q(n * n, 0.0f), qp(n, 0.0f);
  for (size_t t = 0; t < n; ++t) {
    p[t] = 1.0f / static_cast<float>(n);
    for (size_t j = 0; j < n; ++j) {
      if (j == t) continue;
      q[t * n + t] += pair[j * n + t] * pair[j * n + t];
      q[t * n + j] = -pair[j * n + t] * pair[t * n + j];
    }
  }
  const float enough = 0.005f / static_cast<float>(n);
  for (int round = 0; round < 100; ++round) {
    float pqp = 0;
    for (size_t t = 0; t < n; ++t) {
      qp[t] = 0;
      for (size_t j = 0; j < n; ++j) qp[t] += q[t * n + j] * p[j];
      pqp += p[t] * qp[t];
    }
    float worst = 0;
    for (size_t t = 0; t < n; ++t) worst = std::max(worst, std::abs(qp[t] - pqp));
    if (worst < enough) break;
    for (size_t t = 0; t < n; ++t) {
      const float diff = (-qp[t] + pqp) / q[t * n + t];
      p[t] += diff;
      pqp = (pqp + diff * (diff * q[t * n + t] + 2 * qp[t])) / (1 + diff) / (1 + diff);
      for (size_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + diff * q[t * n + j]) / (1 + diff);
        p[j] /= 1 + diff;
      }
    }
  }
}

// Fills the scores of one row; the best class, which is that with the most votes whatever the probabilities say.
size_t score_row(const Classifier& how, const std::vector<float>& features, const std::vector<float>& kernels,
                 std::vector<float>& scores) {
  const Vectors& model = how.model;
  const auto n = static_cast<size_t>(how.classes);
  scores.clear();
  if (how.linear()) {
    for (int64_t k = 0; k < how.classes; ++k)
      scores.push_back(model.kernel(features.data(), model.coefficients.data() + k * model.width, model.width) +
                       model.rho[0]);
    const auto best = std::max_element(scores.begin(), scores.end());
    // Of two classes the second is meant by any score that is high enough, as in ONNX Runtime.
    if (how.labels.size() == 2 && model.rho.size() == 1 && (how.positive ? *best >= 0.5f : *best > 0)) return 1;
    return static_cast<size_t>(best - scores.begin());
  }
  std::vector<int64_t> starts(n, 0), votes(n, 0);
  for (size_t i = 1; i < n; ++i) starts[i] = starts[i - 1] + how.counts[i - 1];
  size_t pair = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j, ++pair) {
      double sum = 0;
      const int64_t of_i = model.count * static_cast<int64_t>(j - 1) + starts[i];
      const int64_t of_j = model.count * static_cast<int64_t>(i) + starts[j];
      for (int64_t m = 0; m < how.counts[i]; ++m)
        sum += static_cast<double>(model.coefficients[static_cast<size_t>(of_i + m)]) *
               kernels[static_cast<size_t>(starts[i] + m)];
      for (int64_t m = 0; m < how.counts[j]; ++m)
        sum += static_cast<double>(model.coefficients[static_cast<size_t>(of_j + m)]) *
               kernels[static_cast<size_t>(starts[j] + m)];
      sum += model.rho[pair];
      scores.push_back(static_cast<float>(sum));
      ++votes[sum > 0 ? i : j];
    }
  }
  const auto best = static_cast<size_t>(std::max_element(votes.begin(), votes.end()) - votes.begin());
  if (!how.probabilities()) return best;
  std::vector<float> pairwise(n * n, 0.0f);
  pair = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j, ++pair) {
      const float p = 1.0f - logistic(scores[pair] * how.prob_a[pair] + how.prob_b[pair]);
      pairwise[i * n + j] = std::min(std::max(p, 1.0e-7f), 1.0f - 1.0e-7f);
      pairwise[j * n + i] = 1.0f - pairwise[i * n + j];
    }
  }
  scores.assign(n, 0.0f);
  couple(how.classes, pairwise, scores);
  return best;
}

void infer_classifier(InferContext& c) {
  const Classifier how = classifier_of(c);
  const Dim rows = rows_of(c, 0);
  c.out(0, how.labels.dtype(), SymShape{rows});
  c.out(1, DType::kFloat32, SymShape{rows, Dim(how.columns())});
}

Kernel make_classifier(Prepare& p) {
  return [how = std::make_shared<const Classifier>(classifier_of(p))](Run& run) {
    const int64_t rows = rows_of(run, run.in(0)).count;
    const int64_t columns = how->columns();
    const Tensor* labels = run.wants(0) ? &run.out(0, Shape{rows}) : nullptr;
    float* z = run.wants(1) ? run.out(1, Shape{rows, columns}).data<float>() : nullptr;
    for_each_row(run, how->model, run.in(0),
                 [&](int64_t row, const std::vector<float>& features, const std::vector<float>& kernels) {
                   std::vector<float> scores;
                   size_t best = score_row(*how, features, kernels, scores);
                   if (labels != nullptr) how->labels.put(*labels, row, best);
                   if (z == nullptr) return;
                   if (columns == 2 && scores.size() == 1) {
                     scores.push_back(0);
                     split_score(
                         how->transform,
                         how->transform == PostTransform::kNone ? SecondClass::kNegation : SecondClass::kComplement,
                         scores.data());
                   } else {
                     apply_transform(how->transform, scores.data(), columns);
                   }
                   std::copy_n(scores.begin(), columns, z + row * columns);
                 });
  };
}

OpDef svm(const char* name) {
  OpDef op(name, kMlDomain);
  op.attr("kernel_type", "LINEAR")
      .optional_attr("kernel_params", AttrKind::kFloats)
      .optional_attr("support_vectors", AttrKind::kFloats)
      .optional_attr("coefficients", AttrKind::kFloats)
      .optional_attr("rho", AttrKind::kFloats)
      .attr("post_transform", "NONE")
      .in("X", "T", kMlNumbers);
  return op;
}

}  // namespace

void define_ml_svm(OpList& ops) {
  ops.add(svm("SVMRegressor")
              .attr("n_supports", 0)
              .attr("one_class", 0)
              .out("Y", "", DType::kFloat32)
              .infer(infer_regressor)
              .kernel(make_regressor)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
  ops.add(svm("SVMClassifier")
              .optional_attr("vectors_per_class", AttrKind::kInts)
              .optional_attr("prob_a", AttrKind::kFloats)
              .optional_attr("prob_b", AttrKind::kFloats)
              .optional_attr("classlabels_strings", AttrKind::kStrings)
              .optional_attr("classlabels_ints", AttrKind::kInts)
              .out("Y", "", kMlLabels)
              .out("Z", "", DType::kFloat32)
              .infer(infer_classifier)
              .kernel(make_classifier)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
}

}  // namespace sx
