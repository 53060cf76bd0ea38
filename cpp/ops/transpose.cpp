// y[i_perm] = x[i]: the axes of x in the order `perm`.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

// perm counted from the front and checked to be a permutation; the reversed axes where it is not given.
std::vector<int> permutation(const NodeView& node, int rank) {
  std::vector<int> perm;
  if (!node.has_attr("perm")) {
    for (int i = rank - 1; i >= 0; --i) perm.push_back(i);
    return perm;
  }
  const std::vector<int64_t>& given = node.attr_ints("perm");
  SX_CHECK(node, static_cast<int>(given.size()) == rank, "perm ", to_string(Attribute(given)), " has ", given.size(),
           " axes; the input has rank ", rank);
  for (int64_t axis : given) {
    perm.push_back(node.axis(axis, rank));
    SX_CHECK(node, std::count(perm.begin(), perm.end(), perm.back()) == 1, "perm ", to_string(Attribute(given)),
             " repeats an axis");
  }
  return perm;
}

void infer_transpose(InferContext& c) {
  if (!c.has_shape(0)) {
    if (!c.has_attr("perm")) return c.out(0, c.dtype(0), std::nullopt);
    return c.out(0, c.dtype(0), SymShape(c.attr_ints("perm").size()));
  }
  SymShape shape;
  for (int axis : permutation(c, c.rank(0))) shape.push_back(c.shape(0)[static_cast<size_t>(axis)]);
  c.out(0, c.dtype(0), shape);
  if (shape.size() <= 1 && c.facts(0).elements) c.out_elements(0, *c.facts(0).elements);
}

Kernel make_transpose(Prepare& p) {
  const NodeView node(p.node());
  const std::optional<std::vector<int>> known =
      p.type(0).shape ? std::optional(permutation(node, p.type(0).rank())) : std::nullopt;
  return [node, known](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int> found;
    if (!known || static_cast<int>(known->size()) != x.rank()) found = permutation(node, x.rank());
    const std::vector<int>& perm = found.empty() && known ? *known : found;
    const Shape from = strides_of(x.shape());
    Shape shape;
    for (int axis : perm) shape.push_back(x.dim(axis));
    const Shape to = strides_of(shape);
    CopyNest nest;
    for (int i = 0; i < shape.rank(); ++i) nest.add(shape[i], to[i], from[perm[static_cast<size_t>(i)]]);
    nest.run(x.dtype(), run.out(0, shape).raw(), x.raw());
  };
}

void differentiate_transpose(GradientContext& c) {
  if (!c.has_attr("perm")) return c.give(0, c.op("Transpose", {c.grad()}));
  const std::vector<int64_t>& perm = c.attr_ints("perm");
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  c.give(0, c.transpose(c.grad(), inverse));
}

}  // namespace

void define_transpose(OpList& ops) {
  ops.add(OpDef("Transpose")
              .since(25)
              .optional_attr("perm", AttrKind::kInts)
              .in("data", "T", kAllTypes)
              .out("transposed", "T")
              .infer(infer_transpose)
              .kernel(make_transpose)
              .gradient(differentiate_transpose));
}

}  // namespace sx
