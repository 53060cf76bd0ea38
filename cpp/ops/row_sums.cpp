// RowSums: what ScatterND adds to zeros, by rows. Of data of `shape`, row r is sums[places[r]]: the updates of that
// row, added up in their order, or the zeros in the last row of sums.
#include <algorithm>

#include "ops/index_input.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_row_sums(InferContext& c) {
  const auto elements = c.elements(0);
  SymShape sums(1);
  if (c.has_shape(1)) {
    Dim count(1);
    for (int i = 0; i + 1 < c.rank(1); ++i) count = count * c.shape(1)[static_cast<size_t>(i)];
    sums[0] = count + Dim(1);
  }
  if (elements && !elements->empty()) sums.insert(sums.end(), elements->begin() + 1, elements->end());
  c.out(0, DType::kFloat32, elements ? std::optional(sums) : std::nullopt);
  c.out(1, DType::kInt32, SymShape{elements && !elements->empty() ? (*elements)[0] : Dim()});
}

void run_row_sums(Run& run) {
  const std::vector<int64_t> extents = run.in(0).integers();
  const Shape data(extents.begin(), extents.end());
  const Shape& given = run.in(1).shape();
  SX_CHECK(run, data.rank() > 0 && given.rank() > 0 && given[given.rank() - 1] == 1, "indices are ", given.str(),
           " for data of shape ", data.str(), "; a last axis of one element expected");
  const int64_t count = given.size(), rows = data[0], width = data.size(1, data.rank());
  SX_CHECK(run, run.in(2).size() == checked_mul(count, width), "updates is ", run.in(2).shape().str(), " for indices ",
           given.str(), " and data ", data.str());
  SX_CHECK(run, count < INT32_MAX, "has ", count, " updates; fewer than ", INT32_MAX, " expected");
  Shape shape = data;
  shape[0] = count + 1;
  float* const sums = run.out(0, shape).data<float>();
  int32_t* const places = run.out(1, Shape{rows}).data<int32_t>();
  const auto none = static_cast<int32_t>(count);
  std::fill_n(places, rows, none);
  const Indices indices(run.in(1));
  for (int64_t i = count - 1; i >= 0; --i) places[indices.at(run, i, rows)] = static_cast<int32_t>(i);
  const float* const updates = run.in(2).data<float>();
  // Each row of updates stands in its own place or is added to the first of its row; threads share the columns.
  const int64_t grain =
      std::max<int64_t>(std::max<int64_t>(65536 / std::max<int64_t>(count, 1), 1024), (width + 63) / 64);
  parallel_for(width, grain, [&](int64_t begin, int64_t end) {
    std::fill(sums + count * width + begin, sums + count * width + end, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t first = places[indices.at(run, i, rows)];
      const float* from = updates + i * width;
      float* to = sums + first * width;
      if (first == i)
        for (int64_t j = begin; j < end; ++j) to[j] = 0.0f + from[j];
      else
        for (int64_t j = begin; j < end; ++j) to[j] += from[j];
    }
  });
}

}  // namespace

void define_row_sums(OpList& ops) {
  ops.add(OpDef("RowSums", "sardonyx")
              .in("shape", "", DType::kInt64)
              .in("indices", "", DType::kInt64)
              .in("updates", "", DType::kFloat32)
              .out("sums")
              .out("places")
              .infer(infer_row_sums)
              .kernel([](Prepare&) -> Kernel { return run_row_sums; }));
}

}  // namespace sx
