// DepthToSpace: channels become b x b blocks of pixels; SpaceToDepth: the reverse.
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

struct Blocks {
  int64_t size;
  bool depth_first;  // DCR: the block's position is the slower part of a channel's number
};

Blocks blocks_of(const NodeView& node) {
  const int64_t size = node.attr_int("blocksize");
  const std::string& mode = node.attr_string("mode");
  SX_CHECK(node, size > 0 && size < (int64_t{1} << 24), "blocksize is ", size, "; a positive number expected");
  SX_CHECK(node, mode == "DCR" || mode == "CRD", "mode is '", mode, "'; DCR or CRD expected");
  return {size, mode == "DCR"};
}

void infer_depth_to_space(InferContext& c) {
  const Dim b(blocks_of(c).size);
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), SymShape(4));
  const SymShape& x = c.shape(0);
  SX_CHECK(c, x.size() == 4, "the input is ", c.type(0).str(), "; rank 4 expected");
  SX_CHECK(c, !x[1].known() || x[1].value() % (b * b).value() == 0, "the channels of ", c.type(0).str(),
           " do not divide by blocksize^2 = ", (b * b).str());
  c.out(0, c.dtype(0), SymShape{x[0], floor_div(x[1], b * b), x[2] * b, x[3] * b});
}

void infer_space_to_depth(InferContext& c) {
  const Dim b(blocks_of(c).size);
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), SymShape(4));
  const SymShape& x = c.shape(0);
  SX_CHECK(c, x.size() == 4, "the input is ", c.type(0).str(), "; rank 4 expected");
  for (size_t i = 2; i < 4; ++i)
    SX_CHECK(c, !x[i].known() || x[i].value() % b.value() == 0, "axis ", i, " of ", c.type(0).str(),
             " does not divide by the blocksize ", b.str());
  c.out(0, c.dtype(0), SymShape{x[0], x[1] * b * b, floor_div(x[2], b), floor_div(x[3], b)});
}

// Both operators: the deep tensor is [n, block, block, c, h, w] (DCR) or [n, c, block, block, h, w] (CRD), the flat one
// [n, c, h, block, w, block].
Kernel make_rearrange(Prepare& p, bool to_space) {
  const Blocks blocks = blocks_of(p);
  return [blocks, to_space](Run& run) {
    const Tensor& x = run.in(0);
    const int64_t b = blocks.size;
    SX_CHECK(run, x.rank() == 4, "the input has shape ", x.shape().str(), "; rank 4 expected");
    if (to_space)
      SX_CHECK(run, x.dim(1) % (b * b) == 0, "the channels of ", x.shape().str(),
               " do not divide by blocksize^2 = ", b * b);
    else
      SX_CHECK(run, x.dim(2) % b == 0 && x.dim(3) % b == 0, "height and width of ", x.shape().str(),
               " do not divide by the blocksize ", b);
    const int64_t n = x.dim(0);
    const int64_t c = to_space ? x.dim(1) / (b * b) : x.dim(1);
    const int64_t h = to_space ? x.dim(2) : x.dim(2) / b;
    const int64_t w = to_space ? x.dim(3) : x.dim(3) / b;
    const Shape shape =
        to_space ? Shape{n, c, checked_mul(h, b), checked_mul(w, b)} : Shape{n, checked_mul(c, b * b), h, w};
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    // Strides of (n, c, h, w, row of the block, column of the block).
    const int64_t plane = h * w;
    const int64_t deep[] = {c * b * b * plane,
                            blocks.depth_first ? plane : b * b * plane,
                            w,
                            1,
                            blocks.depth_first ? b * c * plane : b * plane,
                            blocks.depth_first ? c * plane : plane};
    const int64_t flat[] = {c * b * b * plane, b * b * plane, b * b * w, b, b * w, 1};
    const int64_t extents[] = {n, c, h, w, b, b};
    constexpr int kSpaceOrder[] = {0, 1, 2, 4, 3, 5};
    constexpr int kDepthFirst[] = {0, 4, 5, 1, 2, 3};
    constexpr int kDepthLast[] = {0, 1, 4, 5, 2, 3};
    const int* order = to_space ? kSpaceOrder : blocks.depth_first ? kDepthFirst : kDepthLast;
    CopyNest nest;
    for (int i = 0; i < 6; ++i) {
      const int k = order[i];
      nest.add(extents[k], to_space ? flat[k] : deep[k], to_space ? deep[k] : flat[k]);
    }
    nest.run(x.dtype(), y.raw(), x.raw());
  };
}

void differentiate_rearrange(GradientContext& c, const char* inverse) {
  c.give(0, c.op(inverse, {c.grad()}, c.node().attributes));
}

}  // namespace

void define_depth_to_space(OpList& ops) {
  ops.add(OpDef("DepthToSpace")
              .since(28)
              .required_attr("blocksize", AttrKind::kInt)
              .attr("mode", "DCR")
              .in("input", "T", kAllTypes)
              .out("output", "T")
              .infer(infer_depth_to_space)
              .kernel([](Prepare& p) { return make_rearrange(p, true); })
              .gradient([](GradientContext& c) { differentiate_rearrange(c, "SpaceToDepth"); }));
  ops.add(OpDef("SpaceToDepth")
              .since(28)
              .required_attr("blocksize", AttrKind::kInt)
              .attr("mode", "DCR")
              .in("input", "T", kAllTypes)
              .out("output", "T")
              .infer(infer_space_to_depth)
              .kernel([](Prepare& p) { return make_rearrange(p, false); })
              .gradient([](GradientContext& c) { differentiate_rearrange(c, "DepthToSpace"); }));
}

}  // namespace sx
