// Attention by blocks of queries: products with the keys that any of them sees, softmax, products with the values.
#include "ops/attention_core.h"

#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/dot_rows.h"
#include "kernels/unary.h"
#include "ops/matmul.h"
#include "ops/softmax_scores.h"

namespace sx {
namespace {

// Scores that one task holds at a time, about.
constexpr int64_t kTaskScores = 1 << 16;
// Up to this many queries, keys are read where they stand.
constexpr int64_t kFewRows = 4;

void cap(float* x, int64_t n, float limit) {
  apply(Activation::kAffine, x, x, n, 1.0f / limit, 0.0f);
  apply(Activation::kTanh, x, x, n);
  apply(Activation::kAffine, x, x, n, limit, 0.0f);
}
void cap(double* x, int64_t n, float limit) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<double>(limit) * std::tanh(x[i] / static_cast<double>(limit));
}

void multiply_keys(const DenseProduct<float>& p) {
  if (p.m > kFewRows) return multiply(p);
  dot_rows({p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, p.c, p.ldc, p.scale});
}
void multiply_keys(const DenseProduct<double>& p) { multiply(p); }

// Queries of one image that read the same keys and values: rows of one head, or, when there is one row, the heads that
// share their keys.
template <typename T>
class Block {
 public:
  Block(const Attention<T>& a, int64_t b, int64_t head, int64_t row, int64_t count, bool stacked)
      : a_(a), b_(b), head_(head), row_(row), count_(count), stacked_(stacked) {}

  void compute() {
    // Shown scores are wanted of all keys.
    KeyRange span{0, a_.keys};
    if (a_.shown == nullptr && a_.range != nullptr) {
      span = range(0);
      for (int64_t i = 1; i < (stacked_ ? 1 : count_); ++i) {
        const KeyRange next = range(i);
        if (next.first == next.last) continue;
        span =
            span.first == span.last ? next : KeyRange{std::min(span.first, next.first), std::max(span.last, next.last)};
      }
    }
    T* y = a_.y.at(b_, head_, row_);
    const int64_t y_step = stacked_ ? a_.y.head_step : a_.y.row_step;
    const int64_t keys = span.last - span.first;
    if (keys == 0) {
      for (int64_t i = 0; i < count_; ++i) std::fill_n(y + i * y_step, a_.value_size, T{0});
      return;
    }
    // A sink is one more score behind the keys.
    const int64_t step = keys + (a_.sinks != nullptr ? 1 : 0);
    const auto bytes = static_cast<size_t>(checked_mul(count_, step)) * sizeof(T);
    T* scores = static_cast<T*>(thread_scratch(ScratchSlot::kOperator, bytes));
    const int64_t kv_head = head_ / (a_.heads / a_.kv_heads);
    const float scale =
        a_.scale != 0.0f ? a_.scale : 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(a_.size, 1)));
    multiply_keys(DenseProduct<T>{count_, keys, a_.size, a_.q.at(b_, head_, row_),
                                  stacked_ ? a_.q.head_step : a_.q.row_step, a_.k.at(b_, kv_head, span.first),
                                  a_.k.row_step, true, scores, step, scale});
    show(ScoreStage::kRaw, scores, step);
    if (a_.softcap > 0.0f)
      for (int64_t i = 0; i < count_; ++i) cap(scores + i * step, keys, a_.softcap);
    show(ScoreStage::kCapped, scores, step);
    if (a_.mask != nullptr) {
      for (int64_t i = 0; i < count_; ++i) {
        const KeyRange seen = range(i);
        (*a_.mask)(b_, head(i), row(i), seen, scores + i * step + (seen.first - span.first));
      }
    }
    if (a_.shown != nullptr && a_.stage == ScoreStage::kMasked) {
      for (int64_t i = 0; i < count_; ++i) hide(i, span, scores + i * step, a_.unseen);
      show(ScoreStage::kMasked, scores, step);
    }
    normalize(span, scores, step);
    show(ScoreStage::kSoftmax, scores, step);
    if (a_.value_size > 0)
      multiply(DenseProduct<T>{count_, a_.value_size, keys, scores, step, a_.v.at(b_, kv_head, span.first),
                               a_.v.row_step, false, y, y_step});
  }

 private:
  int64_t head(int64_t i) const { return stacked_ ? head_ + i : head_; }
  int64_t row(int64_t i) const { return stacked_ ? row_ : row_ + i; }
  KeyRange range(int64_t i) const { return a_.range != nullptr ? (*a_.range)(b_, row(i)) : KeyRange{0, a_.keys}; }

  void hide(int64_t i, KeyRange span, T* scores, T value) const {
    const KeyRange seen = range(i);
    std::fill(scores, scores + (seen.first - span.first), value);
    std::fill(scores + (seen.last - span.first), scores + (span.last - span.first), value);
  }

  void show(ScoreStage stage, const T* scores, int64_t step) const {
    if (a_.shown == nullptr || a_.stage != stage) return;
    for (int64_t i = 0; i < count_; ++i)
      std::copy_n(scores + i * step, a_.keys, a_.shown + ((b_ * a_.heads + head(i)) * a_.rows + row(i)) * a_.keys);
  }

  void normalize(KeyRange span, T* scores, int64_t step) const {
    if (a_.range == nullptr && a_.sinks == nullptr) return softmax_scores(scores, count_, step, true);
    for (int64_t i = 0; i < count_; ++i) {
      const KeyRange seen = range(i);
      T* x = scores + i * step;
      T* first = x + (seen.first - span.first);
      int64_t n = seen.last - seen.first;
      // What stands behind the last key seen is hidden below.
      if (n > 0 && a_.sinks != nullptr) first[n++] = a_.sinks[head(i)];
      if (n > 0) softmax_scores(first, 1, n, true);
      hide(i, span, x, T{0});
    }
  }

  const Attention<T>& a_;
  const int64_t b_, head_, row_, count_;
  const bool stacked_;
};

template <typename T>
void attend_all(const Attention<T>& a) {
  if (a.batch == 0 || a.heads == 0 || a.rows == 0 || (a.value_size == 0 && a.shown == nullptr)) return;
  const bool stacked = a.rows == 1;
  const int64_t heads_each = stacked ? a.heads / a.kv_heads : 1;
  const int64_t rows_each = std::min(a.rows, std::clamp<int64_t>(kTaskScores / std::max<int64_t>(a.keys, 1), 8, 128));
  const int64_t blocks = (a.rows + rows_each - 1) / rows_each;
  const int64_t head_tasks = a.heads / heads_each * blocks;
  // Multiply-adds of a task; tasks of a few microseconds are not worth a thread each.
  const double work = static_cast<double>(rows_each * heads_each) * static_cast<double>(a.keys) *
                      static_cast<double>(a.size + a.value_size);
  const auto grain = static_cast<int64_t>(std::clamp(200000.0 / std::max(work, 1.0), 1.0, 1e6));
  parallel_for(checked_mul(a.batch, head_tasks), grain, [&](int64_t from, int64_t to) {
    for (int64_t task = from; task < to; ++task) {
      const int64_t within = task % head_tasks;
      const int64_t row = within % blocks * rows_each;
      Block<T>(a, task / head_tasks, within / blocks * heads_each, row,
               stacked ? heads_each : std::min(rows_each, a.rows - row), stacked)
          .compute();
    }
  });
}

}  // namespace

void attend(const Attention<float>& problem) { attend_all(problem); }
void attend(const Attention<double>& problem) { attend_all(problem); }

}  // namespace sx
