// y = transform(aggregate over trees of the weights of the leaf that x reaches + base values)
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "ops/ml_trees.h"
#include "ops/registry.h"

namespace sx {
namespace {

// --- Running

// Calls finish(row, sums, seen) for every row; sums, rounded to T, and seen hold one entry for each target.
template <typename T, typename Finish>
void for_each_row(const Run& run, const Trees<T>& trees, const Tensor& x, Rows rows, const Finish& finish) {
  SX_CHECK(run, rows.width >= trees.features(), "its trees test feature ", trees.features() - 1, " but ",
           x.shape().str(), " has ", rows.width, " features");
  const bool direct = x.dtype() == dtype_of<T>;
  const int64_t targets = trees.targets();
  parallel_for(rows.count, trees.grain(rows.count), [&](int64_t begin, int64_t end) {
    const int64_t block = std::min(tree_block(), end - begin);
    // Exact sums, then the same rounded, then features as T.
    const int64_t exact_bytes = checked_mul(checked_mul(block, targets), sizeof(double) + sizeof(T));
    const int64_t features_bytes = direct ? 0 : checked_mul(checked_mul(block, rows.width), sizeof(T));
    auto* exact = static_cast<double*>(
        thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(checked_add(exact_bytes, features_bytes))));
    auto* seen = static_cast<uint8_t*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(block * targets)));
    auto* sums = reinterpret_cast<T*>(exact + block * targets);
    T* converted = sums + block * targets;
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      const T* data = converted;
      if (direct) data = static_cast<const T*>(x.raw()) + first * rows.width;
      else read_as(x, first * rows.width, count * rows.width, converted);
      trees.run(data, count, rows.width, exact, seen);
      std::transform(exact, exact + count * targets, sums, [](double sum) { return static_cast<T>(sum); });
      for (int64_t i = 0; i < count; ++i) finish(first + i, sums + i * targets, seen + i * targets);
    }
  });
}

// --- Regression

struct Regression {
  TreeAggregate aggregate;
  PostTransform transform;
  std::vector<double> base;
  int64_t targets;
};

template <typename T, typename Out>
Kernel regression_kernel(const NodeView& node, const TreeSource& source, Regression how) {
  SX_CHECK(node, how.base.empty() || static_cast<int64_t>(how.base.size()) == how.targets, "base_values has ",
           how.base.size(), " entries; ", how.targets, " expected");
  // A single score passes through LOGISTIC and SOFTMAX as it is, as in ONNX Runtime.
  if (how.targets == 1 && how.transform != PostTransform::kProbit) how.transform = PostTransform::kNone;
  auto trees = std::make_shared<const Trees<T>>(node, source, how.targets, how.aggregate);
  return [trees, how](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    const Tensor& y = run.out(0, Shape{rows.count, how.targets});
    for_each_row(run, *trees, x, rows, [&](int64_t row, T* sums, const uint8_t* seen) {
      for (int64_t k = 0; k < how.targets; ++k) {
        if (how.aggregate == TreeAggregate::kAverage) sums[k] /= static_cast<T>(trees->tree_count());
        // A target that no leaf votes for keeps 0.
        if (!how.base.empty() && (seen[k] != 0 || how.targets == 1))
          sums[k] += static_cast<T>(how.base[static_cast<size_t>(k)]);
      }
      apply_transform(how.transform, sums, how.targets);
      for (int64_t k = 0; k < how.targets; ++k) {
        if constexpr (std::is_same_v<Out, Float16>)
          y.data<Float16>()[row * how.targets + k] = Float16(static_cast<float>(sums[k]));
        else y.data<Out>()[row * how.targets + k] = static_cast<Out>(sums[k]);
      }
    });
  };
}

TreeAggregate aggregate_of(const NodeView& node, const std::string& name) {
  static const char* const kNames[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  for (int i = 0; i < 4; ++i)
    if (name == kNames[i]) return static_cast<TreeAggregate>(i);
  node.error("aggregate_function is '", name, "'; AVERAGE, SUM, MIN or MAX expected");
}

int64_t target_count(const NodeView& node) {
  const int64_t targets = node.attr_or<int64_t>("n_targets", 1);
  SX_CHECK(node, targets > 0, "n_targets is ", targets, "; a positive number expected");
  return targets;
}

void infer_regressor(InferContext& c) { c.out(0, DType::kFloat32, SymShape{rows_of(c, 0), Dim(target_count(c))}); }

Kernel make_regressor(Prepare& p) {
  const TreeSource source = read_numbered_trees(p, "target");
  Regression how{aggregate_of(p, p.attr_string("aggregate_function")),
                 post_transform_of(p, p.attr_string("post_transform")), numbers_attr(p, "base_values"),
                 target_count(p)};
  return p.dtype(0) == DType::kFloat64 ? regression_kernel<double, float>(p, source, std::move(how))
                                       : regression_kernel<float, float>(p, source, std::move(how));
}

void infer_ensemble(InferContext& c) { c.out(0, c.dtype(0), SymShape{rows_of(c, 0), Dim(target_count(c))}); }

Kernel make_ensemble(Prepare& p) {
  const TreeSource source = read_indexed_trees(p);
  const int64_t aggregate = p.attr_int("aggregate_function");
  const int64_t transform = p.attr_int("post_transform");
  SX_CHECK(p, aggregate >= 0 && aggregate <= 3, "aggregate_function is ", aggregate, "; 0 to 3 expected");
  SX_CHECK(p, transform >= 0 && transform <= 4, "post_transform is ", transform, "; 0 to 4 expected");
  const auto targets = target_count(p);
  Regression how{static_cast<TreeAggregate>(aggregate), static_cast<PostTransform>(transform), {}, targets};
  switch (p.dtype(0)) {
    case DType::kFloat64: return regression_kernel<double, double>(p, source, std::move(how));
    case DType::kFloat16: return regression_kernel<float, Float16>(p, source, std::move(how));
    default: return regression_kernel<float, float>(p, source, std::move(how));
  }
}

// --- Classification

struct Classification {
  ClassLabels labels;
  PostTransform transform;
  std::vector<double> base;
  bool positive = true;    // no weight is negative
  bool one_class = false;  // two labels, and all leaves vote for one and the same
};

// With two labels, trees usually vote for one of them only and the other's score follows. The rules are those of ONNX
// Runtime.
template <typename T>
size_t finish_two(const Classification& how, T* sums, const uint8_t* seen) {
  const bool both = seen[1] != 0;
  const std::vector<double>& base = how.base;
  if (base.size() == 2) {
    if (both) {
      sums[1] = static_cast<T>(base[1]) + sums[0];
      sums[0] = seen[0] != 0 ? -sums[1] : T(0);
    } else {
      sums[0] += static_cast<T>(base[0]);
    }
  } else if (base.size() == 1 && seen[0] != 0) {
    sums[0] += static_cast<T>(base[0]);
  }
  const T score = both ? sums[1] : sums[0];
  const bool chosen = score > (how.one_class && how.positive ? T(0.5f) : T(0));
  if (both || base.size() == 2) {
    apply_transform(how.transform, sums, 2);
  } else if (how.transform == PostTransform::kProbit) {
    apply_transform(how.transform, sums, 1);
    sums[1] = 0;
  } else {
    const bool complement = how.one_class && how.positive && how.transform != PostTransform::kLogistic;
    split_score(how.transform, complement ? SecondClass::kComplement : SecondClass::kNegation, sums);
  }
  return chosen ? 1 : 0;
}

template <typename T>
size_t finish_many(const Classification& how, T* sums, const uint8_t* seen) {
  size_t best = 0;
  bool found = false;
  for (size_t k = 0; k < how.labels.size(); ++k) {
    if (!how.base.empty()) sums[k] += static_cast<T>(how.base[k]);
    if (how.base.empty() && seen[k] == 0) continue;
    if (!found || sums[k] > sums[best]) best = k;
    found = true;
  }
  if (how.labels.size() > 1 || how.transform == PostTransform::kProbit)
    apply_transform(how.transform, sums, static_cast<int64_t>(how.labels.size()));
  return best;
}

template <typename T>
Kernel classification_kernel(const NodeView& node, const TreeSource& source, const Classification& how) {
  const auto classes = static_cast<int64_t>(how.labels.size());
  auto trees = std::make_shared<const Trees<T>>(node, source, classes, TreeAggregate::kSum);
  return [trees, how, classes](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    const Tensor* labels = run.wants(0) ? &run.out(0, Shape{rows.count}) : nullptr;
    const Tensor* scores = run.wants(1) ? &run.out(1, Shape{rows.count, classes}) : nullptr;
    for_each_row(run, *trees, x, rows, [&](int64_t row, T* sums, const uint8_t* seen) {
      const size_t best = classes == 2 ? finish_two(how, sums, seen) : finish_many(how, sums, seen);
      if (labels != nullptr) how.labels.put(*labels, row, best);
      if (scores != nullptr)
        for (int64_t k = 0; k < classes; ++k) scores->data<float>()[row * classes + k] = static_cast<float>(sums[k]);
    });
  };
}

ClassLabels labels_of(const NodeView& node) {
  ClassLabels labels = ClassLabels::read(node, "classlabels_int64s", "classlabels_strings");
  SX_CHECK(node, labels.size() > 0, "has no class labels");
  return labels;
}

void infer_classifier(InferContext& c) {
  const ClassLabels labels = labels_of(c);
  const Dim rows = rows_of(c, 0);
  c.out(0, labels.dtype(), SymShape{rows});
  c.out(1, DType::kFloat32, SymShape{rows, Dim(static_cast<int64_t>(labels.size()))});
}

Kernel make_classifier(Prepare& p) {
  const TreeSource source = read_numbered_trees(p, "class");
  Classification how{labels_of(p), post_transform_of(p, p.attr_string("post_transform")),
                     numbers_attr(p, "base_values")};
  const size_t classes = how.labels.size();
  SX_CHECK(p, how.base.empty() || how.base.size() == classes || (classes == 2 && how.base.size() == 1),
           "base_values has ", how.base.size(), " entries; ", classes, " expected");
  const std::vector<int64_t> ids = ints_attr(p, "class_ids");
  how.one_class =
      classes == 2 && !ids.empty() && std::all_of(ids.begin(), ids.end(), [&](int64_t id) { return id == ids[0]; });
  for (double weight : numbers_attr(p, "class_weights")) how.positive = how.positive && weight >= 0;
  return p.dtype(0) == DType::kFloat64 ? classification_kernel<double>(p, source, how)
                                       : classification_kernel<float>(p, source, how);
}

// What both operators of the numbered kind have.
OpDef numbered(const char* name, const std::string& kind) {
  OpDef op(name, kMlDomain);
  op.since(3)
      .attr("post_transform", "NONE")
      .optional_attr("nodes_treeids", AttrKind::kInts)
      .optional_attr("nodes_nodeids", AttrKind::kInts)
      .optional_attr("nodes_featureids", AttrKind::kInts)
      .optional_attr("nodes_values", AttrKind::kFloats)
      .optional_attr("nodes_values_as_tensor", AttrKind::kTensor)
      .optional_attr("nodes_hitrates", AttrKind::kFloats)
      .optional_attr("nodes_hitrates_as_tensor", AttrKind::kTensor)
      .optional_attr("nodes_modes", AttrKind::kStrings)
      .optional_attr("nodes_truenodeids", AttrKind::kInts)
      .optional_attr("nodes_falsenodeids", AttrKind::kInts)
      .optional_attr("nodes_missing_value_tracks_true", AttrKind::kInts)
      .optional_attr("base_values", AttrKind::kFloats)
      .optional_attr("base_values_as_tensor", AttrKind::kTensor)
      .optional_attr(kind + "_treeids", AttrKind::kInts)
      .optional_attr(kind + "_nodeids", AttrKind::kInts)
      .optional_attr(kind + "_ids", AttrKind::kInts)
      .optional_attr(kind + "_weights", AttrKind::kFloats)
      .optional_attr(kind + "_weights_as_tensor", AttrKind::kTensor)
      .in("X", "T", kMlNumbers);
  return op;
}

}  // namespace

void define_ml_tree_ensemble(OpList& ops) {
  ops.add(numbered("TreeEnsembleClassifier", "class")
              .optional_attr("classlabels_int64s", AttrKind::kInts)
              .optional_attr("classlabels_strings", AttrKind::kStrings)
              .out("Y", "", kMlLabels)
              .out("Z", "", DType::kFloat32)
              .infer(infer_classifier)
              .kernel(make_classifier)
              .zero_gradient());
  ops.add(numbered("TreeEnsembleRegressor", "target")
              .attr("aggregate_function", "SUM")
              .optional_attr("n_targets", AttrKind::kInt)
              .out("Y", "", DType::kFloat32)
              .infer(infer_regressor)
              .kernel(make_regressor)
              .zero_gradient());
  ops.add(OpDef("TreeEnsemble", kMlDomain)
              .since(5, 5)
              .attr("aggregate_function", 1)
              .attr("post_transform", 0)
              .optional_attr("n_targets", AttrKind::kInt)
              .required_attr("tree_roots", AttrKind::kInts)
              .required_attr("nodes_featureids", AttrKind::kInts)
              .required_attr("nodes_splits", AttrKind::kTensor)
              .required_attr("nodes_modes", AttrKind::kTensor)
              .required_attr("nodes_truenodeids", AttrKind::kInts)
              .required_attr("nodes_falsenodeids", AttrKind::kInts)
              .required_attr("nodes_trueleafs", AttrKind::kInts)
              .required_attr("nodes_falseleafs", AttrKind::kInts)
              .optional_attr("nodes_missing_value_tracks_true", AttrKind::kInts)
              .optional_attr("nodes_hitrates", AttrKind::kTensor)
              .optional_attr("membership_values", AttrKind::kTensor)
              .required_attr("leaf_targetids", AttrKind::kInts)
              .required_attr("leaf_weights", AttrKind::kTensor)
              .in("X", "T", DType::kFloat32 | DType::kFloat64 | DType::kFloat16)
              .out("Y", "T")
              .infer(infer_ensemble)
              .kernel(make_ensemble)
              .zero_gradient());
}

}  // namespace sx
