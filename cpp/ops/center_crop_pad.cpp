// y = x cropped, or padded with zeros, around its centre to `shape` on the given axes.
#include <algorithm>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

// The axes to change, counted from the front; all in order where none are given.
std::vector<int> changed_axes(const NodeView& node, int rank) {
  std::vector<int> axes;
  if (!node.has_attr("axes")) {
    for (int i = 0; i < rank; ++i) axes.push_back(i);
    return axes;
  }
  for (int64_t axis : node.attr_ints("axes")) {
    axes.push_back(node.axis(axis, rank));
    SX_CHECK(node, std::count(axes.begin(), axes.end(), axes.back()) == 1, "axis ", axis, " is given twice");
  }
  return axes;
}

void infer_center_crop_pad(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const auto target = c.elements(1);
  const std::vector<int> axes = changed_axes(c, c.rank(0));
  SX_CHECK(c, !target || target->size() == axes.size(), "shape has ", target ? target->size() : 0, " extents for ",
           axes.size(), " axes");
  SymShape shape = c.shape(0);
  for (size_t i = 0; i < axes.size(); ++i) shape[static_cast<size_t>(axes[i])] = target ? (*target)[i] : Dim();
  c.out(0, c.dtype(0), shape);
}

Kernel make_center_crop_pad(Prepare& p) {
  const NodeView node(p.node());
  const IntInput target_input(p, 1);
  return [node, target_input](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& target = target_input.get(run, buffer);
    const std::vector<int> axes = changed_axes(node, x.rank());
    SX_CHECK(run, target.size() == axes.size(), "shape has ", target.size(), " extents for ", axes.size(), " axes");
    Shape shape = x.shape();
    for (size_t i = 0; i < axes.size(); ++i) {
      SX_CHECK(run, target[i] >= 0, "shape has the negative extent ", target[i]);
      shape[axes[i]] = target[i];
    }
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const Shape to = strides_of(shape);
    const Shape from = strides_of(x.shape());
    CopyNest nest;
    int64_t write = 0;
    int64_t read = 0;
    bool grows = false;
    for (int i = 0; i < x.rank(); ++i) {
      const int64_t difference = shape[i] - x.dim(i);
      if (difference > 0) write += difference / 2 * to[i];
      else read += -difference / 2 * from[i];
      grows = grows || difference > 0;
      nest.add(std::min(shape[i], x.dim(i)), to[i], from[i]);
    }
    if (grows)
      with_storage(x.dtype(),
                   [&](auto zero) { std::fill_n(static_cast<decltype(zero)*>(y.raw()), y.size(), decltype(zero){}); });
    const auto step = static_cast<int64_t>(size_of(x.dtype()));
    nest.run(x.dtype(), static_cast<char*>(y.raw()) + write * step, static_cast<const char*>(x.raw()) + read * step);
  };
}

void differentiate_center_crop_pad(GradientContext& c) {
  c.give_moved(0, c.op("CenterCropPad", {c.positions(c.in(0)), c.in(1)}, c.node().attributes));
}

}  // namespace

void define_center_crop_pad(OpList& ops) {
  ops.add(OpDef("CenterCropPad")
              .since(18, 18)
              .optional_attr("axes", AttrKind::kInts)
              .in("input_data", "T", kAllTypes)
              .in("shape", "", DType::kInt32 | DType::kInt64)
              .out("output_data", "T")
              .infer(infer_center_crop_pad)
              .kernel(make_center_crop_pad)
              .gradient(differentiate_center_crop_pad));
}

}  // namespace sx
