// ArrayFeatureExtractor: z = x[..., y]; FeatureVectorizer: inputs side by side, each cut or padded to its width
#include <algorithm>

#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

// --- ArrayFeatureExtractor

void infer_extractor(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, c.rank(0) > 0, "its input is a scalar; at least one axis expected");
  SymShape shape = c.rank(0) == 1 ? SymShape{Dim(1), Dim()} : c.shape(0);
  Dim count(1);
  if (c.has_shape(1)) {
    for (const Dim& dim : c.shape(1)) count = count * dim;
  } else {
    count = Dim();
  }
  shape.back() = count;
  c.out(0, c.dtype(0), shape);
}

template <typename T>
void extract(const T* x, int64_t rows, int64_t width, const std::vector<int64_t>& picks, T* z) {
  const auto count = static_cast<int64_t>(picks.size());
  parallel_for(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = 0; i < count; ++i) z[row * count + i] = x[row * width + picks[static_cast<size_t>(i)]];
  });
}

Kernel make_extractor(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() > 0, "its input is a scalar; at least one axis expected");
    const std::vector<int64_t> picks = run.in(1).integers();
    const int64_t width = x.shape().back();
    for (int64_t pick : picks)
      SX_CHECK(run, pick >= 0 && pick < width, "index ", pick, " is out of range for ", width, " features");
    Shape shape = x.rank() == 1 ? Shape{1, 0} : x.shape();
    shape[shape.rank() - 1] = static_cast<int64_t>(picks.size());
    const Tensor& z = run.out(0, shape);
    if (z.size() == 0) return;
    const int64_t rows = x.size() / width;
    if (x.dtype() == DType::kString) extract(x.data<std::string>(), rows, width, picks, z.data<std::string>());
    else if (size_of(x.dtype()) == 8)
      extract(static_cast<const uint64_t*>(x.raw()), rows, width, picks, static_cast<uint64_t*>(z.raw()));
    else extract(static_cast<const uint32_t*>(x.raw()), rows, width, picks, static_cast<uint32_t*>(z.raw()));
  };
}

// --- FeatureVectorizer

std::vector<int64_t> widths_of(const NodeView& node) {
  const std::vector<int64_t> widths = ints_attr(node, "inputdimensions");
  SX_CHECK(node, widths.size() == node.node().inputs.size(), "inputdimensions has ", widths.size(), " entries; ",
           node.node().inputs.size(), " expected, one for each input");
  for (int64_t width : widths) SX_CHECK(node, width >= 0, "inputdimensions has ", width);
  return widths;
}

int64_t total_of(const std::vector<int64_t>& widths) {
  int64_t total = 0;
  for (int64_t width : widths) total = checked_add(total, width);
  return total;
}

void infer_vectorizer(InferContext& c) {
  c.out(0, DType::kFloat32, SymShape{rows_of(c, 0), Dim(total_of(widths_of(c)))});
}

Kernel make_vectorizer(Prepare& p) {
  return [widths = widths_of(p)](Run& run) {
    const int64_t rows = rows_of(run, run.in(0)).count;
    const int64_t total = total_of(widths);
    for (int i = 0; i < run.inputs(); ++i)
      SX_CHECK(run, rows_of(run, run.in(i)).count == rows, "input ", i, " is ", run.in(i).shape().str(), "; ", rows,
               " rows expected");
    float* y = run.out(0, Shape{rows, total}).data<float>();
    int64_t column = 0;
    for (int i = 0; i < run.inputs(); ++i) {
      const int64_t width = widths[static_cast<size_t>(i)];
      const int64_t given = rows_of(run, run.in(i)).width;
      const int64_t taken = std::min(width, given);
      for (int64_t row = 0; row < rows; ++row) {
        float* to = y + row * total + column;
        read_as(run.in(i), row * given, taken, to);
        std::fill(to + taken, to + width, 0.0f);
      }
      column += width;
    }
  };
}

}  // namespace

void define_ml_features(OpList& ops) {
  ops.add(OpDef("ArrayFeatureExtractor", kMlDomain)
              .in("X", "T", kMlNumbers | DType::kString)
              .in("Y", "", DType::kInt64)
              .out("Z", "T")
              .infer(infer_extractor)
              .kernel(make_extractor)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
  ops.add(OpDef("FeatureVectorizer", kMlDomain)
              .optional_attr("inputdimensions", AttrKind::kInts)
              .variadic_in("X", "", kMlNumbers)
              .out("Y", "", DType::kFloat32)
              .infer(infer_vectorizer)
              .kernel(make_vectorizer)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
}

}  // namespace sx
