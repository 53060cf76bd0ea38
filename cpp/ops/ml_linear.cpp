// scores = transform(x coefficients^T + intercepts), and the label of the best score
#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kBlock = 64;  // rows whose scores are held in scratch memory at a time

// With few targets packing the rows would take longer than multiplying them.
constexpr int64_t kFewTargets = 16;
constexpr int64_t kLanes = 4;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

struct Linear {
  Tensor coefficients;  // [width][targets]: packed for a product, or with targets filled up to whole Lanes
  std::vector<float> intercepts;
  int64_t targets;
  int64_t width;
  PostTransform transform;
};

Linear linear_of(const NodeView& node, int64_t targets) {
  const PostTransform transform = post_transform_of(node, node.attr_string("post_transform"));
  const std::vector<float> coefficients = floats_attr(node, "coefficients");
  Linear model{Tensor(), floats_attr(node, "intercepts"), targets, 0, transform};
  const auto given = static_cast<int64_t>(coefficients.size());
  SX_CHECK(node, targets > 0 && given > 0 && given % targets == 0, "has ", given, " coefficients for ", targets,
           " targets");
  SX_CHECK(node, model.intercepts.empty() || static_cast<int64_t>(model.intercepts.size()) == targets, "has ",
           model.intercepts.size(), " intercepts for ", targets, " targets");
  model.width = given / targets;
  if (targets > kFewTargets) {
    model.coefficients = Tensor(DType::kFloat32, Shape{packed_b_size(model.width, targets)});
    pack_b(model.width, targets, coefficients.data(), model.width, true, model.coefficients.data<float>());
    return model;
  }
  const int64_t stride = (targets + kLanes - 1) / kLanes * kLanes;
  model.coefficients = Tensor(DType::kFloat32, Shape{model.width, stride});
  float* to = model.coefficients.data<float>();
  std::fill_n(to, model.coefficients.size(), 0.0f);
  for (int64_t k = 0; k < targets; ++k)
    for (int64_t i = 0; i < model.width; ++i)
      to[i * stride + k] = coefficients[static_cast<size_t>(k * model.width + i)];
  return model;
}

// kRows rows at a time, whose sums stay in registers; the bits of a row do not depend on its neighbours.
template <int kRows, int kVectors>
void multiply_few(const Linear& model, const float* x, float* scores, int64_t stride) {
  Lanes sums[kRows][kVectors] = {};
  const float* weights = model.coefficients.data<float>();
  for (int64_t i = 0; i < model.width; ++i, weights += kVectors * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Lanes weight;
      std::memcpy(&weight, weights + v * kLanes, sizeof(weight));
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r][v] += x[r * model.width + i] * weight;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int64_t k = 0; k < model.targets; ++k) {
      const float sum = sums[r][k / kLanes][k % kLanes];
      scores[r * stride + k] = model.intercepts.empty() ? sum : sum + model.intercepts[static_cast<size_t>(k)];
    }
  }
}

template <int kVectors>
void multiply_few(const Linear& model, const float* x, int64_t rows, float* scores, int64_t stride) {
  constexpr int kRows = kVectors > 2 ? 2 : 4;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    multiply_few<kRows, kVectors>(model, x + r * model.width, scores + r * stride, stride);
  for (; r < rows; ++r) multiply_few<1, kVectors>(model, x + r * model.width, scores + r * stride, stride);
}

void multiply(const Linear& model, const float* x, int64_t rows, float* scores, int64_t stride) {
  if (model.targets <= kLanes) return multiply_few<1>(model, x, rows, scores, stride);
  if (model.targets <= 2 * kLanes) return multiply_few<2>(model, x, rows, scores, stride);
  if (model.targets <= 3 * kLanes) return multiply_few<3>(model, x, rows, scores, stride);
  if (model.targets <= kFewTargets) return multiply_few<4>(model, x, rows, scores, stride);
  Gemm product;
  product.m = rows;
  product.n = model.targets;
  product.k = model.width;
  product.a = x;
  product.lda = model.width;
  product.packed_b = model.coefficients.data<float>();
  product.c = scores;
  product.ldc = stride;
  product.epilogue.column_bias = model.intercepts.empty() ? nullptr : model.intercepts.data();
  gemm(product);
}

// Calls finish(row, scores); `scores` has room for one entry more than there are targets.
template <typename Finish>
void for_each_row(const Run& run, const Linear& model, const Tensor& x, Rows rows, const Finish& finish) {
  SX_CHECK(run, rows.width == model.width, "its input is ", x.shape().str(), "; ", model.width, " features expected");
  const int64_t grain = std::max<int64_t>(1, 65536 / (model.width * model.targets));
  const bool direct = x.dtype() == DType::kFloat32;
  parallel_for(rows.count, grain, [&](int64_t begin, int64_t end) {
    const int64_t block = std::min(kBlock, end - begin), stride = model.targets + 1;
    const int64_t room = checked_mul(block, stride + (direct ? 0 : model.width));
    auto* scores =
        static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(room) * sizeof(float)));
    float* converted = scores + block * stride;
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      if (!direct) read_as(x, first * model.width, count * model.width, converted);
      multiply(model, direct ? x.data<float>() + first * model.width : converted, count, scores, stride);
      for (int64_t i = 0; i < count; ++i) finish(first + i, scores + i * stride);
    }
  });
}

// --- Regression

int64_t target_count(const NodeView& node) {
  const int64_t targets = node.attr_int("targets");
  SX_CHECK(node, targets > 0, "targets is ", targets, "; a positive number expected");
  return targets;
}

void infer_regressor(InferContext& c) { c.out(0, DType::kFloat32, SymShape{rows_of(c, 0), Dim(target_count(c))}); }

Kernel make_regressor(Prepare& p) {
  Linear model = linear_of(p, target_count(p));
  // A single score passes through LOGISTIC and SOFTMAX as it is, as in ONNX Runtime.
  if (model.targets == 1 && model.transform != PostTransform::kProbit) model.transform = PostTransform::kNone;
  return [model = std::make_shared<const Linear>(std::move(model))](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    float* y = run.out(0, Shape{rows.count, model->targets}).data<float>();
    for_each_row(run, *model, x, rows, [&](int64_t row, float* scores) {
      apply_transform(model->transform, scores, model->targets);
      std::copy_n(scores, model->targets, y + row * model->targets);
    });
  };
}

// --- Classification

struct Classes {
  ClassLabels labels;
  int64_t scores;   // columns of the model
  int64_t columns;  // columns of the output
};

Classes classes_of(const NodeView& node) {
  Classes classes{ClassLabels::read(node, "classlabels_ints", "classlabels_strings"), 0, 0};
  const auto labels = static_cast<int64_t>(classes.labels.size());
  SX_CHECK(node, labels > 0, "has no class labels");
  const auto intercepts = static_cast<int64_t>(floats_attr(node, "intercepts").size());
  // Two classes may come with one row of coefficients, for the second of them.
  classes.scores = intercepts > 0 ? intercepts : labels;
  classes.columns = classes.scores == 1 && labels == 2 ? 2 : classes.scores;
  SX_CHECK(node, classes.columns <= labels || classes.scores == 1, "has ", classes.scores, " scores for ", labels,
           " class labels");
  return classes;
}

void infer_classifier(InferContext& c) {
  const Classes classes = classes_of(c);
  const Dim rows = rows_of(c, 0);
  c.out(0, classes.labels.dtype(), SymShape{rows});
  c.out(1, DType::kFloat32, SymShape{rows, Dim(classes.columns)});
}

Kernel make_classifier(Prepare& p) {
  const Classes classes = classes_of(p);
  return [classes, model = std::make_shared<const Linear>(linear_of(p, classes.scores))](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    const Tensor* labels = run.wants(0) ? &run.out(0, Shape{rows.count}) : nullptr;
    float* z = run.wants(1) ? run.out(1, Shape{rows.count, classes.columns}).data<float>() : nullptr;
    for_each_row(run, *model, x, rows, [&](int64_t row, float* scores) {
      size_t best = 0;
      if (classes.scores == 1) best = scores[0] > 0 && classes.labels.size() > 1 ? 1 : 0;
      else best = static_cast<size_t>(std::max_element(scores, scores + classes.scores) - scores);
      if (labels != nullptr) classes.labels.put(*labels, row, best);
      if (z == nullptr) return;
      const bool pair = model->transform == PostTransform::kLogistic;
      if (classes.columns != classes.scores)
        split_score(model->transform, pair ? SecondClass::kNegation : SecondClass::kComplement, scores);
      else apply_transform(model->transform, scores, classes.columns);
      std::copy_n(scores, classes.columns, z + row * classes.columns);
    });
  };
}

}  // namespace

void define_ml_linear(OpList& ops) {
  ops.add(OpDef("LinearClassifier", kMlDomain)
              .required_attr("coefficients", AttrKind::kFloats)
              .optional_attr("intercepts", AttrKind::kFloats)
              .attr("multi_class", 0)
              .optional_attr("classlabels_strings", AttrKind::kStrings)
              .optional_attr("classlabels_ints", AttrKind::kInts)
              .attr("post_transform", "NONE")
              .in("X", "T1", kMlNumbers)
              .out("Y", "", kMlLabels)
              .out("Z", "", DType::kFloat32)
              .infer(infer_classifier)
              .kernel(make_classifier)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
  ops.add(OpDef("LinearRegressor", kMlDomain)
              .optional_attr("coefficients", AttrKind::kFloats)
              .optional_attr("intercepts", AttrKind::kFloats)
              .attr("targets", 1)
              .attr("post_transform", "NONE")
              .in("X", "T", kMlNumbers)
              .out("Y", "", DType::kFloat32)
              .infer(infer_regressor)
              .kernel(make_regressor)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
}

}  // namespace sx
