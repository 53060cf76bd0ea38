// Masks, caches and the run that the attention operators of com.microsoft share.
#include "ops/ms_attention.h"

#include <algorithm>

namespace sx {

void ScoreMask::set_padding(int index, float filter, int64_t past) {
  if (!run_.has(index)) return;
  const Tensor& mask = run_.in(index);
  const Shape& shape = mask.shape();
  const int64_t batch = extents_.batch, rows = extents_.rows, keys = extents_.keys;
  filter_ = filter;
  const int32_t* data = mask.data<int32_t>();
  if (shape.rank() == 1) {
    const bool ranges = shape[0] == 2 * batch;
    SX_CHECK(run_, shape[0] == batch || ranges || shape[0] == 3 * batch + 2, "the mask is ", shape.str(),
             "; one axis of ", batch, " lengths, ", 2 * batch, " ends and starts or ", 3 * batch + 2,
             " lengths and offsets expected");
    ends_ = data;
    if (ranges && shape[0] != batch) starts_ = data + batch;
    for (int64_t i = 0; i < batch; ++i)
      SX_CHECK(run_, data[i] >= 0, "the mask says that image ", i, " has ", data[i], " keys; 0 or more expected");
    return;
  }
  if (shape.rank() == 4) {
    SX_CHECK(run_,
             shape[0] == batch && shape[1] == 1 && shape[2] == shape[3] && shape[2] >= keys && past + rows <= keys,
             "the mask is ", shape.str(), "; [", batch, ",1,n,n] with n of ", keys, " or more expected");
    padding_ = data + past * shape[3];
    padding_batch_ = shape[2] * shape[3], padding_row_ = shape[3];
    return;
  }
  SX_CHECK(run_, shape == Shape({batch, keys}) || shape == Shape({batch, rows, keys}), "the mask is ", shape.str(),
           "; [", batch, ",", keys, "] or [", batch, ",", rows, ",", keys, "] expected");
  padding_ = data;
  padding_row_ = shape.rank() == 3 ? keys : 0;
  padding_batch_ = shape.rank() == 3 ? rows * keys : keys;
}

void ScoreMask::set_bias(int index) {
  if (!run_.has(index)) return;
  const Shape& shape = run_.in(index).shape();
  const int64_t batch = extents_.batch, heads = extents_.heads, rows = extents_.rows, keys = extents_.keys;
  SX_CHECK(run_,
           shape.rank() == 4 && (shape[0] == batch || shape[0] == 1) && (shape[1] == heads || shape[1] == 1) &&
               shape[2] == rows && shape[3] == keys,
           "attention_bias is ", shape.str(), "; [", batch, " or 1,", heads, " or 1,", rows, ",", keys, "] expected");
  bias_.emplace(run_.in(index));
  bias_head_ = shape[1] == 1 ? 0 : rows * keys;
  bias_batch_ = shape[0] == 1 ? 0 : shape[1] * rows * keys;
}

void ScoreMask::add(int64_t b, int64_t h, int64_t row, KeyRange range, float* scores) const {
  const int64_t n = range.last - range.first;
  const float* bias = nullptr;
  if (bias_) bias = bias_->data() + b * bias_batch_ + h * bias_head_ + row * extents_.keys + range.first;
  if (padding_ != nullptr) {
    const int32_t* padding = padding_ + b * padding_batch_ + row * padding_row_ + range.first;
    if (bias != nullptr) {
      for (int64_t j = 0; j < n; ++j) scores[j] += bias[j] + (padding[j] > 0 ? 0.0f : filter_);
    } else {
      for (int64_t j = 0; j < n; ++j) scores[j] += padding[j] > 0 ? 0.0f : filter_;
    }
  } else if (ends_ != nullptr) {
    const int64_t end = ends_[b];
    const int64_t start = starts_ != nullptr ? starts_[b] : 0;
    for (int64_t j = 0; j < n; ++j) {
      const float hidden = range.first + j < end && range.first + j >= start ? 0.0f : filter_;
      scores[j] += bias != nullptr ? bias[j] + hidden : hidden;
    }
  } else if (bias != nullptr) {
    for (int64_t j = 0; j < n; ++j) scores[j] += bias[j];
  }
}

void copy_heads(const HeadBlock& block, const HeadRows<const float>& from, const float* bias,
                const HeadRows<float>& to) {
  const int64_t heads = block.heads, rows = block.rows, size = block.size;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, rows * size));
  parallel_for(block.batch * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / heads, h = i % heads;
      for (int64_t row = 0; row < rows; ++row) {
        const float* x = from.at(b, h, row);
        float* y = to.at(b, h, row);
        if (bias == nullptr) {
          std::copy_n(x, size, y);
        } else {
          for (int64_t j = 0; j < size; ++j) y[j] = x[j] + bias[h * size + j];
        }
      }
    }
  });
}

void attend_masked(Attention<float> problem, const ScoreMask& mask, bool causal, int64_t past) {
  const auto seen = [&](int64_t, int64_t row) {
    return KeyRange{0, row + 1 == problem.rows ? problem.keys : std::min(problem.keys, past + row + 1)};
  };
  const FunctionRef<KeyRange(int64_t, int64_t)> seen_ref(seen);
  if (causal) problem.range = &seen_ref;
  const auto add = [&](int64_t b, int64_t h, int64_t row, KeyRange range, float* scores) {
    mask.add(b, h, row, range, scores);
  };
  const FunctionRef<void(int64_t, int64_t, int64_t, KeyRange, float*)> add_ref(add);
  if (mask.defined()) problem.mask = &add_ref;
  attend(problem);
}

}  // namespace sx
