// What the classical models of ai.onnx.ml share: rows of numbers, class labels and transforms of scores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {

constexpr const char* kMlDomain = "ai.onnx.ml";
constexpr DTypeSet kMlNumbers = DType::kFloat32 | DType::kFloat64 | DType::kInt64 | DType::kInt32;
constexpr DTypeSet kMlLabels = DType::kString | DType::kInt64;

// A matrix of samples; one sample may come as a vector.
struct Rows {
  int64_t count = 0;
  int64_t width = 0;
};
Rows rows_of(const Run& run, const Tensor& x);
// The same at load: the number of rows, unknown where the rank is.
Dim rows_of(const InferContext& c, int input);

// Elements [from, from + count) of a tensor of numbers as T (float or double).
template <typename T>
void read_as(const Tensor& x, int64_t from, int64_t count, T* to);

// An attribute of numbers that an operator may give as a list or, since opset 3, as a tensor `<name>_as_tensor`.
std::vector<double> numbers_attr(const NodeView& node, const std::string& name);
std::vector<float> floats_attr(const NodeView& node, const std::string& name);
std::vector<int64_t> ints_attr(const NodeView& node, const std::string& name);

// Names of classes: integers or strings.
class ClassLabels {
 public:
  // From the one of the two attributes that is given; fails in the node's name when both are.
  static ClassLabels read(const NodeView& node, const std::string& ints, const std::string& strings);

  DType dtype() const { return text_ ? DType::kString : DType::kInt64; }
  size_t size() const { return text_ ? strings_.size() : ints_.size(); }
  // Writes label `index` at `row` of a tensor of dtype().
  void put(const Tensor& labels, int64_t row, size_t index) const;
  Tensor tensor() const;

 private:
  bool text_ = false;
  std::vector<int64_t> ints_;
  std::vector<std::string> strings_;
};

enum class PostTransform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };
PostTransform post_transform_of(const NodeView& node, const std::string& name);
// Applied in place to the scores of one row.
template <typename T>
void apply_transform(PostTransform transform, T* scores, int64_t count);
float logistic(float x);
float probit(float x);

// How one score becomes two classes' scores: {1 - s, s}, or {-s, s} (under a logistic transform {f(-s), f(s)}).
enum class SecondClass { kComplement, kNegation };
// scores[0] is the score of the positive class; fills scores[0] and scores[1], transformed.
template <typename T>
void split_score(PostTransform transform, SecondClass how, T* scores);

}  // namespace sx
