// Convolution to bf16 in blocks: bands of rows are copied, padded and rounded, then run in tiles.
#include "kernels/conv/blocked_padded_bf16.h"

#include <algorithm>
#include <type_traits>

#include "base/shape.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/blocked_tasks.h"
#include "kernels/conv/padded_band.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 400'000;  // multiply-adds worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Words for the taps of one row of a window.
int64_t row_words(const ConvShape& s) { return s.dilation[1] == 1 ? ceil_div(s.kernel[1], 2) : s.kernel[1]; }

template <typename X>
class PaddedConv {
 public:
  PaddedConv(const ConvShape& shape, const X* x, const float* packed, const BFloat16* residual, BFloat16* y,
             const Epilogue& epilogue, Isa isa)
      : shape_(shape),
        isa_(isa),
        kernel_(blocked_kernel<BFloat16>(isa)),
        x_(x),
        packed_(packed),
        residual_(residual),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa, Precision::kBf16)),
        blocks_(ceil_div(shape.filters, kernel_.block)),
        in_blocks_(kPlain ? shape.channels : ceil_div(shape.channels, kernel_.block)),
        pixel_(kPlain ? 1 : kernel_.block),
        words_(kPlain ? plain_bf16_words(shape) : in_blocks_ * shape.kernel_size() * (pixel_ / 2)),
        width_(padded_width(shape)) {}

  void run() const {
    const ConvShape& s = shape_;
    const int64_t pixel_bytes = in_blocks_ * pixel_ * static_cast<int64_t>(sizeof(BFloat16));
    for_each_band(s, {s.out[0], s.out[1], pixel_bytes, ceil_div(blocks_, kTileFilters), kLeastWork},
                  [&](int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) {
                    run_rows(image, row_begin, row_end, group_begin, group_end);
                  });
  }

 private:
  static constexpr bool kPlain = std::is_same_v<X, float>;

  void run_rows(int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) const {
    const ConvShape& s = shape_;
    const int64_t top = row_begin * s.stride[0] - s.pad_begin[0];
    const int64_t rows = padded_rows(s, row_end - row_begin);
    const X* from = x_ + image * in_blocks_ * s.in_size() * pixel_;
    const auto* copy = padded_band<BFloat16>(s, from, in_blocks_, pixel_, top, rows, isa_);
    BlockedTileOf<BFloat16> tile;
    tile.x_step = s.stride[1] * pixel_;
    tile.tail = &tail_;
    tile.y_step = s.out_size() * kernel_.block;
    tile.y_pixel = kernel_.block;
    BlockedWindow& window = tile.window;
    // Neighbours along a row of plain data are pairs, as neighbouring channels are in blocks.
    const bool pairs = kPlain && s.dilation[1] == 1;
    window.blocks = in_blocks_;
    window.rows = s.kernel[0];
    window.columns = pairs ? 1 : s.kernel[1];
    window.x_block = rows * width_ * pixel_;
    window.x_row = s.dilation[0] * width_ * pixel_;
    window.x_column = s.dilation[1] * pixel_;
    window.length = pairs ? s.kernel[1] : pixel_;
    window.last_length = kPlain ? window.length : s.channels - (in_blocks_ - 1) * pixel_;
    for (int64_t group = group_begin; group < group_end; ++group) {
      const int64_t first = group * kTileFilters, blocks = std::min(kTileFilters, blocks_ - first);
      window.w_column = ceil_div(pixel_, 2) * blocks * kernel_.block;
      window.w_row = (kPlain ? row_words(s) : s.kernel[1]) * window.w_column;
      window.w_block = s.kernel[0] * window.w_row;
      tile.weights = packed_ + first * kernel_.block * words_;
      tile.bias = epilogue_.row_bias ? epilogue_.row_bias + first * kernel_.block : nullptr;
      for (int64_t row = row_begin; row < row_end; ++row) {
        const int64_t to = (image * blocks_ + first) * tile.y_step + row * s.out[1] * kernel_.block;
        tile.x = copy + (row - row_begin) * s.stride[0] * width_ * pixel_;
        tile.y = y_ + to;
        tile.residual = residual_ ? residual_ + to : nullptr;
        run_tiles(kernel_, tile, blocks, s.out[1]);
      }
    }
  }

  const ConvShape& shape_;
  const Isa isa_;
  const BlockedKernelOf<BFloat16>& kernel_;
  const X* x_;
  const float* packed_;
  const BFloat16* residual_;
  BFloat16* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  const int64_t blocks_;     // of filters
  const int64_t in_blocks_;  // of channels, or the channels themselves where the input is plain
  const int64_t pixel_;      // elements between neighbouring inputs
  const int64_t words_;      // that a filter's weights take
  const int64_t width_;      // of a row with what padding its windows reach
};

}  // namespace

int64_t plain_bf16_words(const ConvShape& shape) {
  return checked_mul(checked_mul(shape.channels, shape.kernel[0]), row_words(shape));
}

int64_t plain_bf16_place(const ConvShape& shape, int64_t i) {
  const int64_t column = i % shape.kernel[1];
  return i / shape.kernel[1] * row_words(shape) * 2 + (shape.dilation[1] == 1 ? column : 2 * column);
}

void padded_conv_bf16(const ConvShape& shape, const float* x, const float* packed, const BFloat16* residual,
                      BFloat16* y, const Epilogue& epilogue, Isa isa) {
  PaddedConv<float>(shape, x, packed, residual, y, epilogue, isa).run();
}
void padded_conv_bf16(const ConvShape& shape, const BFloat16* x, const float* packed, const BFloat16* residual,
                      BFloat16* y, const Epilogue& epilogue, Isa isa) {
  PaddedConv<BFloat16>(shape, x, packed, residual, y, epilogue, isa).run();
}

}  // namespace sx
