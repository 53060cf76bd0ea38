// Reshape, Flatten, Squeeze, Unsqueeze: the same elements under another shape.
#include <algorithm>
#include <functional>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

using ShapeFn = std::function<Shape(const Run&, const Shape&)>;

// Output 0 is input 0 under the shape that `target` computes.
Kernel view_kernel(ShapeFn target) {
  return [target = std::move(target)](Run& run) {
    const Tensor& x = run.in(0);
    run.set(0, x.reshaped(target(run, x.shape())));
  };
}

// --- Reshape

Dim product(const SymShape& shape) {
  Dim size(1);
  for (const Dim& dim : shape) size = size * dim;
  return size;
}

void infer_reshape(InferContext& c) {
  const auto target = c.elements(1);
  if (!target) return c.out(0, c.dtype(0), std::nullopt);
  const bool allow_zero = c.attr_int("allowzero") != 0;
  SymShape shape;
  int free_axis = -1;
  for (size_t i = 0; i < target->size(); ++i) {
    Dim dim = (*target)[i];
    if (dim == Dim(0) && !allow_zero) dim = c.has_shape(0) && i < c.shape(0).size() ? c.shape(0)[i] : Dim();
    if (dim == Dim(-1)) {
      SX_CHECK(c, free_axis < 0, "the target shape ", to_string(*target), " has more than one -1");
      free_axis = static_cast<int>(i);
      dim = Dim(1);
    }
    shape.push_back(dim);
  }
  const Dim known = product(shape);
  const Dim size = c.has_shape(0) ? product(c.shape(0)) : Dim();
  if (free_axis >= 0) {
    const bool exact = size.known() && known.known() && known.value() > 0;
    SX_CHECK(c, !exact || size.value() % known.value() == 0, "cannot view ", c.type(0).str(), " as ",
             to_string(*target));
    shape[static_cast<size_t>(free_axis)] = floor_div(size, known);
  } else if (size.known() && known.known()) {
    SX_CHECK(c, size == known, "cannot view ", c.type(0).str(), " (", size.str(), " elements) as ", to_string(*target));
  }
  c.out(0, c.dtype(0), shape);
  if (shape.size() <= 1 && c.facts(0).elements) c.out_elements(0, *c.facts(0).elements);
}

Shape reshape_target(const Run& run, const Shape& x, bool allow_zero) {
  const std::vector<int64_t> target = run.in(1).integers();
  Shape shape;
  int free_axis = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    int64_t dim = target[i];
    if (dim == 0 && !allow_zero) {
      SX_CHECK(run, static_cast<int>(i) < x.rank(), "the target shape copies axis ", i, " of an input of shape ",
               x.str());
      dim = x[static_cast<int>(i)];
    } else if (dim == -1) {
      SX_CHECK(run, free_axis < 0, "the target shape ", Shape(target).str(), " has more than one -1");
      free_axis = static_cast<int>(i);
      dim = 1;
    }
    SX_CHECK(run, dim >= 0, "the target shape ", Shape(target).str(), " has a negative extent");
    shape.push_back(dim);
  }
  if (free_axis >= 0) {
    const int64_t rest = shape.size();
    SX_CHECK(run, rest > 0 && x.size() % rest == 0, "cannot view ", x.str(), " as ", Shape(target).str());
    shape[free_axis] = x.size() / rest;
  }
  SX_CHECK(run, shape.size() == x.size(), "cannot view ", x.str(), " (", x.size(), " elements) as ",
           Shape(target).str());
  return shape;
}

Kernel make_reshape(Prepare& p) {
  const bool allow_zero = p.attr_int("allowzero") != 0;
  return view_kernel([allow_zero](const Run& run, const Shape& x) { return reshape_target(run, x, allow_zero); });
}

// Reshape-1 names its target in an attribute.
void reshape_from_attribute(UpgradeContext& c) { ints_to_input("shape", 1)(c); }

// --- Flatten

int flatten_axis(const NodeView& node, int rank) {
  const int64_t axis = node.attr_int("axis");
  SX_CHECK(node, axis >= -rank && axis <= rank, "axis ", axis, " is out of range for rank ", rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

void infer_flatten(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), SymShape{Dim(), Dim()});
  const SymShape& x = c.shape(0);
  const int axis = flatten_axis(c, c.rank(0));
  c.out(0, c.dtype(0), SymShape{product({x.begin(), x.begin() + axis}), product({x.begin() + axis, x.end()})});
}

Kernel make_flatten(Prepare& p) {
  const NodeView node(p.node());
  return view_kernel([node](const Run&, const Shape& x) {
    const int axis = flatten_axis(node, x.rank());
    return Shape{x.size(0, axis), x.size(axis, x.rank())};
  });
}

// --- Squeeze and Unsqueeze

// The axes counted from the front, sorted; an error on a repeated one.
std::vector<int> sorted_axes(const NodeView& node, const std::vector<int64_t>& axes, int rank) {
  std::vector<int> sorted;
  for (int64_t axis : axes) sorted.push_back(node.axis(axis, rank));
  std::sort(sorted.begin(), sorted.end());
  SX_CHECK(node, std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "axes ", Shape(axes).str(),
           " repeat");
  return sorted;
}

// Where only the number of axes is known: as many more (sign 1) or fewer (-1) unknown extents.
void rank_by_axes(InferContext& c, int sign) {
  const auto axes = c.elements(1);
  if (!c.has_shape(0) || !axes) return c.out(0, c.dtype(0), std::nullopt);
  const int rank = c.rank(0) + sign * static_cast<int>(axes->size());
  SX_CHECK(c, rank >= 0, "has ", axes->size(), " axes for an input of rank ", c.rank(0));
  c.out(0, c.dtype(0), SymShape(static_cast<size_t>(rank)));
}

void infer_squeeze(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape;
  if (!c.has(1)) {
    for (const Dim& dim : c.shape(0)) {
      if (!dim.known()) return c.out(0, c.dtype(0), std::nullopt);
      if (dim != Dim(1)) shape.push_back(dim);
    }
  } else {
    const auto axes = c.integers(1);
    if (!axes) return rank_by_axes(c, -1);
    const std::vector<int> gone = sorted_axes(c, *axes, c.rank(0));
    for (int i = 0; i < c.rank(0); ++i) {
      const Dim& dim = c.shape(0)[static_cast<size_t>(i)];
      if (!std::binary_search(gone.begin(), gone.end(), i)) shape.push_back(dim);
      else SX_CHECK(c, !dim.known() || dim == Dim(1), "axis ", i, " of ", c.type(0).str(), " is squeezed but not 1");
    }
  }
  c.out(0, c.dtype(0), shape);
  if (c.facts(0).elements) c.out_elements(0, *c.facts(0).elements);
}

Kernel make_squeeze(Prepare& p) {
  const NodeView node(p.node());
  return view_kernel([node](const Run& run, const Shape& x) {
    Shape shape;
    const std::vector<int> gone = run.has(1) ? sorted_axes(node, run.in(1).integers(), x.rank()) : std::vector<int>();
    for (int i = 0; i < x.rank(); ++i) {
      const bool squeezed = run.has(1) ? std::binary_search(gone.begin(), gone.end(), i) : x[i] == 1;
      if (!squeezed) shape.push_back(x[i]);
      else SX_CHECK(run, x[i] == 1, "axis ", i, " of ", x.str(), " is squeezed but not 1");
    }
    return shape;
  });
}

void infer_unsqueeze(InferContext& c) {
  const auto axes = c.integers(1);
  if (!c.has_shape(0) || !axes) return rank_by_axes(c, 1);
  SymShape shape = c.shape(0);
  for (int axis : sorted_axes(c, *axes, c.rank(0) + static_cast<int>(axes->size())))
    shape.insert(shape.begin() + axis, Dim(1));
  c.out(0, c.dtype(0), shape);
  if (shape.size() == 1 && c.elements(0)) c.out_elements(0, *c.elements(0));
}

Kernel make_unsqueeze(Prepare& p) {
  const NodeView node(p.node());
  return view_kernel([node](const Run& run, const Shape& x) {
    const std::vector<int64_t> axes = run.in(1).integers();
    Shape shape = x;
    for (int axis : sorted_axes(node, axes, x.rank() + static_cast<int>(axes.size()))) shape.insert(axis, 1);
    return shape;
  });
}

void differentiate_view(GradientContext& c) { c.give(0, c.reshape_like(c.grad(), c.in(0))); }

}  // namespace

void define_reshape(OpList& ops) {
  ops.add(OpDef("Reshape")
              .since(25)
              .attr("allowzero", 0)
              .in("data", "T", kAllTypes)
              .in("shape", "", DType::kInt64)
              .out("reshaped", "T")
              .aliases(0)
              .infer(infer_reshape)
              .kernel(make_reshape)
              .gradient(differentiate_view)
              .upgrade(5, reshape_from_attribute));
  ops.add(OpDef("Flatten")
              .since(25)
              .attr("axis", 1)
              .in("input", "T", kAllTypes)
              .out("output", "T")
              .aliases(0)
              .infer(infer_flatten)
              .kernel(make_flatten)
              .gradient(differentiate_view));
  ops.add(OpDef("Squeeze")
              .since(25)
              .in("data", "T", kAllTypes)
              .optional_in("axes", "", DType::kInt64)
              .out("squeezed", "T")
              .aliases(0)
              .infer(infer_squeeze)
              .kernel(make_squeeze)
              .gradient(differentiate_view)
              .upgrade(13, ints_to_input("axes", 1)));
  ops.add(OpDef("Unsqueeze")
              .since(25)
              .in("data", "T", kAllTypes)
              .in("axes", "", DType::kInt64)
              .out("expanded", "T")
              .aliases(0)
              .infer(infer_unsqueeze)
              .kernel(make_unsqueeze)
              .gradient(differentiate_view)
              .upgrade(13, ints_to_input("axes", 1)));
}

}  // namespace sx
