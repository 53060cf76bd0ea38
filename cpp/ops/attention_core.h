// y = softmax(mask(softcap(scale Q K'))) V for every head of every image: what all attention operators share.
#pragma once

#include <cstdint>
#include <limits>

#include "base/precision.h"
#include "base/thread_pool.h"

namespace sx {

// Row `r` of head `h` of image `b` is `size` contiguous elements at data[b * batch_step + h * head_step + r *
// row_step].
template <typename T>
struct HeadRows {
  T* data = nullptr;
  int64_t batch_step = 0, head_step = 0, row_step = 0;
  T* at(int64_t b, int64_t h, int64_t r) const { return data + (b * batch_step + h * head_step + r * row_step); }

  // [batch, heads, rows, size] and [batch, rows, heads * size] without gaps.
  static HeadRows by_head(T* data, int64_t heads, int64_t rows, int64_t size) {
    return {data, heads * rows * size, rows * size, size};
  }
  static HeadRows by_row(T* data, int64_t heads, int64_t rows, int64_t size) {
    return {data, heads * rows * size, size, heads * size};
  }
};

// The keys [first, last); first <= last.
struct KeyRange {
  int64_t first, last;
};

// What Attention::shown receives: the scaled products, those after the softcap, after masks, or the weights.
enum class ScoreStage { kRaw, kCapped, kMasked, kSoftmax };

template <typename T>
struct Attention {
  int64_t batch = 0, heads = 0, kv_heads = 0;  // heads is a multiple of kv_heads
  int64_t rows = 0, keys = 0;
  int64_t size = 0, value_size = 0;
  HeadRows<const T> q, k, v;
  HeadRows<T> y;
  // Where set, y is not written: the result, [batch * rows, heads * value_size], becomes the packed A of a product of
  // Precision::kBf16. value_size is even.
  float* y_panels = nullptr;
  float scale = 0.0f;    // 0: 1 / sqrt(size)
  float softcap = 0.0f;  // 0: none
  // The keys within [0, keys) that a query sees; null: all of them. A query that sees none gives 0.
  const FunctionRef<KeyRange(int64_t b, int64_t row)>* range = nullptr;
  // Changes the scores of one query's keys [range.first, range.last), given from the first on; -inf hides a key.
  const FunctionRef<void(int64_t b, int64_t h, int64_t row, KeyRange range, T* scores)>* mask = nullptr;
  // For each head a score that takes part in the softmax without a value of its own; null: none.
  const T* sinks = nullptr;
  // Where set, [batch, heads, rows, keys] as of `stage`; from kMasked on, keys out of range hold `unseen` or weight 0.
  T* shown = nullptr;
  ScoreStage stage = ScoreStage::kRaw;
  T unseen = -std::numeric_limits<T>::infinity();
  // Of the products of more than a few queries; scores, softmax and sums are T in any case.
  Precision precision = Precision::kF32;
};

// Splits images, heads and blocks of rows over the thread pool. Takes ScratchSlot::kImage and kOperator to
// kOperator3 of every thread.
void attend(const Attention<float>& problem);
void attend(const Attention<double>& problem);

}  // namespace sx
