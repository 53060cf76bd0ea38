// y_0, y_1, ... = x cut along `axis` into the lengths `split`, or into `num_outputs` equal parts (the last may be
// shorter).
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

int64_t part_count(const NodeView& node) {
  const int64_t count = node.attr_or<int64_t>("num_outputs", static_cast<int64_t>(node.node().outputs.size()));
  SX_CHECK(node, count == static_cast<int64_t>(node.node().outputs.size()), "num_outputs is ", count,
           " but the node has ", node.node().outputs.size(), " outputs");
  return count;
}

// Part i of `extent` cut into `count` equal parts.
Dim equal_part(const Dim& extent, int64_t count, int64_t i) {
  const Dim part = ceil_div(extent, Dim(count));
  if (extent.known()) return Dim(std::clamp<int64_t>(extent.value() - i * part.value(), 0, part.value()));
  return i + 1 < count ? part : extent - part * Dim(count - 1);
}

void infer_split(InferContext& c) {
  const auto lengths = c.has(1) ? c.elements(1) : std::nullopt;
  const int64_t count = c.has(1) ? c.outputs() : part_count(c);
  SX_CHECK(c, !lengths || static_cast<int>(lengths->size()) == c.outputs(), "split has ", lengths ? lengths->size() : 0,
           " lengths but the node has ", c.outputs(), " outputs");
  if (!c.has_shape(0)) {
    for (int i = 0; i < c.outputs(); ++i) c.out(i, c.dtype(0), std::nullopt);
    return;
  }
  const auto axis = static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(0)));
  const Dim extent = c.shape(0)[axis];
  const auto elements = c.rank(0) == 1 ? c.elements(0) : std::nullopt;
  Dim at(0);
  for (int i = 0; i < c.outputs(); ++i) {
    SymShape shape = c.shape(0);
    Dim length;
    if (lengths) length = (*lengths)[static_cast<size_t>(i)];
    else if (!c.has(1)) length = equal_part(extent, count, i);
    shape[axis] = length;
    SX_CHECK(c, !length.known() || length.value() >= 0, "split has the negative length ", length.str());
    c.out(i, c.dtype(0), shape);
    const Dim end = at + length;
    if (elements && at.known() && end.known() && end.value() <= static_cast<int64_t>(elements->size()))
      c.out_elements(i, {elements->begin() + at.value(), elements->begin() + end.value()});
    at = end;
  }
  SX_CHECK(c, !at.known() || !extent.known() || at == extent, "the lengths sum to ", at.str(), "; axis ", axis, " of ",
           c.type(0).str(), " expects ", extent.str());
}

Kernel make_split(Prepare& p) {
  const NodeView node(p.node());
  const IntInput split(p, 1);
  const int64_t given_axis = node.attr_int("axis");
  const int64_t count = p.has(1) ? static_cast<int64_t>(node.node().outputs.size()) : part_count(node);
  return [node, split, given_axis, count](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(given_axis, x.rank());
    const int64_t extent = x.dim(axis);
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& lengths = split.get(run, buffer);
    if (run.has(1)) {
      SX_CHECK(run, static_cast<int64_t>(lengths.size()) == count, "split has ", lengths.size(), " lengths for ", count,
               " outputs");
      int64_t rest = extent;
      for (int64_t length : lengths) {
        SX_CHECK(run, length >= 0 && length <= rest, "the lengths ", to_string(Attribute(lengths)), " do not cut axis ",
                 axis, " of ", x.shape().str());
        rest -= length;
      }
      SX_CHECK(run, rest == 0, "the lengths ", to_string(Attribute(lengths)), " do not sum to ", extent, ", axis ",
               axis, " of ", x.shape().str());
    }
    const int64_t rows = x.shape().size(0, axis);
    const int64_t unit = x.shape().size(axis + 1, x.rank());
    const auto step = static_cast<int64_t>(size_of(x.dtype()));
    const char* from = static_cast<const char*>(x.raw());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t length = run.has(1) ? lengths[static_cast<size_t>(i)] : equal_part(Dim(extent), count, i).value();
      const int at = static_cast<int>(i);
      if (run.wants(at)) {
        Shape shape = x.shape();
        shape[axis] = length;
        CopyNest nest;
        nest.add(rows, length * unit, extent * unit);
        nest.add(length * unit, 1, 1);
        nest.run(x.dtype(), run.out(at, shape).raw(), from);
      }
      from += length * unit * step;
    }
  };
}

// Split-1 may take the lengths from an input of the type of x.
void integral_lengths(UpgradeContext& c) {
  if (c.has_input(1)) c.set_input(1, c.emit("Cast", {c.input_id(1)}, {{"to", static_cast<int64_t>(DType::kInt64)}}));
}

void count_outputs(UpgradeContext& c) {
  if (!c.has_input(1)) c.set("num_outputs", static_cast<int64_t>(c.draft().outputs.size()));
}

void differentiate_split(GradientContext& c) {
  std::vector<Expr> parts;
  for (size_t i = 0; i < c.node().outputs.size(); ++i) parts.push_back(c.grad_or_zeros(i));
  c.give(0, c.op("Concat", parts, {{"axis", c.attr_int("axis")}}));
}

}  // namespace

void define_split(OpList& ops) {
  ops.add(OpDef("Split")
              .since(18)
              .attr("axis", 0)
              .optional_attr("num_outputs", AttrKind::kInt)
              .in("input", "T", kAllTypes)
              .optional_in("split", "", DType::kInt64)
              .variadic_out("outputs", "T")
              .infer(infer_split)
              .kernel(make_split)
              .gradient(differentiate_split)
              .upgrade(2, integral_lengths)
              .upgrade(13, ints_to_input("split", 1))
              .upgrade(18, count_outputs));
}

}  // namespace sx
