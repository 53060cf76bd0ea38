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

// x of [batch, rows, heads * size] as [batch, heads, rows, size], and the other way round.
Expr by_head(const Expr& x, int64_t heads);
Expr by_row(const Expr& x);

}  // namespace sx
