// What the attention operators of com.microsoft share: masks, caches of keys and values, and outputs.
#pragma once

#include <optional>
#include <vector>

#include "ops/attention_core.h"
#include "ops/float_io.h"
#include "ops/kernel.h"

namespace sx {

// Images, heads, queries and keys (those of the past included) of one run.
struct AttentionExtents {
  int64_t batch = 0, heads = 0, rows = 0, keys = 0;
};

// A padding mask of integers and a bias of floats, added to scores.
class ScoreMask {
 public:
  ScoreMask(const Run& run, const AttentionExtents& extents) : run_(run), extents_(extents) {}

  // Adds `filter` to keys that input `index` hides: those from the end on that [batch] names ([3 * batch + 2] begins
  // with that), outside of [end, start) of [2 * batch], or those that are not above 0 in [batch, keys],
  // [batch, rows, keys] or rows `past`... of [batch, 1, longest, longest]. Nothing where the input is absent.
  void set_padding(int index, float filter, int64_t past);
  // Adds input `index`, [batch or 1, heads or 1, rows, keys]. Nothing where the input is absent.
  void set_bias(int index);

  bool defined() const { return padding_.defined() || bias_.has_value(); }
  void add(int64_t b, int64_t h, int64_t row, KeyRange range, float* scores) const;

 private:
  void make_padding(int64_t rows, int64_t keys);

  const Run& run_;
  const AttentionExtents extents_;
  // What is added to the keys, for each image or each of its queries.
  Tensor padding_;
  int64_t padding_batch_ = 0, padding_row_ = 0;
  std::optional<FloatIn> bias_;
  int64_t bias_batch_ = 0, bias_head_ = 0;
};

// Which images, heads, rows and elements a copy of keys or values takes.
struct HeadBlock {
  int64_t batch, heads, rows, size;
};
// to = from + bias, where bias holds one value for each element of each head, or is null.
void copy_heads(const HeadBlock& block, const HeadRows<const float>& from, const float* bias,
                const HeadRows<float>& to);

// An output that may be absent; its memory as f32 until store().
class OptionalOut {
 public:
  OptionalOut(Run& run, int index, const Shape& shape) {
    if (run.wants(index)) out_.emplace(run.out(index, shape));
  }
  float* data() const { return out_ ? out_->data() : nullptr; }
  void store() const {
    if (out_) out_->store();
  }

 private:
  std::optional<FloatOut> out_;
};

// Runs `problem` with a mask and, where `causal`, keys up to each query's own place behind the `past`; the last query
// sees all keys also where there are more, as in ONNX Runtime.
void attend_masked(Attention<float> problem, const ScoreMask& mask, bool causal, int64_t past);

}  // namespace sx
