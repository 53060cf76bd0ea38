// Masks, caches and the run that the attention operators of com.microsoft share.
#include "ops/ms_attention.h"

#include <algorithm>

#include "kernels/attention_rows.h"

namespace sx {

void ScoreMask::set_padding(int index, float filter, int64_t past) {
  if (!run_.has(index)) return;
  const Tensor& mask = run_.in(index);
  const Shape& shape = mask.shape();
  const int64_t batch = extents_.batch, rows = extents_.rows, keys = extents_.keys;
  const int32_t* data = mask.data<int32_t>();
  if (shape.rank() == 1) {
    const bool ranges = shape[0] == 2 * batch && shape[0] != batch;
    SX_CHECK(run_, shape[0] == batch || ranges || shape[0] == 3 * batch + 2, "the mask is ", shape.str(),
             "; one axis of ", batch, " lengths, ", 2 * batch, " ends and starts or ", 3 * batch + 2,
             " lengths and offsets expected");
    make_padding(1, keys);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t end = data[b], start = ranges ? data[batch + b] : 0;
      SX_CHECK(run_, end >= 0, "the mask says that image ", b, " has ", end, " keys; 0 or more expected");
      float* row = padding_.data<float>() + b * keys;
      for (int64_t j = 0; j < keys; ++j) row[j] = j < end && j >= start ? 0.0f : filter;
    }
    return;
  }
  int64_t image_step = rows * keys, row_step = keys;
  if (shape.rank() == 4) {
    SX_CHECK(run_,
             shape[0] == batch && shape[1] == 1 && shape[2] == shape[3] && shape[2] >= keys && past + rows <= keys,
             "the mask is ", shape.str(), "; [", batch, ",1,n,n] with n of ", keys, " or more expected");
    data += past * shape[3];
    image_step = shape[2] * shape[3], row_step = shape[3];
  } else {
    SX_CHECK(run_, shape == Shape({batch, keys}) || shape == Shape({batch, rows, keys}), "the mask is ", shape.str(),
             "; [", batch, ",", keys, "] or [", batch, ",", rows, ",", keys, "] expected");
    if (shape.rank() == 2) image_step = keys;
  }
  const int64_t held = shape.rank() == 2 ? 1 : rows;
  make_padding(held, keys);
  parallel_for(batch * held, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, keys)), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int32_t* raw = data + i / held * image_step + i % held * row_step;
      float* row = padding_.data<float>() + i * keys;
      for (int64_t j = 0; j < keys; ++j) row[j] = raw[j] > 0 ? 0.0f : filter;
    }
  });
}

void ScoreMask::make_padding(int64_t rows, int64_t keys) {
  padding_ = Tensor(DType::kFloat32, Shape{extents_.batch, rows, keys});
  padding_batch_ = rows * keys;
  padding_row_ = rows > 1 ? keys : 0;
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
  if (bias_) add_mask(bias_->data() + b * bias_batch_ + h * bias_head_ + row * extents_.keys + range.first, scores, n);
  if (padding_.defined())
    add_mask(padding_.data<float>() + b * padding_batch_ + row * padding_row_ + range.first, scores, n);
}

void copy_heads(const HeadBlock& block, const HeadRows<const float>& from, const float* bias,
                const HeadRows<float>& to) {
  const int64_t heads = block.heads, rows = block.rows, size = block.size;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, rows * size));
  const bool whole = bias == nullptr && from.row_step == size && to.row_step == size;
  parallel_for(block.batch * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / heads, h = i % heads;
      if (whole) {
        std::copy_n(from.at(b, h, 0), rows * size, to.at(b, h, 0));
        continue;
      }
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
