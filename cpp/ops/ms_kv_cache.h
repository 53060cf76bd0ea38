// A cache of keys or values of GroupQueryAttention: its rows as f32 for attention, and the cache after new rows.
#pragma once

#include <optional>
#include <vector>

#include "ops/float_io.h"
#include "ops/kernel.h"
#include "ops/ms_attention.h"

namespace sx {

// How one image's rows move: the first `kept` rows of the past are followed by new ones, and of all those the present
// drops the first `dropped`.
struct CachePlan {
  int64_t kept = 0, dropped = 0;
};

// 0 bits: the cache holds floats. Else scaled integers of 8 bits, or of 4 with two to a byte, the even element low.
class KvCache {
 public:
  // `past` and `present` are an input and an output, [batch, heads, ..., width]; `scale` is an input with one value, or
  // one for each element of each head. The present gets `length` rows.
  KvCache(Run& run, int past, int scale, int bits, const HeadBlock& fresh, const std::vector<CachePlan>& plans,
          int present, int64_t length);

  // Rows of f32, of which each image's first kept + fresh.rows count; row kept + i waits for new row i.
  const HeadRows<float>& rows() const { return rows_; }
  // Call when the new rows are in place: rounds them as the cache does and writes the present.
  void finish();

 private:
  float scale_of(int64_t h, int64_t i) const { return scales_->data()[per_channel_ ? h * fresh_.size + i : 0]; }
  void unpack(const uint8_t* from, int64_t h, float* to) const;
  // Also leaves in x what the packed row means.
  void pack(float* x, int64_t h, uint8_t* to) const;

  Run& run_;
  const int bits_;
  const HeadBlock fresh_;
  const std::vector<CachePlan>& plans_;
  const int64_t length_;
  const int64_t width_;  // bytes of a packed row
  Tensor past_, present_;
  std::optional<FloatIn> scales_;
  bool per_channel_ = false;
  Tensor held_;
  HeadRows<float> rows_;
  int64_t held_rows_ = 0;
};

}  // namespace sx
