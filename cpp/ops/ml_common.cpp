// Rows of numbers, class labels and transforms of scores for the operators of ai.onnx.ml.
#include "ops/ml_common.h"

#include <algorithm>
#include <cmath>

namespace sx {

Rows rows_of(const Run& run, const Tensor& x) {
  SX_CHECK(run, x.rank() == 1 || x.rank() == 2, "its input is ", name_of(x.dtype()), x.shape().str(),
           "; [rows, features] expected");
  return x.rank() == 1 ? Rows{1, x.dim(0)} : Rows{x.dim(0), x.dim(1)};
}

Dim rows_of(const InferContext& c, int input) {
  if (!c.has_shape(input)) return Dim();
  SX_CHECK(c, c.rank(input) == 1 || c.rank(input) == 2, "its input is ", c.type(input).str(),
           "; [rows, features] expected");
  return c.rank(input) == 1 ? Dim(1) : c.shape(input)[0];
}

template <typename T>
void read_as(const Tensor& x, int64_t from, int64_t count, T* to) {
  auto copy = [&](const auto* data) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(data[from + i]);
  };
  switch (x.dtype()) {
    case DType::kFloat32: return copy(x.data<float>());
    case DType::kFloat64: return copy(x.data<double>());
    case DType::kInt64: return copy(x.data<int64_t>());
    case DType::kInt32: return copy(x.data<int32_t>());
    case DType::kFloat16:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<float>(x.data<Float16>()[from + i]));
      return;
    default: fail(ErrorKind::kInvalidArgument, "numbers expected, found ", name_of(x.dtype()), x.shape().str());
  }
}
template void read_as<float>(const Tensor&, int64_t, int64_t, float*);
template void read_as<double>(const Tensor&, int64_t, int64_t, double*);

std::vector<double> numbers_attr(const NodeView& node, const std::string& name) {
  const std::string tensor_name = name + "_as_tensor";
  if (node.has_attr(tensor_name)) {
    const Tensor& tensor = node.attr<Tensor>(tensor_name);
    SX_CHECK(node, !node.has_attr(name) || node.attr<std::vector<float>>(name).empty() || tensor.size() == 0,
             "has both '", name, "' and '", tensor_name, "'; one expected");
    std::vector<double> values(static_cast<size_t>(tensor.size()));
    read_as(tensor, 0, tensor.size(), values.data());
    if (!values.empty()) return values;
  }
  const std::vector<float> floats = floats_attr(node, name);
  return {floats.begin(), floats.end()};
}

std::vector<float> floats_attr(const NodeView& node, const std::string& name) {
  return node.attr_or(name, std::vector<float>());
}

std::vector<int64_t> ints_attr(const NodeView& node, const std::string& name) {
  return node.attr_or(name, std::vector<int64_t>());
}

ClassLabels ClassLabels::read(const NodeView& node, const std::string& ints, const std::string& strings) {
  ClassLabels labels;
  labels.ints_ = ints_attr(node, ints);
  labels.strings_ = node.attr_or(strings, std::vector<std::string>());
  SX_CHECK(node, labels.ints_.empty() || labels.strings_.empty(), "has both '", ints, "' and '", strings,
           "'; one expected");
  labels.text_ = !labels.strings_.empty();
  return labels;
}

void ClassLabels::put(const Tensor& labels, int64_t row, size_t index) const {
  if (text_) labels.data<std::string>()[row] = strings_[index];
  else labels.data<int64_t>()[row] = ints_[index];
}

Tensor ClassLabels::tensor() const {
  const Shape shape{static_cast<int64_t>(size())};
  return text_ ? Tensor::of(shape, strings_) : Tensor::of(shape, ints_);
}

PostTransform post_transform_of(const NodeView& node, const std::string& name) {
  static const char* const kNames[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  for (int i = 0; i < 5; ++i)
    if (name == kNames[i]) return static_cast<PostTransform>(i);
  node.error("post_transform is '", name, "'; expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT");
}

float logistic(float x) {
  const float v = 1.0f / (1.0f + std::exp(-std::abs(x)));
  return x < 0 ? 1.0f - v : v;
}

float probit(float x) {
  // sqrt(2) erfinv(2x - 1) with Winitzki's approximation, whose error of about 2e-3 is the operator's meaning.
  const float z = 2.0f * x - 1.0f;
  const float log = std::log((1.0f - z) * (1.0f + z));
  const float a = 2.0f / (3.14159f * 0.147f) + 0.5f * log;
  const float b = 1.0f / 0.147f * log;
  const float root = std::sqrt(-a + std::sqrt(a * a - b));
  return 1.41421356f * (z < 0 ? -root : root);
}

template <typename T>
void apply_transform(PostTransform transform, T* scores, int64_t count) {
  switch (transform) {
    case PostTransform::kNone: return;
    case PostTransform::kLogistic:
      for (int64_t i = 0; i < count; ++i) scores[i] = static_cast<T>(logistic(static_cast<float>(scores[i])));
      return;
    case PostTransform::kProbit:
      for (int64_t i = 0; i < count; ++i) scores[i] = static_cast<T>(probit(static_cast<float>(scores[i])));
      return;
    case PostTransform::kSoftmax:
    case PostTransform::kSoftmaxZero: {
      if (count == 0) return;
      const T largest = *std::max_element(scores, scores + count);
      const bool keep_zeros = transform == PostTransform::kSoftmaxZero;
      T sum = 0;
      for (int64_t i = 0; i < count; ++i) {
        // Under SOFTMAX_ZERO a score of zero stays zero.
        if (keep_zeros && scores[i] <= T(0.0000001f) && scores[i] >= T(-0.0000001f)) scores[i] *= std::exp(-largest);
        else scores[i] = std::exp(scores[i] - largest);
        sum += scores[i];
      }
      for (int64_t i = 0; i < count; ++i) scores[i] /= sum;
      return;
    }
  }
}
template void apply_transform<float>(PostTransform, float*, int64_t);
template void apply_transform<double>(PostTransform, double*, int64_t);

template <typename T>
void split_score(PostTransform transform, SecondClass how, T* scores) {
  const T s = scores[0];
  if (how == SecondClass::kComplement) {
    scores[0] = T(1) - s;
    scores[1] = s;
  } else if (transform == PostTransform::kLogistic) {
    scores[0] = static_cast<T>(logistic(static_cast<float>(-s)));
    scores[1] = static_cast<T>(logistic(static_cast<float>(s)));
  } else {
    scores[0] = -s;
    scores[1] = s;
  }
}
template void split_score<float>(PostTransform, SecondClass, float*);
template void split_score<double>(PostTransform, SecondClass, double*);

}  // namespace sx
