// Shape: the extents of x from `start` to `end`; Size: their product.
#include <algorithm>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// The part of [0, rank) that Shape gives: both ends count from the back when negative and are clamped.
std::pair<int64_t, int64_t> window(const NodeView& node, int64_t rank) {
  auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
  const int64_t start = clamp(node.attr_int("start"));
  const int64_t end = node.has_attr("end") ? clamp(node.attr_int("end")) : rank;
  return {start, std::max(start, end)};
}

void infer_shape(InferContext& c) {
  if (c.rank(0) < 0) return c.out(0, DType::kInt64, SymShape{Dim()});
  const auto [start, end] = window(c, c.rank(0));
  c.out(0, DType::kInt64, SymShape{Dim(end - start)});
  c.out_elements(0, {c.shape(0).begin() + start, c.shape(0).begin() + end});
}

Kernel make_shape(Prepare& p) {
  const NodeView node(p.node());
  return [node](Run& run) {
    const Shape& shape = run.in(0).shape();
    const auto [start, end] = window(node, shape.rank());
    std::copy(shape.begin() + start, shape.begin() + end, run.out(0, Shape{end - start}).data<int64_t>());
  };
}

void infer_size(InferContext& c) {
  c.out(0, DType::kInt64, SymShape{});
  if (!c.has_shape(0)) return;
  Dim product(1);
  for (const Dim& dim : c.shape(0)) product = product * dim;
  c.out_elements(0, {product});
}

Kernel make_size(Prepare&) {
  return [](Run& run) { *run.out(0, Shape{}).data<int64_t>() = run.in(0).size(); };
}

}  // namespace

void define_shape(OpList& ops) {
  ops.add(OpDef("Shape")
              .since(25)
              .attr("start", 0)
              .optional_attr("end", AttrKind::kInt)
              .in("data", "T", kAllTypes)
              .out("shape", "T1", DType::kInt64)
              .shape_only({0})
              .infer(infer_shape)
              .kernel(make_shape)
              .zero_gradient());
  ops.add(OpDef("Size")
              .since(25)
              .in("data", "T", kAllTypes)
              .out("size", "T1", DType::kInt64)
              .shape_only({0})
              .infer(infer_size)
              .kernel(make_size)
              .zero_gradient());
}

}  // namespace sx
