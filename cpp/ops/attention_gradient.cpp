// y = softmax(softcap(scale Q K') + mask) V as expressions.
#include "ops/attention_gradient.h"

#include <cmath>

namespace sx {
Dim axis_of(const Expr& x, size_t axis) { return x.rank() > static_cast<int>(axis) ? (*x.type().shape)[axis] : Dim(); }

Expr for_heads(const Expr& x, const Expr& q) {
  if (axis_of(x, 1).known() && axis_of(x, 1) == axis_of(q, 1)) return x;
  Emitter& e = x.emitter();
  const Expr times = e.op("Div", {e.extent(q, 1), e.extent(x, 1)});
  const Expr wide = e.op("Expand", {e.unsqueeze(x, {2}), e.concat({e.extents(x, 0, 2), times, e.extents(x, 2, 4)}, 0)});
  return e.reshape_to(wide, {e.extent(x, 0), e.extent(q, 1), e.extents(x, 2, 4)});
}

Expr padding_scores(GradientContext& c, size_t mask, double filter, const Expr& q, const Expr& k) {
  const Expr given = c.in(mask);
  if (!given) return given;
  const DType dtype = q.dtype();
  Expr open;
  if (given.rank() == 1) {
    const Dim lengths = axis_of(given, 0), batch = axis_of(q, 0);
    SX_CHECK(c, lengths.known() && lengths == batch, "has no gradient where its mask is ", given.type().str(),
             "; one known length for each image expected");
    const Expr keys = c.unsqueeze(c.iota(c.extent(k, 2)), {0});
    open = c.op("Less", {keys, c.unsqueeze(c.cast(given, DType::kInt64), {1})});
    open = c.unsqueeze(open, {1, 2});
  } else {
    SX_CHECK(c, given.rank() == 2 || given.rank() == 3, "has no gradient where its mask is ", given.type().str(),
             "; [batch], [batch, keys] or [batch, rows, keys] expected");
    open = c.op("Greater", {given, c.scalar(0, given.dtype())});
    open = c.unsqueeze(open, given.rank() == 2 ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1});
  }
  return c.where(open, c.scalar(0, dtype), c.scalar(filter, dtype));
}

Expr causal_keys(const Expr& q, const Expr& k, const Expr& past) {
  Emitter& e = q.emitter();
  const Expr rows = e.extent(q, 2), row = e.unsqueeze(e.iota(rows), {0, 1, 3});
  const Expr place = past ? row + e.extent(past, past.rank() - 2) : row;
  const Expr keys = e.unsqueeze(e.iota(e.extent(k, 2)), {0, 1, 2});
  return e.op("Or", {e.op("LessOrEqual", {keys, place}), e.op("Equal", {row, rows - e.ints({1})})});
}

AttentionResults attention_exprs(const AttentionExprs& a) {
  Emitter& e = a.q.emitter();
  const DType dtype = a.q.dtype();
  AttentionResults results;
  Expr scores = e.op("MatMul", {a.q, e.swap_last(for_heads(a.k, a.q))});
  if (a.scale != 0) scores = scores * a.scale;
  else scores = scores / e.op("Sqrt", {e.cast(e.extent(a.q, 3), dtype)});
  results.scores[0] = scores;
  if (a.softcap != 0) scores = e.op("Tanh", {scores / a.softcap}) * a.softcap;
  results.scores[1] = scores;
  Expr seen = a.seen;
  if (a.mask) {
    Expr open;
    if (a.mask.dtype() == DType::kBool) {
      open = a.mask;
    } else {
      const Expr mask = e.cast(a.mask, dtype);
      scores = scores + mask;
      // What is hidden has no part in any gradient.
      const Expr hidden = e.op("IsInf", {e.cast(mask, DType::kFloat32)}, {{"detect_positive", int64_t{0}}});
      open = e.op("Not", {hidden});
    }
    seen = seen ? e.op("And", {seen, open}) : open;
  }
  const Expr dead = e.scalar(-INFINITY, dtype);
  results.scores[2] = seen ? e.where(seen, scores, dead) : scores;
  // A query that sees nothing gives zeros.
  if (seen) scores = e.where(seen, scores, e.scalar(dtype == DType::kFloat16 ? -6e4 : -1e30, dtype));
  scores = e.op("Softmax", {scores}, {{"axis", int64_t{-1}}});
  if (seen) scores = e.where(seen, scores, e.scalar(0, dtype));
  results.scores[3] = scores;
  results.y = e.op("MatMul", {e.cast(scores, a.v.dtype()), for_heads(a.v, a.q)});
  return results;
}

Expr by_head(const Expr& x, int64_t heads) {
  return x.emitter().transpose(x.emitter().reshape(x, {0, 0, heads, -1}), {0, 2, 1, 3});
}

Expr by_row(const Expr& x) { return x.emitter().reshape(x.emitter().transpose(x, {0, 2, 1, 3}), {0, 0, -1}); }

}  // namespace sx
