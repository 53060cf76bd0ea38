// Caches of keys and values in floats or scaled integers.
#include "ops/ms_kv_cache.h"

#include <algorithm>
#include <cmath>

#include "base/scratch.h"

namespace sx {

KvCache::KvCache(Run& run, int past, int scale, int bits, const HeadBlock& fresh, const std::vector<CachePlan>& plans,
                 int present, int64_t length)
    : run_(run), bits_(bits), fresh_(fresh), plans_(plans), length_(length), width_(fresh.size * bits / 8) {
  const int64_t batch = fresh.batch, heads = fresh.heads, size = fresh.size;
  if (run.has(past)) past_ = run.in(past);
  bool moves = false;
  for (const CachePlan& plan : plans) {
    held_rows_ = std::max(held_rows_, plan.kept + fresh.rows);
    moves = moves || plan.dropped > 0;
  }
  const Shape shape{batch, heads, length, bits == 0 ? size : width_};
  if (run.wants(present)) present_ = run.out(present, shape);
  if (bits != 0) {
    if (!present_.defined()) present_ = Tensor(DType::kUInt8, shape);
    SX_CHECK(run, run.has(scale), "a quantized cache needs k_scale and v_scale");
    const Tensor& scales = run.in(scale);
    per_channel_ = scales.size() != 1;
    SX_CHECK(run, !per_channel_ || scales.size() == heads * size, "the scales of a cache are ", scales.shape().str(),
             "; one value, or ", heads * size, " values (kv_num_heads * head size) expected");
    scales_.emplace(scales);
  }
  if (bits == 0 && !moves && present_.defined() && present_.dtype() == DType::kFloat32) {
    held_ = present_;
    held_rows_ = length;
  } else {
    held_ = Tensor(DType::kFloat32, Shape{batch, heads, held_rows_, size});
  }
  rows_ = HeadRows<float>::by_head(held_.data<float>(), heads, held_rows_, size);
  std::optional<FloatIn> floats;
  if (bits == 0 && past_.defined()) floats.emplace(past_);
  const int64_t past_rows = past_.defined() ? past_.dim(2) : 0;
  parallel_for(batch * heads, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, held_rows_ * size)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t b = i / heads, h = i % heads;
                   const int64_t kept = plans_[static_cast<size_t>(b)].kept;
                   if (floats) {
                     std::copy_n(floats->data() + i * past_rows * size, kept * size, rows_.at(b, h, 0));
                   } else {
                     const auto* packed = static_cast<const uint8_t*>(past_.raw()) + i * past_rows * width_;
                     for (int64_t row = 0; row < kept && past_.defined(); ++row)
                       unpack(packed + row * width_, h, rows_.at(b, h, row));
                   }
                   const int64_t filled = kept + fresh_.rows;
                   std::fill_n(rows_.at(b, h, filled), (held_rows_ - filled) * fresh_.size, 0.0f);
                 }
               });
}

void KvCache::unpack(const uint8_t* from, int64_t h, float* to) const {
  for (int64_t i = 0; i < fresh_.size; ++i) {
    const int value = bits_ == 8 ? static_cast<int8_t>(from[i]) : ((from[i / 2] >> (i % 2 * 4)) & 15) - 8;
    to[i] = static_cast<float>(value) * scale_of(h, i);
  }
}

void KvCache::pack(float* x, int64_t h, uint8_t* to) const {
  const float limit = bits_ == 8 ? 128.0f : 8.0f;
  if (bits_ == 4) std::fill_n(to, width_, uint8_t{0});
  for (int64_t i = 0; i < fresh_.size; ++i) {
    const float scale = scale_of(h, i);
    const float scaled = std::nearbyint(x[i] / scale);
    // NaN becomes the lowest value.
    const int value = static_cast<int>(std::min(limit - 1, std::max(-limit, scaled)));
    if (bits_ == 8) to[i] = static_cast<uint8_t>(value);
    else to[i / 2] = static_cast<uint8_t>(to[i / 2] | (value + 8) << (i % 2 * 4));
    x[i] = static_cast<float>(value) * scale;
  }
}

void KvCache::finish() {
  if (!present_.defined() || held_.raw() == present_.raw()) return;
  const int64_t heads = fresh_.heads, size = fresh_.size;
  const int64_t past_rows = past_.defined() ? past_.dim(2) : 0;
  std::optional<FloatOut> floats;
  if (bits_ == 0) floats.emplace(present_);
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, fresh_.rows * size));
  parallel_for(fresh_.batch * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / heads, h = i % heads;
      const CachePlan plan = plans_[static_cast<size_t>(b)];
      const int64_t stored = std::min(plan.kept + fresh_.rows - plan.dropped, length_);
      if (floats) {
        float* to = floats->data() + i * length_ * size;
        std::copy_n(rows_.at(b, h, plan.dropped), stored * size, to);
        std::fill_n(to + stored * size, (length_ - stored) * size, 0.0f);
        continue;
      }
      auto* to = static_cast<uint8_t*>(present_.raw()) + i * length_ * width_;
      const auto* from = static_cast<const uint8_t*>(past_.raw()) + i * past_rows * width_;
      const int64_t moved = std::max<int64_t>(0, plan.kept - plan.dropped);
      std::copy_n(from + (moved > 0 ? plan.dropped * width_ : 0), moved * width_, to);
      auto* unwanted = static_cast<uint8_t*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(width_)));
      for (int64_t row = 0; row < fresh_.rows; ++row) {
        const int64_t place = plan.kept + row - plan.dropped;
        pack(rows_.at(b, h, plan.kept + row), h, place >= 0 && place < length_ ? to + place * width_ : unwanted);
      }
      std::fill_n(to + stored * width_, (length_ - stored) * width_, uint8_t{0});
    }
  });
  if (floats) floats->store();
}

}  // namespace sx
