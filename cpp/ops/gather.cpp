// Gather: y = x[.., indices, ..] on `axis`; GatherElements: y[i, j] = x[indices[i, j], j]; GatherND: y[i] =
// x[indices[i, :]].
#include <algorithm>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/index_input.h"
#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {
namespace {

// --- Gather

void infer_gather(InferContext& c) {
  if (!c.has_shape(0) || !c.has_shape(1)) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, c.rank(0) > 0, "data is a scalar; rank 1 or more expected");
  const int axis = c.axis(c.attr_int("axis"), c.rank(0));
  SymShape shape = c.shape(0);
  shape.erase(shape.begin() + axis);
  shape.insert(shape.begin() + axis, c.shape(1).begin(), c.shape(1).end());
  c.out(0, c.dtype(0), shape);
  const auto elements = c.rank(0) == 1 ? c.elements(0) : std::nullopt;
  const auto indices = c.rank(1) <= 1 ? c.integers(1) : std::nullopt;
  if (!elements || !indices) return;
  std::vector<Dim> picked;
  const auto extent = static_cast<int64_t>(elements->size());
  for (int64_t index : *indices) {
    SX_CHECK(c, index >= -extent && index < extent, "index ", index, " is out of range; expected ", -extent, "..",
             extent - 1);
    picked.push_back((*elements)[static_cast<size_t>(index < 0 ? index + extent : index)]);
  }
  c.out_elements(0, picked);
}

Kernel make_gather(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  return [node, given_axis](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& picked = run.in(1);
    SX_CHECK(run, x.rank() > 0, "data is a scalar; rank 1 or more expected");
    const int axis = node.axis(given_axis, x.rank());
    Shape shape(x.shape().begin(), x.shape().begin() + axis);
    for (int64_t extent : picked.shape()) shape.push_back(extent);
    for (int i = axis + 1; i < x.rank(); ++i) shape.push_back(x.dim(i));
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const int64_t extent = x.dim(axis);
    const int64_t inner = x.shape().size(axis + 1, x.rank());
    const int64_t count = picked.size();
    const Indices indices(picked);
    with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = static_cast<const T*>(x.raw());
      T* to = static_cast<T*>(y.raw());
      parallel_for(y.size() / inner, move_grain(inner * static_cast<int64_t>(sizeof(T)) + 8),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       const int64_t source = row / count * extent + indices.at(run, row % count, extent);
                       if (inner == 1) to[row] = from[source];
                       else copy_run(to + row * inner, from + source * inner, inner);
                     }
                   });
    });
  };
}

// --- GatherElements

void infer_gather_elements(InferContext& c) {
  if (c.rank(0) >= 0 && c.rank(1) >= 0) {
    SX_CHECK(c, c.rank(0) == c.rank(1), "data is ", c.type(0).str(), " and indices ", c.type(1).str(),
             "; equal ranks expected");
    c.axis(c.attr_int("axis"), c.rank(0));
  }
  c.out(0, c.dtype(0), c.has_shape(1) ? std::optional(c.shape(1)) : std::nullopt);
}

Kernel make_gather_elements(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  return [node, given_axis](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& picked = run.in(1);
    const Shape& shape = picked.shape();
    SX_CHECK(run, x.rank() == shape.rank() && x.rank() > 0, "data has shape ", x.shape().str(), " and indices ",
             shape.str(), "; equal ranks of 1 or more expected");
    const int axis = node.axis(given_axis, x.rank());
    for (int i = 0; i < x.rank(); ++i)
      SX_CHECK(run, i == axis || shape[i] <= x.dim(i), "indices of shape ", shape.str(), " reach beyond data of shape ",
               x.shape().str());
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const int last = x.rank() - 1;
    const Shape strides = strides_of(x.shape());
    const int64_t width = shape[last], extent = x.dim(axis), stride = strides[axis];
    with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = static_cast<const T*>(x.raw());
      T* to = static_cast<T*>(y.raw());
      parallel_for(y.size() / width, move_grain(width * 16), [&](int64_t begin, int64_t end) {
        const Indices indices(picked);
        for (int64_t row = begin; row < end; ++row) {
          int64_t base = 0;
          int64_t rest = row;
          for (int i = last - 1; i >= 0; --i) {
            if (i != axis) base += rest % shape[i] * strides[i];
            rest /= shape[i];
          }
          const T* data = from + base;
          T* write = to + row * width;
          const int64_t first = row * width;
          if (axis == last) {
            for (int64_t i = 0; i < width; ++i) write[i] = data[indices.at(run, first + i, extent)];
          } else {
            for (int64_t i = 0; i < width; ++i) write[i] = data[indices.at(run, first + i, extent) * stride + i];
          }
        }
      });
    });
  };
}

// --- GatherND

void infer_gather_nd(InferContext& c) {
  if (!c.has_shape(0) || !c.has_shape(1)) return c.out(0, c.dtype(0), std::nullopt);
  const SymShape& x = c.shape(0);
  const SymShape& indices = c.shape(1);
  const int64_t batch = c.attr_int("batch_dims");
  SX_CHECK(c, !indices.empty(), "indices is a scalar; rank 1 or more expected");
  SX_CHECK(c, batch >= 0 && batch < c.rank(1), "batch_dims ", batch, " is out of range for indices ", c.type(1).str());
  const Dim depth = indices.back();
  if (!depth.known()) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, depth.value() >= 0 && depth.value() + batch <= c.rank(0), "indices ", c.type(1).str(), " address ",
           depth.str(), " axes behind ", batch, " batch axes; data is ", c.type(0).str());
  SymShape shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), x.begin() + batch + depth.value(), x.end());
  c.out(0, c.dtype(0), shape);
}

Kernel make_gather_nd(Prepare& p) {
  const int64_t batch = p.attr_int("batch_dims");
  return [batch](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& picked = run.in(1);
    SX_CHECK(run, picked.rank() > 0, "indices is a scalar; rank 1 or more expected");
    const int64_t depth = picked.shape().back();
    SX_CHECK(run, batch >= 0 && batch < picked.rank() && depth <= x.rank() - batch, "indices of shape ",
             picked.shape().str(), " with ", batch, " batch axes address more axes than data of shape ",
             x.shape().str(), " has");
    const int first = static_cast<int>(batch);
    const int addressed = static_cast<int>(depth);
    for (int i = 0; i < first; ++i)
      SX_CHECK(run, picked.dim(i) == x.dim(i), "batch axis ", i, " is ", picked.dim(i), " in indices but ", x.dim(i),
               " in data");
    Shape shape(picked.shape().begin(), picked.shape().end() - 1);
    for (int i = first + addressed; i < x.rank(); ++i) shape.push_back(x.dim(i));
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const int64_t inner = x.shape().size(first + addressed, x.rank());
    const int64_t rows = y.size() / inner;
    const int64_t rows_per_batch = rows / x.shape().size(0, first);
    const int64_t batch_size = x.shape().size(first, x.rank());
    const Shape strides = strides_of(x.shape());
    const Indices indices(picked);
    with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = static_cast<const T*>(x.raw());
      T* to = static_cast<T*>(y.raw());
      parallel_for(rows, move_grain(inner * static_cast<int64_t>(sizeof(T)) + 8 * depth),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       int64_t source = row / rows_per_batch * batch_size;
                       for (int k = 0; k < addressed; ++k)
                         source += indices.at(run, row * depth + k, x.dim(first + k)) * strides[first + k];
                       if (inner == 1) to[row] = from[source];
                       else copy_run(to + row * inner, from + source, inner);
                     }
                   });
    });
  };
}

const Attributes kAdding = {{"reduction", std::string("add")}};

// The rows of dy are added up where they were taken from, with the axis brought to the front.
void differentiate_gather(GradientContext& c) {
  const Expr x = c.in(0);
  const Expr indices = c.in(1);
  SX_CHECK(c, x.rank() > 0 && indices.rank() >= 0, "has no gradient where the ranks of its inputs are unknown");
  const int axis = c.axis(c.attr_int("axis"), x.rank());
  std::vector<int64_t> front;  // of dy: the axes of the indices first
  for (int i = 0; i < indices.rank(); ++i) front.push_back(axis + i);
  for (int i = 0; i < c.grad().rank(); ++i)
    if (i < axis || i >= axis + indices.rank()) front.push_back(i);
  std::vector<int64_t> to_front = {axis};
  std::vector<int64_t> back;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis) to_front.push_back(i);
    back.push_back(i < axis ? i + 1 : i == axis ? 0 : i);
  }
  const Expr zeros = c.zeros_like(x);
  const Expr rows = axis == 0 ? c.grad() : c.transpose(c.grad(), front);
  const Expr sums =
      c.op("ScatterND",
           {axis == 0 ? zeros : c.transpose(zeros, to_front), c.unsqueeze(c.cast(indices, DType::kInt64), {-1}), rows},
           kAdding);
  c.give(0, axis == 0 ? sums : c.transpose(sums, back));
}

void differentiate_gather_elements(GradientContext& c) {
  Attributes attributes = kAdding;
  attributes["axis"] = c.attr_int("axis");
  c.give(0, c.op("ScatterElements", {c.zeros_like(c.in(0)), c.in(1), c.grad()}, attributes));
}

// Batch dimensions become leading coordinates of the indices.
void differentiate_gather_nd(GradientContext& c) {
  const int64_t batch = c.attr_int("batch_dims");
  Expr indices = c.in(1);
  SX_CHECK(c, batch == 0 || indices.rank() > 0, "has no gradient where the rank of its indices is unknown");
  if (batch > 0) {
    const Expr shape = c.shape(indices);
    const Expr one = c.ints({1});
    const Expr prefix =
        c.op("Concat", {c.op("Slice", {shape, c.ints({0}), c.ints({-1})}), one}, {{"axis", int64_t{0}}});
    std::vector<Expr> coordinates;
    for (int64_t i = 0; i < batch; ++i) {
      const Expr zero = c.constant(Tensor::scalar<int64_t>(0));
      const Expr step = c.constant(Tensor::scalar<int64_t>(1));
      const Expr extent = c.op("Gather", {shape, c.constant(Tensor::scalar<int64_t>(i))});
      const Expr range = c.op("Range", {zero, extent, step});
      std::vector<int64_t> axes;
      for (int k = 0; k < indices.rank(); ++k)
        if (k != i) axes.push_back(k);
      coordinates.push_back(c.op("Expand", {c.unsqueeze(range, axes), prefix}));
    }
    coordinates.push_back(indices);
    indices = c.op("Concat", coordinates, {{"axis", int64_t{-1}}});
  }
  c.give(0, c.op("ScatterND", {c.zeros_like(c.in(0)), indices, c.grad()}, kAdding));
}

}  // namespace

void define_gather(OpList& ops) {
  const DTypeSet index = DType::kInt32 | DType::kInt64;
  ops.add(OpDef("Gather")
              .since(13)
              .attr("axis", 0)
              .in("data", "T", kAllTypes)
              .in("indices", "Tind", index)
              .out("output", "T")
              .infer(infer_gather)
              .kernel(make_gather)
              .gradient(differentiate_gather));
  ops.add(OpDef("GatherElements")
              .since(13, 11)
              .attr("axis", 0)
              .in("data", "T", kAllTypes)
              .in("indices", "Tind", index)
              .out("output", "T")
              .infer(infer_gather_elements)
              .kernel(make_gather_elements)
              .gradient(differentiate_gather_elements));
  ops.add(OpDef("GatherND")
              .since(13, 11)
              .attr("batch_dims", 0)
              .in("data", "T", kAllTypes)
              .in("indices", "", DType::kInt64)
              .out("output", "T")
              .infer(infer_gather_nd)
              .kernel(make_gather_nd)
              .gradient(differentiate_gather_nd));
}

}  // namespace sx
