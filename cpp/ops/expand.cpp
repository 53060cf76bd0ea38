// Expand: x broadcast to a shape; Tile: x repeated along each axis.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

// --- Expand

void infer_expand(InferContext& c) {
  const auto target = c.elements(1);
  if (!target || !c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const SymShape shape = broadcast(c, c.shape(0), *target);
  c.out(0, c.dtype(0), shape);
  const auto elements = c.elements(0);
  // Nothing stays nothing, but the run still has to check the shape.
  if (!elements || elements->empty() || shape.size() > 1) return;
  const int64_t count = shape.empty() ? 1 : shape[0].known() ? shape[0].value() : -1;
  if (static_cast<int64_t>(elements->size()) == count) c.out_elements(0, *elements);
  else if (elements->size() == 1 && count >= 0 && count <= 64)
    c.out_elements(0, std::vector<Dim>(static_cast<size_t>(count), (*elements)[0]));
}

Kernel make_expand(Prepare& p) {
  const IntInput target_input(p, 1);
  return [target_input](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& target = target_input.get(run, buffer);
    for (int64_t extent : target)
      SX_CHECK(run, extent >= 0, "the shape ", to_string(Attribute(target)), " has a negative extent");
    const Shape wanted(target);
    const int rank = std::max(wanted.rank(), x.rank());
    Shape shape;
    for (int i = 0; i < rank; ++i) {
      const int at_x = i - (rank - x.rank());
      const int at_wanted = i - (rank - wanted.rank());
      const int64_t a = at_x < 0 ? 1 : x.dim(at_x);
      const int64_t b = at_wanted < 0 ? 1 : wanted[at_wanted];
      SX_CHECK(run, a == b || a == 1 || b == 1, "the input of shape ", x.shape().str(), " does not broadcast to ",
               wanted.str());
      shape.push_back(a == 1 ? b : a);
    }
    Tensor& y = run.out(0, shape);
    const Shape to = strides_of(shape);
    const Shape from = strides_of(x.shape());
    CopyNest nest;
    for (int i = 0; i < rank; ++i) {
      const int at_x = i - (rank - x.rank());
      nest.add(shape[i], to[i], at_x < 0 || x.dim(at_x) == 1 ? 0 : from[at_x]);
    }
    nest.run(x.dtype(), y.raw(), x.raw());
  };
}

// --- Tile

void infer_tile(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape = c.shape(0);
  const auto repeats = c.elements(1);
  SX_CHECK(c, !repeats || repeats->size() == shape.size(), "has ", repeats ? repeats->size() : 0, " repeats for ",
           c.type(0).str());
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = repeats ? shape[i] * (*repeats)[i] : Dim();
  c.out(0, c.dtype(0), shape);
  const auto elements = c.rank(0) == 1 ? c.elements(0) : std::nullopt;
  if (!elements || !shape[0].known() || shape[0].value() > 64) return;
  std::vector<Dim> repeated;
  while (static_cast<int64_t>(repeated.size()) < shape[0].value())
    repeated.insert(repeated.end(), elements->begin(), elements->end());
  c.out_elements(0, repeated);
}

Kernel make_tile(Prepare& p) {
  const IntInput repeats_input(p, 1);
  return [repeats_input](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& repeats = repeats_input.get(run, buffer);
    SX_CHECK(run, static_cast<int>(repeats.size()) == x.rank(), "has ", repeats.size(),
             " repeats for an input of rank ", x.rank());
    Shape shape;
    for (int i = 0; i < x.rank(); ++i) {
      const int64_t times = repeats[static_cast<size_t>(i)];
      SX_CHECK(run, times >= 0, "the repeats ", to_string(Attribute(repeats)), " have a negative number");
      shape.push_back(checked_mul(x.dim(i), times));
    }
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const Shape to = strides_of(shape);
    const Shape from = strides_of(x.shape());
    CopyNest nest;
    for (int i = 0; i < x.rank(); ++i) {
      nest.add(repeats[static_cast<size_t>(i)], to[i] * x.dim(i), 0);
      nest.add(x.dim(i), to[i], from[i]);
    }
    nest.run(x.dtype(), y.raw(), x.raw());
  };
}

// Tile-1 repeats along one axis: both the number and the axis are inputs of the type of x.
void repeats_from_axis(UpgradeContext& c) {
  auto integer = [&](size_t i) {
    const ValueId cast = c.emit("Cast", {c.input_id(i)}, {{"to", static_cast<int64_t>(DType::kInt64)}});
    return c.emit("Reshape", {cast, c.constant(Tensor::vector({1}))});
  };
  const ValueId times = integer(1);
  const ValueId axis = integer(2);
  const ValueId shape = c.emit("Shape", {c.input_id(0)});
  const ValueId ones = c.emit("ConstantOfShape", {c.emit("Shape", {shape})}, {{"value", Tensor::vector({1})}});
  c.draft().inputs = {c.input_id(0), c.emit("ScatterElements", {ones, axis, times})};
}

// The copies along each axis become an axis of their own, which is summed.
void differentiate_tile(GradientContext& c) {
  const Expr x = c.in(0);
  SX_CHECK(c, x.rank() >= 0, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> copies;
  for (int i = 0; i < x.rank(); ++i) copies.push_back(2 * i);
  const Expr pairs = c.op("Concat", {c.unsqueeze(c.in(1), {1}), c.unsqueeze(c.shape(x), {1})}, {{"axis", int64_t{1}}});
  const Expr apart = c.op("Reshape", {c.grad(), c.op("Reshape", {pairs, c.ints({-1})})}, {{"allowzero", int64_t{1}}});
  c.give(0, c.reduce_sum(apart, copies, false));
}

}  // namespace

void define_expand(OpList& ops) {
  ops.add(OpDef("Expand")
              .since(13, 8)
              .in("input", "T", kAllTypes)
              .in("shape", "", DType::kInt64)
              .out("output", "T")
              .infer(infer_expand)
              .kernel(make_expand)
              .gradient([](GradientContext& c) { c.give_sum(0, c.grad()); }));
  ops.add(OpDef("Tile")
              .since(13)
              .in("input", "T", kAllTypes)
              .in("repeats", "", DType::kInt64)
              .out("output", "T")
              .infer(infer_tile)
              .kernel(make_tile)
              .gradient(differentiate_tile)
              .upgrade(6, repeats_from_axis));
}

}  // namespace sx
