// y[I[i]] = x[i], zero elsewhere: undoes MaxPool.
#include <cstring>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/sliding_window.h"

namespace sx {
namespace {

// The extent that MaxPool made `in` from.
int64_t unpooled(const NodeView& node, const WindowSpec& window, int axis, int64_t in) {
  const int64_t out =
      checked_add(checked_mul(in - 1, window.stride(axis)), window.kernel()[static_cast<size_t>(axis)]) -
      window.pad_begin(axis) - window.pad_end(axis);
  SX_CHECK(node, out >= 0, "spatial axis ", axis, " would have the extent ", out);
  return out;
}

void check_rank(const NodeView& node, const WindowSpec& window, int rank, const std::string& x) {
  SX_CHECK(node, rank >= 3 && window.kernel().size() == static_cast<size_t>(rank - 2), "unpools ", x,
           " with a kernel of ", window.kernel().size(),
           " axes; a batch axis, a channel axis and one for each of the kernel's expected");
  window.check_rank(node, rank - 2);
}

void infer(InferContext& c) {
  const WindowSpec window(c);
  if (c.has(2)) {
    const auto shape = c.elements(2);
    return c.out(0, c.dtype(0), shape);
  }
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  check_rank(c, window, c.rank(0), c.type(0).str());
  SymShape out = c.shape(0);
  for (int i = 0; i < c.rank(0) - 2; ++i) {
    Dim& extent = out[static_cast<size_t>(i) + 2];
    if (extent.known()) extent = unpooled(c, window, i, extent.value());
    else
      extent = (extent - 1) * Dim(window.stride(i)) +
               Dim(window.kernel()[static_cast<size_t>(i)] - window.pad_begin(i) - window.pad_end(i));
  }
  c.out(0, c.dtype(0), out);
}

Kernel make(Prepare& p) {
  const NodeView node(p.node());
  return [node, window = WindowSpec(p)](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& indices = run.in(1);
    check_rank(node, window, x.rank(), x.shape().str());
    SX_CHECK(run, indices.shape() == x.shape(), "has ", indices.shape().str(), " indices for data of ",
             x.shape().str());
    Shape pooled = x.shape();
    for (int i = 2; i < x.rank(); ++i) pooled[i] = unpooled(node, window, i - 2, pooled[i]);
    // The indices count in the shape that the window gives, also where the result is asked to be larger.
    Shape shape = pooled;
    if (run.has(2)) {
      shape = Shape(run.in(2).integers());
      SX_CHECK(run, shape.rank() == x.rank(), "output_shape is ", shape.str(), "; ", x.rank(), " extents expected");
      for (int i = 0; i < x.rank(); ++i)
        SX_CHECK(run, shape[i] >= pooled[i], "output_shape ", shape.str(), " is smaller than the unpooled shape ",
                 pooled.str());
    }
    const int64_t limit = pooled.size();
    Tensor& y = run.out(0, shape);
    const size_t width = size_of(y.dtype());
    std::memset(y.raw(), 0, y.bytes());
    const int64_t* at = indices.data<int64_t>();
    const Shape strides = strides_of(shape);
    for (int64_t i = 0; i < x.size(); ++i) {
      SX_CHECK(run, at[i] >= 0 && at[i] < limit, "index ", at[i], " is out of range; expected 0..", limit - 1);
      int64_t rest = at[i], to = 0;
      for (int axis = x.rank() - 1; axis >= 0; --axis) {
        to += rest % pooled[axis] * strides[axis];
        rest /= pooled[axis];
      }
      std::memcpy(static_cast<char*>(y.raw()) + static_cast<size_t>(to) * width,
                  static_cast<const char*>(x.raw()) + static_cast<size_t>(i) * width, width);
    }
  };
}

// dx[i] = dy[I[i]], within the shape in which the indices count.
void differentiate_max_unpool(GradientContext& c) {
  const Expr x = c.in(0);
  Expr dy = c.grad();
  if (c.in(2)) {
    SX_CHECK(c, x.rank() >= 3, "has no gradient where the rank of its input is unknown");
    const WindowSpec window(c);
    std::vector<int64_t> strides, rest, starts, axes;
    for (int i = 0; i < x.rank() - 2; ++i) {
      strides.push_back(window.stride(i));
      rest.push_back(window.kernel()[static_cast<size_t>(i)] - window.pad_begin(i) - window.pad_end(i));
      starts.push_back(0);
      axes.push_back(i + 2);
    }
    const Expr pooled = (c.extents(x, 2, x.rank()) - c.ints({1})) * c.ints(strides) + c.ints(rest);
    dy = c.op("Slice", {dy, c.ints(starts), pooled, c.ints(axes)});
  }
  c.give(0, c.op("Gather", {c.reshape(dy, {-1}), c.in(1)}));
}

}  // namespace

void define_max_unpool(OpList& ops) {
  ops.add(OpDef("MaxUnpool")
              .since(22, 9)
              .required_attr("kernel_shape", AttrKind::kInts)
              .optional_attr("pads", AttrKind::kInts)
              .optional_attr("strides", AttrKind::kInts)
              .in("X", "T1", kFloats)
              .in("I", "T2", DType::kInt64)
              .optional_in("output_shape", "T2", DType::kInt64)
              .out("output", "T1")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_max_unpool));
}

}  // namespace sx
