// Direct sums in blocks of channels: outputs in tiles of pixels by blocks of filters, bands of rows shared out.
#include "kernels/conv/blocked_direct.h"

#include <algorithm>
#include <type_traits>

#include "base/float_types.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/blocked_tasks.h"
#include "kernels/conv/padded_band.h"
#include "kernels/pool.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;  // multiply-adds of f32 worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The taps of a window along one axis that meet data, and from where on.
struct Taps {
  int64_t first, last;
};
Taps taps_of(const ConvShape& shape, int axis, int64_t output) {
  const int64_t start = output * shape.stride[axis] - shape.pad_begin[axis];
  const int64_t dilation = shape.dilation[axis];
  const int64_t first = start >= 0 ? 0 : std::min(shape.kernel[axis], ceil_div(-start, dilation));
  const int64_t room = shape.in[axis] - start;
  const int64_t last = room <= 0 ? 0 : std::min(shape.kernel[axis], ceil_div(room, dilation));
  return {first, std::max(first, last)};
}

// Whether some window holds padding.
bool reaches_outside(const ConvShape& shape) {
  for (int axis = 0; axis < 2; ++axis) {
    int64_t begin, end;
    inner_outputs(shape, axis, &begin, &end);
    if (begin > 0 || end < shape.out[axis]) return true;
  }
  return false;
}

// Whether a copy that holds the padding stays about as large as the input.
bool is_padded_little(const ConvShape& shape) {
  for (int axis = 0; axis < 2; ++axis)
    if (shape.pad_begin[axis] + shape.pad_end[axis] > shape.in[axis] + 16) return false;
  return true;
}

// Of plain data: the words for the taps of one row of a window.
int64_t plain_row_words(const ConvShape& shape, Precision precision) {
  const bool pairs = precision == Precision::kBf16 && shape.dilation[1] == 1;
  return pairs ? ceil_div(shape.kernel[1], 2) : shape.kernel[1];
}

// Sums over data of elements T.
template <typename T>
class Direct {
 public:
  // With `maxima`, y takes those of 2 x 2 results.
  Direct(const ConvShape& shape, bool plain, const void* x, const float* packed, const T* residual, T* y,
         const Epilogue& epilogue, bool maxima, Isa isa)
      : shape_(shape),
        plain_(plain),
        maxima_(maxima),
        isa_(isa),
        kernel_(blocked_kernel<T>(isa)),
        block_(kernel_.block),
        in_blocks_(plain ? shape.channels : ceil_div(shape.channels, block_)),
        pixel_(plain ? 1 : block_),
        blocks_(ceil_div(shape.filters, block_)),
        words_(plain ? plain_words(shape, precision_of<T>) : in_blocks_ * (block_ / kInWord) * shape.kernel_size()),
        whole_(!reaches_outside(shape)),
        copies_(kBf16 && plain ? true : !whole_ && (kBf16 || plain) && is_padded_little(shape)),
        x_(x),
        packed_(packed),
        residual_(residual),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa, precision_of<T>)) {
    inner_outputs(shape, 1, &inner_begin_, &inner_end_);
  }

  void run() {
    const ConvShape& s = shape_;
    if (!plain_ && is_pointwise(s)) {
      // Rows of a 1 x 1 kernel may be cut anywhere.
      const FlatTasks tasks = {s.batch,          s.out_size(),          kernel_.sizes[0],
                               blocks_ * block_, kTileFilters * block_, ceil_div(s.channels, kInWord)};
      for_each_flat_band(tasks, [&](int64_t image, int64_t begin, int64_t end, int64_t group, int64_t group_end) {
        run_flat(image, begin, end, group, group_end);
      });
      return;
    }
    const int64_t pixel_bytes = static_cast<int64_t>(sizeof(T)) * in_blocks_ * pixel_;
    const int64_t together = maxima_ ? 2 : 1;  // rows
    for_each_band(
        s,
        {s.out[0] / together, s.out[1] * together, pixel_bytes, ceil_div(blocks_, kTileFilters), kLeastWork * kInWord},
        [&](int64_t image, int64_t begin, int64_t end, int64_t group, int64_t group_end) {
          if (whole_ || copies_) run_whole(image, begin * together, end * together, group, group_end);
          else run_borders(image, begin * together, end * together, group, group_end);
        });
  }

 private:
  static constexpr bool kBf16 = std::is_same_v<T, BFloat16>;
  static constexpr int64_t kInWord = sizeof(float) / sizeof(T);

  // What the outputs of one group of filters have in common.
  struct Group {
    BlockedTileOf<T> tile;
    int64_t blocks;        // of filters
    const float* weights;  // of the first tap
    const float* next;     // those of the group behind it, or null
    int64_t y;             // of the first output
    T* pair = nullptr;     // where the results of two rows wait for their maxima, else in y_
  };

  Group group_of(int64_t image, int64_t group) const {
    const int64_t first = group * kTileFilters;
    Group result;
    result.blocks = std::min(kTileFilters, blocks_ - first);
    result.weights = packed_ + first * block_ * words_;
    result.next = first + result.blocks < blocks_ ? result.weights + result.blocks * block_ * words_ : nullptr;
    BlockedTileOf<T>& tile = result.tile;
    tile.bias = epilogue_.row_bias ? epilogue_.row_bias + first * block_ : nullptr;
    tile.tail = &tail_;
    tile.y_step = shape_.out_size() * block_;
    tile.y_pixel = block_;
    result.y = (image * blocks_ + first) * tile.y_step;
    if (maxima_) {
      result.y = (image * blocks_ + first) * plane_of_maxima();
      tile.y_step = pair_size();
      const auto bytes = static_cast<size_t>(result.blocks * tile.y_step) * sizeof(T);
      result.pair = static_cast<T*>(thread_scratch(ScratchSlot::kTile, bytes));
    }
    return result;
  }

  // Elements of two rows of a block of filters, and of all of its maxima.
  int64_t pair_size() const { return 2 * shape_.out[1] * block_; }
  int64_t plane_of_maxima() const { return shape_.out[0] / 2 * (shape_.out[1] / 2) * block_; }
  // Stores the maxima of the pair of rows that ends with `row`.
  void end_row(const Group& group, int64_t row) const {
    if constexpr (!kBf16) {
      if (!maxima_ || row % 2 == 0) return;
      const int64_t columns = shape_.out[1] / 2;
      T* to = y_ + group.y + row / 2 * columns * block_;
      for (const T* top = group.pair; top < group.pair + group.blocks * pair_size(); top += pair_size()) {
        pool_kernel(isa_).maxima_of_pairs(top, top + pair_size() / 2, columns, to);
        to += plane_of_maxima();
      }
    }
  }

  // Windows of taps [first, last) along each axis, in data of some extents.
  void set_window(Group& group, Taps rows, Taps columns, int64_t in_rows, int64_t in_columns) const {
    const ConvShape& s = shape_;
    BlockedWindow& window = group.tile.window;
    window.blocks = in_blocks_;
    window.rows = rows.last - rows.first;
    window.columns = columns.last - columns.first;
    window.x_block = in_rows * in_columns * pixel_;
    window.x_row = s.dilation[0] * in_columns * pixel_;
    window.x_column = s.dilation[1] * pixel_;
    window.w_column = (plain_ ? 1 : block_ / kInWord) * group.blocks * block_;
    window.w_row = (plain_ ? plain_row_words(s, precision_of<T>) : s.kernel[1]) * window.w_column;
    window.w_block = s.kernel[0] * window.w_row;
    window.length = plain_ ? 1 : block_;
    window.last_length = plain_ ? 1 : s.channels - (in_blocks_ - 1) * block_;
    group.tile.x_step = s.stride[1] * pixel_;
    group.tile.weights = group.weights + rows.first * window.w_row + columns.first * window.w_column;
    if (plain_ && s.dilation[1] == 1 && window.columns > 0) {
      // A row of taps is one tap that reads several inputs.
      window.length = window.last_length = window.columns;
      window.columns = 1;
    }
  }

  // Moves a tile to where output `at` of an image goes.
  void move_to(Group& group, int64_t at) const {
    const int64_t to = group.y + at * block_;
    group.tile.y = group.pair ? group.pair + at * block_ % pair_size() : y_ + to;
    group.tile.residual = residual_ ? residual_ + to : nullptr;
  }

  const T* image_at(int64_t image) const {
    return static_cast<const T*>(x_) + image * in_blocks_ * shape_.in_size() * pixel_;
  }

  // Outputs [begin, end) of a 1 x 1 kernel.
  void run_flat(int64_t image, int64_t begin, int64_t end, int64_t first, int64_t last) const {
    for (int64_t i = first; i < last; ++i) {
      Group group = group_of(image, i);
      set_window(group, {0, 1}, {0, 1}, shape_.in[0], shape_.in[1]);
      ask_ahead(group.tile, group.blocks, kernel_.block, group.next, count_tiles(kernel_, 1, end - begin));
      group.tile.x = image_at(image) + begin * block_;
      move_to(group, begin);
      run_tiles(kernel_, group.tile, group.blocks, end - begin);
    }
  }

  // The rows [top, top + rows) of an image that a band of outputs needs, with padding laid down and rounded to T.
  const T* copy_of(int64_t image, int64_t top, int64_t rows) const {
    if constexpr (kBf16) {
      if (plain_) {
        const float* from = static_cast<const float*>(x_) + image * in_blocks_ * shape_.in_size();
        return padded_band<T>(shape_, from, in_blocks_, pixel_, top, rows, isa_);
      }
    }
    return padded_band<T>(shape_, image_at(image), in_blocks_, pixel_, top, rows, isa_);
  }

  // Rows whose windows are whole, in the data or in a copy with padding.
  void run_whole(int64_t image, int64_t row_begin, int64_t row_end, int64_t first, int64_t last) const {
    const ConvShape& s = shape_;
    const int64_t rows = row_end - row_begin, top = row_begin * s.stride[0] - s.pad_begin[0];
    const int64_t in_rows = copies_ ? padded_rows(s, rows) : s.in[0];
    const int64_t in_columns = copies_ ? padded_width(s) : s.in[1];
    const T* x =
        copies_ ? copy_of(image, top, in_rows) : image_at(image) + (top * in_columns - s.pad_begin[1]) * pixel_;
    const int64_t tiles = count_tiles(kernel_, rows, s.out[1]);
    for (int64_t i = first; i < last; ++i) {
      Group group = group_of(image, i);
      set_window(group, {0, s.kernel[0]}, {0, s.kernel[1]}, in_rows, in_columns);
      ask_ahead(group.tile, group.blocks, kernel_.block, group.next, tiles);
      group.tile.x = x;
      const int64_t row_step = s.stride[0] * in_columns * pixel_, together = maxima_ ? 2 : rows;
      for (int64_t row = row_begin; row < row_end; row += together) {
        move_to(group, row * s.out[1]);
        run_rows_of_tiles(kernel_, group.tile, group.blocks, together, s.out[1], row_step);
        end_row(group, row + together - 1);
      }
    }
  }

  // Rows some of whose windows stick out of the data.
  void run_borders(int64_t image, int64_t row_begin, int64_t row_end, int64_t first, int64_t last) const {
    const ConvShape& s = shape_;
    const int64_t inner = inner_end_ - inner_begin_;
    for (int64_t i = first; i < last; ++i) {
      Group group = group_of(image, i);
      for (int64_t row = row_begin; row < row_end; ++row) {
        const Taps taps = taps_of(s, 0, row);
        if (inner > 0) run_alike(group, image, row, inner_begin_, taps, {0, s.kernel[1]}, inner);
        for (int64_t column = 0; column < s.out[1]; ++column) {
          if (column == inner_begin_) column += inner;
          if (column < s.out[1]) run_alike(group, image, row, column, taps, taps_of(s, 1, column), 1);
        }
        end_row(group, row);
      }
    }
  }

  // `count` outputs of a row that have taps alike.
  void run_alike(Group& group, int64_t image, int64_t row, int64_t column, Taps rows, Taps columns,
                 int64_t count) const {
    const ConvShape& s = shape_;
    set_window(group, rows, columns, s.in[0], s.in[1]);
    group.tile.x = image_at(image);
    if (group.tile.window.rows > 0 && group.tile.window.columns > 0) {
      const int64_t y = row * s.stride[0] - s.pad_begin[0] + rows.first * s.dilation[0];
      const int64_t x = column * s.stride[1] - s.pad_begin[1] + columns.first * s.dilation[1];
      group.tile.x += (y * s.in[1] + x) * pixel_;
    }
    move_to(group, row * s.out[1] + column);
    run_tiles(kernel_, group.tile, group.blocks, count);
  }

  const ConvShape& shape_;
  const bool plain_, maxima_;
  const Isa isa_;
  const BlockedKernelOf<T>& kernel_;
  const int64_t block_;
  const int64_t in_blocks_;  // of channels, or the channels themselves where the input is plain
  const int64_t pixel_;      // elements between neighbouring inputs
  const int64_t blocks_;     // of filters
  const int64_t words_;      // that a filter's weights take
  const bool whole_;         // no window holds padding
  const bool copies_;        // windows are read from a copy of the band, which holds padding
  const void* x_;            // of float where the input is plain, else of T
  const float* packed_;
  const T* residual_;
  T* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  int64_t inner_begin_, inner_end_;  // outputs of a row whose windows lie within it
};

}  // namespace

int64_t plain_words(const ConvShape& shape, Precision precision) {
  return checked_mul(checked_mul(shape.channels, shape.kernel[0]), plain_row_words(shape, precision));
}

int64_t plain_place(const ConvShape& shape, Precision precision, int64_t i) {
  if (precision == Precision::kF32) return i;
  const int64_t column = i % shape.kernel[1];
  return i / shape.kernel[1] * plain_row_words(shape, precision) * 2 + (shape.dilation[1] == 1 ? column : 2 * column);
}

template <typename T>
void direct_conv(const ConvShape& shape, bool plain, const void* x, const float* packed, const T* residual, T* y,
                 const Epilogue& epilogue, Isa isa) {
  Direct<T>(shape, plain, x, packed, residual, y, epilogue, false, isa).run();
}
template void direct_conv(const ConvShape&, bool, const void*, const float*, const float*, float*, const Epilogue&,
                          Isa);
template void direct_conv(const ConvShape&, bool, const void*, const float*, const BFloat16*, BFloat16*,
                          const Epilogue&, Isa);

void direct_conv_maxima(const ConvShape& shape, bool plain, const float* x, const float* packed, float* y,
                        const Epilogue& epilogue, Isa isa) {
  Direct<float>(shape, plain, x, packed, nullptr, y, epilogue, true, isa).run();
}

}  // namespace sx
