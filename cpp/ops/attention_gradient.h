// Attention as expressions of standard operators, which the gradients of attention operators go through.
#pragma once

#include "ops/attention_core.h"
#include "ops/gradient.h"

namespace sx {

struct AttentionExprs {
  Expr q, k, v;      // [batch, heads, rows, size]; heads of k and v may be fewer
  Expr mask;         // added to the scores, or of booleans; broadcast to [batch, heads, rows, keys]; or none
  Expr seen;         // which keys a query sees, broadcast likewise; or none
  double scale = 0;  // 0: 1 / sqrt(size)
  double softcap = 0;
};

struct AttentionResults {
  Expr y;
  Expr scores[4];  // by ScoreStage
};

AttentionResults attention_exprs(const AttentionExprs& a);

// Axis `axis` of x, unknown where the shape is.
Dim axis_of(const Expr& x, size_t axis);
// Keys or values, [batch, heads, rows, size], repeated for the heads of the queries q that share them.
Expr for_heads(const Expr& x, const Expr& q);
// For the operators of com.microsoft. What input `mask` (ScoreMask::set_padding) adds to the scores; none where it is
// absent.
Expr padding_scores(GradientContext& c, size_t mask, double filter, const Expr& q, const Expr& k);
// Which keys the queries behind `past` (none: 0) see when each sees those up to its own place, and the last one all.
Expr causal_keys(const Expr& q, const Expr& k, const Expr& past);

// x of [batch, rows, heads * size] as [batch, heads, rows, size], and the other way round.
Expr by_head(const Expr& x, int64_t heads);
Expr by_row(const Expr& x);

}  // namespace sx
