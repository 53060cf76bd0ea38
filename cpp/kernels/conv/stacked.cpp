// Convolution of stacked data and the gradient of its input: tiles of outputs by blocks of filters, where the outputs
// of a tile are neighbours of one row and images of the batch.
#include "kernels/conv/stacked.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/stacked_kernel.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;     // multiply-adds worth a task
constexpr int64_t kCopyGrain = 32768;       // elements of a copy worth a task
constexpr int64_t kPiece = 64;              // pixels that are turned at a time
constexpr int64_t kNearWeights = 96 << 10;  // floats of weights that stay in a cache beside the data

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// The taps under one output along an axis that meet data: `count` of them from tap `first` on, which meets input `x`.
struct Taps {
  int64_t count, first, x;
};

// One axis of a convolution or of its transpose. Between the taps under an output the weights are w_step apart and the
// inputs x_step. Outputs `phases` apart have windows that lie `move` inputs apart.
class TapAxis {
 public:
  TapAxis(const ConvShape& s, int axis, bool transposed)
      : transposed_(transposed),
        kernel_(s.kernel[axis]),
        stride_(s.stride[axis]),
        dilation_(s.dilation[axis]),
        pad_(s.pad_begin[axis]),
        inputs_(transposed ? s.out[axis] : s.in[axis]),
        outputs(transposed ? s.in[axis] : s.out[axis]),
        phases(transposed ? stride_ : 1),
        move(transposed ? 1 : stride_),
        w_step(transposed ? stride_ / common(stride_, dilation_) : 1),
        x_step(transposed ? -(dilation_ / common(stride_, dilation_)) : dilation_) {}

 private:
  static int64_t common(int64_t a, int64_t b) { return b == 0 ? a : common(b, a % b); }

  const bool transposed_;
  const int64_t kernel_, stride_, dilation_, pad_, inputs_;

 public:
  const int64_t outputs, phases, move, w_step, x_step;

  Taps at(int64_t output) const {
    if (!transposed_) {
      const int64_t start = output * stride_ - pad_;
      const int64_t first = start >= 0 ? 0 : std::min(kernel_, ceil_div(-start, dilation_));
      const int64_t room = inputs_ - start;
      const int64_t last = room <= 0 ? 0 : std::min(kernel_, ceil_div(room, dilation_));
      return {std::max<int64_t>(0, last - first), first, start + first * dilation_};
    }
    // Tap k meets input (output + pad - k * dilation) / stride where that is whole.
    for (int64_t k = 0; k < kernel_; ++k) {
      const int64_t at = output + pad_ - k * dilation_;
      if (at < 0) break;
      if (at % stride_ != 0 || at / stride_ >= inputs_) continue;
      const int64_t by_data = at / stride_ / -x_step + 1, by_taps = (kernel_ - 1 - k) / w_step + 1;
      return {std::min(by_data, by_taps), k, at / stride_};
    }
    return {0, 0, 0};
  }
};

// Outputs of [blocks, rows, columns, batch, block] from data of the same form, or of plain data. Data are float, or
// BFloat16 for products of bf16.
template <typename T>
class Stacked {
 public:
  Stacked(const ConvShape& s, bool transposed, bool plain, const T* x, const float* weights, float* y,
          const Epilogue& epilogue, Isa isa)
      : shape_(s),
        isa_(isa),
        transposed_(transposed),
        rows_(s, 0, transposed),
        columns_(s, 1, transposed),
        kernel_(blocked_kernel<T>(isa)),
        block_(kernel_.block),
        pixel_(plain ? 1 : block_),
        batch_(s.batch),
        taps_(s.kernel_size()),
        kernel_columns_(s.kernel[1]),
        sources_(transposed ? s.filters : s.channels),
        depth_(round_up(sources_, pixel_) * taps_),
        out_blocks_(ceil_div(transposed ? s.channels : s.filters, block_)),
        in_columns_(transposed ? s.out[1] : s.in[1]),
        in_size_(transposed ? s.out_size() : s.in_size()),
        x_(x),
        weights_(weights),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa)) {}

  void run() const {
    const int64_t groups = ceil_div(out_blocks_, kTileFilters), rows = rows_.outputs;
    const int64_t width = kTileFilters * block_;
    if (depth_ * out_blocks_ * block_ > kNearWeights && groups >= 2 * thread_count()) {
      // Weights are packed by who works with them, while they are near.
      parallel_for(groups, 1, [&](int64_t begin, int64_t end) {
        float* packed = scratch(depth_ * width);
        for (int64_t group = begin; group < end; ++group) {
          pack(group, packed);
          for (int64_t row = 0; row < rows; ++row) make_row(row, group, packed);
        }
      });
      return;
    }
    float* packed = scratch(depth_ * out_blocks_ * block_);
    const auto of_group = [&](int64_t group) { return packed + group * width * depth_; };
    parallel_for(groups, std::max<int64_t>(1, kCopyGrain / (width * depth_)), [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) pack(group, of_group(group));
    });
    const int64_t work = columns_.outputs * batch_ * depth_ * width;
    parallel_for(rows * groups, std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) make_row(task / groups, task % groups, of_group(task % groups));
    });
  }

 private:
  static float* scratch(int64_t floats) {
    return static_cast<float*>(
        thread_scratch(ScratchSlot::kPackA, static_cast<size_t>(checked_mul(floats, sizeof(float)))));
  }

  static constexpr bool kBf16 = std::is_same_v<T, BFloat16>;
  static constexpr int64_t kInWord = sizeof(float) / sizeof(T);

  // The weights of a group: [block of sources][tap][source][output of the group], or in bf16 pairs of sources.
  void pack(int64_t group, float* packed) const {
    const int64_t first = group * kTileFilters * block_;
    if (transposed_) {
      pack_transposed(first, packed);
    } else {
      pack_blocked_filters(std::min(kTileFilters * block_, shape_.filters - first), sources_, taps_, pixel_,
                           Precision::kF32, weights_ + first * sources_ * taps_, packed, isa_);
    }
    if constexpr (kBf16) {
      const int64_t width = std::min(kTileFilters, out_blocks_ - first / block_) * block_;
      stacked_bf16_kernel(isa_).pair_rows(packed, depth_, width, packed);
    }
  }
  void pack_transposed(int64_t first, float* packed) const {
    const int64_t width = std::min(kTileFilters, out_blocks_ - first / block_) * block_;
    const BlockedKernel& turns = blocked_kernel(isa_);
    float turned[kPiece * kMaxBlock];
    for (int64_t f = 0; f < shape_.filters; ++f) {
      float* to = packed + (f / block_ * taps_ * block_ + f % block_) * width;
      for (int64_t c = 0; c < width; c += block_) {
        const float* from = weights_ + (f * shape_.channels + first + c) * taps_;
        const auto given = static_cast<int>(std::min(block_, shape_.channels - first - c));
        for (int64_t tap = 0; tap < taps_; tap += kPiece) {
          const int64_t count = std::min(kPiece, taps_ - tap);
          turns.to_block(from + tap, taps_, given, count, turned);
          for (int64_t i = 0; i < count; ++i)
            copy_lanes(turned + i * block_, block_, to + (tap + i) * block_ * width + c);
        }
      }
    }
  }

  void make_row(int64_t row, int64_t group, const float* weights) const {
    const Taps taps = rows_.at(row);
    const int64_t first = group * kTileFilters, blocks = std::min(kTileFilters, out_blocks_ - first);
    const int64_t in_blocks = ceil_div(sources_, pixel_), width = blocks * block_;
    BlockedTileOf<T> tile;
    tile.bias = epilogue_.row_bias ? epilogue_.row_bias + first * block_ : nullptr;
    tile.tail = &tail_;
    tile.y_step = rows_.outputs * columns_.outputs * batch_ * block_;
    tile.y_pixel = block_;
    tile.x_step = pixel_;
    BlockedWindow& window = tile.window;
    window.blocks = in_blocks;
    window.x_block = in_size_ * batch_ * pixel_;
    window.x_row = rows_.x_step * in_columns_ * batch_ * pixel_;
    window.x_column = columns_.x_step * batch_ * pixel_;
    const int64_t w_tap = pixel_ * width / kInWord;
    window.w_block = taps_ * w_tap;
    window.w_row = rows_.w_step * kernel_columns_ * w_tap;
    window.w_column = columns_.w_step * w_tap;
    window.length = pixel_;
    window.last_length = sources_ - (in_blocks - 1) * pixel_;
    const int64_t y_row = first * tile.y_step + row * columns_.outputs * batch_ * block_;
    // Outputs whose windows are alike and that follow one another, as their inputs do, make one run.
    const bool runs = columns_.phases == 1 && columns_.move == 1;
    for (int64_t column = 0; column < columns_.outputs;) {
      const Taps across = columns_.at(column);
      int64_t next = column + 1;
      while (runs && next < columns_.outputs && alike(across, columns_.at(next), next - column)) ++next;
      const bool empty = taps.count == 0 || across.count == 0;
      window.rows = empty ? 0 : taps.count;
      window.columns = across.count;
      tile.weights = weights + (taps.first * kernel_columns_ + across.first) * w_tap;
      tile.x = x_ + (empty ? 0 : (taps.x * in_columns_ + across.x) * batch_ * pixel_);
      const int64_t at = y_row + column * batch_ * block_;
      const float* residual = epilogue_.residual ? epilogue_.residual + at : nullptr;
      if constexpr (kBf16) {
        tile.wide = y_ + at;
        tile.wide_residual = residual;
      } else {
        tile.y = y_ + at;
        tile.residual = residual;
      }
      run_tiles(kernel_, tile, blocks, (next - column) * batch_);
      column = next;
    }
  }

  static bool alike(const Taps& a, const Taps& b, int64_t distance) {
    return a.count == b.count && a.first == b.first && (a.count == 0 || b.x - a.x == distance);
  }

  const ConvShape& shape_;
  const Isa isa_;
  const bool transposed_;
  const TapAxis rows_, columns_;
  const BlockedKernelOf<T>& kernel_;
  const int64_t block_, pixel_, batch_, taps_, kernel_columns_, sources_, depth_, out_blocks_, in_columns_, in_size_;
  const T* x_;
  const float* weights_;
  float* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
};

// `count` numbers, which come in blocks, in bf16.
const BFloat16* narrowed(const float* x, int64_t count, Isa isa) {
  auto* to = static_cast<BFloat16*>(
      thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(checked_mul(count, sizeof(BFloat16)))));
  const int64_t block = channel_block(isa);
  const auto narrow = stacked_bf16_kernel(isa).narrow;
  parallel_for(count / block, kCopyGrain / block, [&](int64_t begin, int64_t end) {
    narrow(x + begin * block, (end - begin) * block, to + begin * block);
  });
  return to;
}

// The sum of stacked data over windows, or over those of the transpose.
void sum_directly(const ConvShape& s, bool transposed, const float* x, const float* weights, float* y,
                  const Epilogue& epilogue, Precision precision, Isa isa) {
  if (precision == Precision::kF32) return Stacked<float>(s, transposed, false, x, weights, y, epilogue, isa).run();
  const int64_t blocks = ceil_div(transposed ? s.filters : s.channels, channel_block(isa));
  const int64_t count = blocks * (transposed ? s.out_size() : s.in_size()) * s.batch * channel_block(isa);
  Stacked<BFloat16>(s, transposed, false, narrowed(x, count, isa), weights, y, epilogue, isa).run();
}

}  // namespace

void to_stacked(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t block = kernel.block, pieces = ceil_div(size, kPiece);
  if (batch == 0) return;
  parallel_for(ceil_div(channels, block) * pieces, std::max<int64_t>(1, kCopyGrain / (kPiece * block * batch)),
               [&](int64_t begin, int64_t end) {
                 float turned[kPiece * kMaxBlock];
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item / pieces * block, at = item % pieces * kPiece;
                   const int64_t count = std::min(kPiece, size - at);
                   const auto given = static_cast<int>(std::min(block, channels - first));
                   float* to = y + (first / block * size + at) * batch * block;
                   for (int64_t n = 0; n < batch; ++n) {
                     kernel.to_block(x + (n * channels + first) * size + at, size, given, count, turned);
                     for (int64_t i = 0; i < count; ++i)
                       copy_lanes(turned + i * block, block, to + (i * batch + n) * block);
                   }
                 }
               });
}

void from_stacked(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t block = kernel.block, pieces = ceil_div(size, kPiece);
  if (batch == 0) return;
  parallel_for(ceil_div(channels, block) * pieces, std::max<int64_t>(1, kCopyGrain / (kPiece * block * batch)),
               [&](int64_t begin, int64_t end) {
                 float gathered[kPiece * kMaxBlock];
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item / pieces * block, at = item % pieces * kPiece;
                   const int64_t count = std::min(kPiece, size - at);
                   const auto given = static_cast<int>(std::min(block, channels - first));
                   const float* from = x + (first / block * size + at) * batch * block;
                   for (int64_t n = 0; n < batch; ++n) {
                     for (int64_t i = 0; i < count; ++i)
                       copy_lanes(from + (i * batch + n) * block, block, gathered + i * block);
                     kernel.from_block(gathered, size, given, count, y + (n * channels + first) * size + at);
                   }
                 }
               });
}

void stack_plain(const float* x, int64_t batch, int64_t count, float* y, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t block = kernel.block;
  if (batch == 0) return;
  parallel_for(ceil_div(count, kPiece), std::max<int64_t>(1, kCopyGrain / (kPiece * batch)),
               [&](int64_t begin, int64_t end) {
                 float turned[kPiece * kMaxBlock];
                 for (int64_t piece = begin; piece < end; ++piece) {
                   const int64_t at = piece * kPiece, here = std::min(kPiece, count - at);
                   for (int64_t n = 0; n < batch; n += block) {
                     const int64_t images = std::min(block, batch - n);
                     kernel.to_block(x + n * count + at, count, static_cast<int>(images), here, turned);
                     for (int64_t i = 0; i < here; ++i)
                       std::copy_n(turned + i * block, images, y + (at + i) * batch + n);
                   }
                 }
               });
}

bool can_stack(const ConvShape& shape) { return shape.rank == 2 && shape.groups == 1; }

Precision stacked_precision(Precision allowed, Isa isa) {
  return allowed == Precision::kBf16 && has_bf16_blocks(isa) ? allowed : Precision::kF32;
}

static StackedMethod method_of(const ConvShape& shape, bool transposed, bool allow_winograd, Precision precision) {
  return allow_winograd && stacked_winograd_tile(shape, transposed, precision) != 0 ? StackedMethod::kWinograd
                                                                                    : StackedMethod::kDirect;
}

StackedMethod stacked_method(const ConvShape& shape, bool plain_input, bool allow_winograd, Precision precision) {
  return plain_input ? StackedMethod::kPlain : method_of(shape, false, allow_winograd, precision);
}

StackedMethod stacked_gradient_method(const ConvShape& shape, bool allow_winograd, Precision precision) {
  return method_of(shape, true, allow_winograd, precision);
}

void stacked_conv(const ConvShape& shape, StackedMethod method, const float* x, const float* weights, float* y,
                  const Epilogue& epilogue, Precision precision, Isa isa) {
  SX_ASSERT(can_stack(shape) && epilogue.column_bias == nullptr && epilogue.scale == 1.0f);
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  switch (method) {
    case StackedMethod::kPlain: return Stacked<float>(shape, false, true, x, weights, y, epilogue, isa).run();
    case StackedMethod::kDirect: return sum_directly(shape, false, x, weights, y, epilogue, precision, isa);
    case StackedMethod::kWinograd: return stacked_winograd(shape, false, precision, x, weights, y, epilogue, isa);
  }
}

void stacked_input_gradient(const ConvShape& shape, StackedMethod method, const float* dy, const float* weights,
                            float* dx, const Epilogue& epilogue, Precision precision, Isa isa) {
  SX_ASSERT(can_stack(shape) && epilogue.column_bias == nullptr && epilogue.scale == 1.0f);
  if (shape.batch == 0 || shape.in_size() == 0 || shape.channels == 0) return;
  if (method == StackedMethod::kWinograd)
    return stacked_winograd(shape, true, precision, dy, weights, dx, epilogue, isa);
  sum_directly(shape, true, dy, weights, dx, epilogue, precision, isa);
}

}  // namespace sx
