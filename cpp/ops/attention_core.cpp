// Attention by blocks of queries: products with the keys that any of them sees, softmax, products with the values.
#include "ops/attention_core.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/attention_rows.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_kernel.h"
#include "kernels/softmax_panels.h"
#include "kernels/unary.h"
#include "ops/matmul.h"
#include "ops/softmax_scores.h"
#include "tensor/tensor.h"

namespace sx {
namespace {

// Scores that one task holds at a time, about.
constexpr int64_t kTaskScores = 1 << 16;
// Up to this many queries, keys are read where they stand.
constexpr int64_t kFewRows = 4;
// The rows of a block are a multiple of the first, which is one of the heights of the GEMM's tiles, and at most the
// second, but for the last block of a head.
constexpr int64_t kTileRows = 12, kMostRows = 132;

// With so many heads for each thread, a task takes a whole head, whose keys and values then stay in near memory.
constexpr int64_t kHeadsEach = 4;

void cap(float* x, int64_t n, float limit) {
  apply(Activation::kAffine, x, x, n, 1.0f / limit, 0.0f);
  apply(Activation::kTanh, x, x, n);
  apply(Activation::kAffine, x, x, n, limit, 0.0f);
}
void cap(double* x, int64_t n, float limit) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<double>(limit) * std::tanh(x[i] / static_cast<double>(limit));
}

// Keys and values of a head packed for the GEMM, so that blocks of queries share that work; null where they are read
// where they stand.
struct PackedHead {
  const float* keys = nullptr;
  const float* values = nullptr;
};

// How heads are packed: each into `size` floats.
struct HeadPacking {
  int64_t key_step = 0, size = 0;

  explicit HeadPacking(const Attention<float>& a) {
    const auto line_up = [](int64_t floats) { return checked_add(floats, 15) / 16 * 16; };
    const Isa isa = active_isa();
    key_step = line_up(packed_b_size(a.size, a.keys, isa, a.precision));
    size = checked_add(key_step, line_up(packed_b_size(a.keys, a.value_size, isa, a.precision)));
  }

  // The head that was packed to `memory`.
  PackedHead at(const float* memory) const { return {memory, memory + key_step}; }
  // Packs head `i`, counted over all images.
  PackedHead pack(const Attention<float>& a, int64_t i, float* memory) const {
    const int64_t b = i / a.kv_heads, h = i % a.kv_heads;
    const Isa isa = active_isa();
    pack_b(a.size, a.keys, a.k.at(b, h, 0), a.k.row_step, true, memory, isa, a.precision);
    pack_b(a.keys, a.value_size, a.v.at(b, h, 0), a.v.row_step, false, memory + key_step, isa, a.precision);
    return at(memory);
  }
};

// The product with keys (values) from `first` on, which is a multiple of the panel's width where they are packed.
void multiply_keys(const DenseProduct<float>& p, Precision precision, const PackedHead& packed, int64_t first) {
  if (packed.keys == nullptr && p.m <= kFewRows)
    return dot_rows({p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, p.c, p.ldc, p.scale});
  Gemm g = gemm_of(p);
  g.precision = precision;
  // Whole panels before `first` take as much as a packed matrix of so many columns.
  if (packed.keys != nullptr) g.packed_b = packed.keys + packed_b_size(p.k, first, active_isa(), precision);
  gemm(g);
}
void multiply_keys(const DenseProduct<double>& p, Precision, const PackedHead&, int64_t) { multiply(p); }
void multiply_values(Gemm g, const PackedHead& packed, int64_t first, int64_t keys) {
  if (packed.values != nullptr) {
    g.packed_b = packed.values;
    g.packed_b_rows = keys, g.packed_b_first = first;
  }
  gemm(g);
}

// y = softmax(scores) V for rows of scores, by which p.a has them; hidden scores are -inf. `sinks` holds one per row or
// is null.
void weigh_values(const DenseProduct<float>& p, Precision precision, const float* sinks, const PackedHead& packed,
                  int64_t first, int64_t keys) {
  const int64_t size = packed_a_size(p.m, p.k, active_isa(), precision);
  const auto bytes = static_cast<size_t>(checked_add(size, p.m)) * sizeof(float);
  auto* panels = static_cast<float*>(thread_scratch(ScratchSlot::kOperator2, bytes));
  float* factors = panels + size;
  softmax_panels({p.m, p.k, p.a, p.lda, sinks, panels, factors, precision});
  Gemm g = gemm_of(p);
  g.precision = precision;
  g.packed_a = panels;
  multiply_values(g, packed, first, keys);
  scale_rows(p.c, p.m, p.n, p.ldc, factors);
}

// Queries of one image that read the same keys and values: rows of one head, or, when there is one row, the heads that
// share their keys.
template <typename T>
class Block {
 public:
  Block(const Attention<T>& a, const PackedHead& packed, int64_t b, int64_t head, int64_t row, int64_t count,
        bool stacked)
      : a_(a), packed_(packed), b_(b), head_(head), row_(row), count_(count), stacked_(stacked) {}

  void compute() {
    if (a_.y_panels == nullptr) return compute(a_.y.at(b_, head_, row_), stacked_ ? a_.y.head_step : a_.y.row_step);
    if constexpr (std::is_same_v<T, float>) {
      const auto bytes = static_cast<size_t>(count_ * a_.value_size) * sizeof(T);
      T* y = static_cast<T*>(thread_scratch(ScratchSlot::kImage, bytes));
      compute(y, a_.value_size);
      pack_a_part(a_.batch * a_.rows, a_.heads * a_.value_size,
                  {b_ * a_.rows + row_, count_, head_ * a_.value_size, a_.value_size}, y, a_.value_size, a_.y_panels,
                  active_isa(), Precision::kBf16);
    }
  }

 private:
  void compute(T* y, int64_t y_step) {
    const KeyRange span = needed();
    const int64_t keys = span.last - span.first;
    if (keys == 0) {
      for (int64_t i = 0; i < count_; ++i) std::fill_n(y + i * y_step, a_.value_size, T{0});
      return;
    }
    // A sink is one more score behind the keys.
    const int64_t step = keys + (a_.sinks != nullptr ? 1 : 0);
    const auto bytes = static_cast<size_t>(checked_mul(count_, step + 1)) * sizeof(T);
    // Weights to be shown are made where they are wanted.
    const bool in_place = a_.shown != nullptr && a_.stage == ScoreStage::kSoftmax && a_.sinks == nullptr && !stacked_;
    T* scores = in_place ? a_.shown + ((b_ * a_.heads + head_) * a_.rows + row_) * a_.keys
                         : static_cast<T*>(thread_scratch(ScratchSlot::kOperator, bytes));
    const int64_t kv_head = head_ / (a_.heads / a_.kv_heads);
    const T scale = a_.scale != 0.0f ? T(a_.scale) : T(1) / std::sqrt(static_cast<T>(std::max<int64_t>(a_.size, 1)));
    multiply_keys(
        DenseProduct<T>{count_, keys, a_.size, a_.q.at(b_, head_, row_), stacked_ ? a_.q.head_step : a_.q.row_step,
                        a_.k.at(b_, kv_head, span.first), a_.k.row_step, true, scores, step, scale},
        precision(), packed_, span.first);
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
    DenseProduct<T> product{count_,        a_.value_size, keys, scores, step, a_.v.at(b_, kv_head, span.first),
                            a_.v.row_step, false,         y,    y_step};
    if constexpr (std::is_same_v<T, float>) {
      if (a_.shown == nullptr && count_ > kFewRows) {
        for (int64_t i = 0; i < count_ && a_.range != nullptr; ++i)
          hide(i, span, scores + i * step, -std::numeric_limits<float>::infinity());
        return weigh_values(product, precision(), sinks(scores, step), packed_, span.first, a_.keys);
      }
    }
    normalize(span, scores, step);
    if (!in_place) show(ScoreStage::kSoftmax, scores, step);
    if (a_.value_size == 0) return;
    if constexpr (std::is_same_v<T, float>) {
      Gemm g = gemm_of(product);
      g.precision = precision();
      multiply_values(g, packed_, span.first, a_.keys);
    } else {
      multiply(product);
    }
  }

  // Packing keys and values would cost more than it saves a few queries.
  Precision precision() const { return packed_.keys != nullptr || count_ > kFewRows ? a_.precision : Precision::kF32; }
  int64_t head(int64_t i) const { return stacked_ ? head_ + i : head_; }
  int64_t row(int64_t i) const { return stacked_ ? row_ : row_ + i; }
  KeyRange range(int64_t i) const { return a_.range != nullptr ? (*a_.range)(b_, row(i)) : KeyRange{0, a_.keys}; }

  // The keys that any query of the block sees, out to whole panels; all of them where scores are shown.
  KeyRange needed() const {
    if (a_.shown != nullptr || a_.range == nullptr) return {0, a_.keys};
    KeyRange span = range(0);
    for (int64_t i = 1; i < (stacked_ ? 1 : count_); ++i) {
      const KeyRange next = range(i);
      if (next.first == next.last) continue;
      const bool none = span.first == span.last;
      span = none ? next : KeyRange{std::min(span.first, next.first), std::max(span.last, next.last)};
    }
    if (packed_.keys == nullptr || span.first == span.last) return span;
    const int64_t width = gemm_kernel(active_isa()).nr;
    return {span.first / width * width, std::min(a_.keys, (span.last + width - 1) / width * width)};
  }

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

  // One sink for each row, in the memory behind the scores; null where there are none.
  const T* sinks(T* scores, int64_t step) const {
    if (a_.sinks == nullptr) return nullptr;
    T* gathered = scores + count_ * step;
    for (int64_t i = 0; i < count_; ++i) gathered[i] = a_.sinks[head(i)];
    return gathered;
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
  const PackedHead packed_;
  const int64_t b_, head_, row_, count_;
  const bool stacked_;
};

// Rows of queries of one head that a task takes: whole tiles of the GEMM.
int64_t rows_of_block(int64_t rows, int64_t keys) {
  const int64_t fitting = kTaskScores / std::max<int64_t>(keys, 1) / kTileRows * kTileRows;
  return std::min(rows, std::clamp<int64_t>(fitting, kTileRows, kMostRows));
}

template <typename T>
void attend_all(const Attention<T>& a) {
  if (a.batch == 0 || a.heads == 0 || a.rows == 0 || (a.value_size == 0 && a.shown == nullptr)) return;
  const bool stacked = a.rows == 1;
  const int64_t group = a.heads / a.kv_heads;
  const int64_t heads_each = stacked ? group : 1;
  const int64_t rows_each = rows_of_block(a.rows, a.keys);
  const int64_t blocks = (a.rows + rows_each - 1) / rows_each;
  // Block `i` of those that read the keys and values of head `kv_head`, both counted over all images.
  const int64_t blocks_each = group / heads_each * blocks;
  const auto compute = [&](int64_t kv_head, int64_t i, const PackedHead& packed) {
    const int64_t row = i % blocks * rows_each;
    const int64_t head = kv_head % a.kv_heads * group + i / blocks * heads_each;
    Block<T>(a, packed, kv_head / a.kv_heads, head, row, stacked ? heads_each : std::min(rows_each, a.rows - row),
             stacked)
        .compute();
  };
  const int64_t kv_heads = checked_mul(a.batch, a.kv_heads);
  Tensor memory;
  std::optional<HeadPacking> packing;
  if constexpr (std::is_same_v<T, float>) {
    if (a.rows > kFewRows && blocks_each > 1 && a.keys > 0) {
      packing.emplace(a);
      if (kv_heads >= kHeadsEach * thread_count()) {
        parallel_for(kv_heads, 1, [&](int64_t from, int64_t to) {
          auto* room = static_cast<float*>(
              thread_scratch(ScratchSlot::kOperator3, static_cast<size_t>(packing->size) * sizeof(float)));
          for (int64_t head = from; head < to; ++head) {
            const PackedHead packed = packing->pack(a, head, room);
            for (int64_t i = 0; i < blocks_each; ++i) compute(head, i, packed);
          }
        });
        return;
      }
      memory = Tensor(DType::kFloat32, Shape{kv_heads, packing->size});
      parallel_for(kv_heads, 1, [&](int64_t from, int64_t to) {
        for (int64_t head = from; head < to; ++head)
          packing->pack(a, head, memory.data<float>() + head * packing->size);
      });
    }
  }
  // Multiply-adds of a task; tasks of a few microseconds are not worth a thread each.
  const double work = static_cast<double>(rows_each * heads_each) * static_cast<double>(a.keys) *
                      static_cast<double>(a.size + a.value_size);
  const auto grain = static_cast<int64_t>(std::clamp(200000.0 / std::max(work, 1.0), 1.0, 1e6));
  parallel_for(checked_mul(kv_heads, blocks_each), grain, [&](int64_t from, int64_t to) {
    for (int64_t task = from; task < to; ++task) {
      const int64_t head = task / blocks_each;
      PackedHead packed;
      if (packing) packed = packing->at(memory.data<float>() + head * packing->size);
      compute(head, task % blocks_each, packed);
    }
  });
}

}  // namespace

void attend(const Attention<float>& problem) {
  // Panels are written by the tasks where none holds rows of two of them.
  const int64_t panel = a_panel_rows(active_isa(), Precision::kBf16);
  const bool apart = kTileRows % panel == 0 && problem.rows > 1 && (problem.batch == 1 || problem.rows % panel == 0);
  if (problem.y_panels == nullptr || apart) return attend_all(problem);
  const int64_t rows = problem.batch * problem.rows, columns = problem.heads * problem.value_size;
  const Tensor plain(DType::kFloat32, Shape{rows, columns});
  Attention<float> copy = problem;
  copy.y_panels = nullptr;
  copy.y = HeadRows<float>::by_row(plain.data<float>(), problem.heads, problem.rows, problem.value_size);
  attend_all(copy);
  pack_a(rows, columns, plain.data<float>(), columns, false, problem.y_panels, active_isa(), Precision::kBf16);
}
void attend(const Attention<double>& problem) { attend_all(problem); }

}  // namespace sx
