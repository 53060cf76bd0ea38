// Convolution of channel-blocked data: outputs in tiles of pixels by blocks of filters, rows of them shared out.
#include "kernels/conv/blocked.h"

#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/blocked_depthwise_bf16.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/blocked_padded_bf16.h"
#include "kernels/conv/blocked_tasks.h"
#include "kernels/conv/padded_band.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;  // multiply-adds worth a task

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

// Whether there is padding, and a copy that holds it stays about as large as the input.
bool is_padded_little(const ConvShape& shape) {
  int64_t most = 0;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t pads = shape.pad_begin[axis] + shape.pad_end[axis];
    if (pads > shape.in[axis] + 16) return false;
    most = std::max(most, pads);
  }
  return most > 0;
}

// The geometry of a direct convolution of elements T.
template <typename T>
struct Layout {
  static constexpr int64_t kInWord = sizeof(float) / sizeof(T);
  ConvShape shape;
  int64_t block;
  bool plain;
  int64_t in_blocks;  // of channels, or the channels themselves where the input is plain
  int64_t pixel;      // elements between neighbouring inputs
  int64_t inner_begin, inner_end;

  Layout(const ConvShape& given, bool plain_input, Isa isa)
      : shape(given), block(channel_block(isa)), plain(plain_input) {
    in_blocks = plain ? shape.channels : ceil_div(shape.channels, block);
    pixel = plain ? 1 : block;
    inner_outputs(shape, 1, &inner_begin, &inner_end);
  }
  int64_t image() const { return in_blocks * shape.in_size() * pixel; }
  // The offset of the first of the taps under the window of output (row, column).
  int64_t first_tap(int64_t row, int64_t column, Taps rows, Taps columns) const {
    const int64_t y = row * shape.stride[0] - shape.pad_begin[0] + rows.first * shape.dilation[0];
    const int64_t x = column * shape.stride[1] - shape.pad_begin[1] + columns.first * shape.dilation[1];
    return (y * shape.in[1] + x) * pixel;
  }
  // Those taps, each of whose words of inputs meets `width` words of weights, in data of some extents.
  BlockedWindow window(Taps rows, Taps columns, int64_t width) const {
    return window(rows, columns, width, shape.in[0], shape.in[1]);
  }
  BlockedWindow window(Taps rows, Taps columns, int64_t width, int64_t in_rows, int64_t in_columns) const {
    BlockedWindow taps;
    taps.blocks = in_blocks;
    taps.rows = rows.last - rows.first;
    taps.columns = columns.last - columns.first;
    taps.x_block = in_rows * in_columns * pixel;
    taps.x_row = shape.dilation[0] * in_columns * pixel;
    taps.x_column = shape.dilation[1] * pixel;
    taps.w_column = (plain ? 1 : block / kInWord) * width;
    taps.w_row = shape.kernel[1] * taps.w_column;
    taps.w_block = shape.kernel[0] * taps.w_row;
    taps.length = plain ? 1 : block;
    taps.last_length = plain ? 1 : shape.channels - (in_blocks - 1) * block;
    if (plain && shape.dilation[1] == 1 && taps.columns > 0) {
      // A row of taps is one tap that reads several inputs.
      taps.length = taps.last_length = taps.columns;
      taps.columns = 1;
    }
    return taps;
  }
};

template <typename T>
class Direct {
 public:
  Direct(const ConvShape& shape, bool plain, const T* x, const float* packed, const T* residual, T* y,
         const Epilogue& epilogue, Isa isa)
      : layout_(shape, plain, isa),
        kernel_(blocked_kernel<T>(isa)),
        x_(x),
        packed_(packed),
        residual_(residual),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa, precision_of<T>)),
        pads_(plain && is_padded_little(shape)),
        isa_(isa) {}

  void run() {
    const ConvShape& s = layout_.shape;
    const int64_t blocks = ceil_div(s.filters, layout_.block), width = kTileFilters * layout_.block;
    if (!layout_.plain && is_pointwise(s)) {
      // Rows of a 1 x 1 kernel may be cut anywhere.
      const FlatTasks tasks = {s.batch,
                               s.out_size(),
                               kernel_.sizes[0],
                               blocks * layout_.block,
                               width,
                               ceil_div(s.channels, layout_.kInWord)};
      for_each_flat_band(tasks, [&](int64_t image, int64_t begin, int64_t end, int64_t group, int64_t group_end) {
        for (; group < group_end; ++group) flat_outputs(rows_of(image, group), begin, end);
      });
      return;
    }
    const int64_t pixel_bytes = static_cast<int64_t>(sizeof(T)) * layout_.in_blocks * layout_.pixel;
    for_each_band(s, {s.out[0], s.out[1], pixel_bytes, ceil_div(blocks, kTileFilters), kLeastWork},
                  [&](int64_t image, int64_t row_begin, int64_t row_end, int64_t group, int64_t group_end) {
                    run_rows(image, row_begin, row_end, group, group_end);
                  });
  }

 private:
  // What the rows of one group of filters have in common.
  struct Rows {
    BlockedTileOf<T> tile;
    int64_t blocks;        // of filters
    const float* weights;  // of the group
    int64_t y;             // of the first output
    const T* x;
  };

  Rows rows_of(int64_t image, int64_t group) const {
    const ConvShape& s = layout_.shape;
    const int64_t blocks = ceil_div(s.filters, layout_.block), first = group * kTileFilters;
    const int64_t depth =
        (layout_.plain ? s.channels : layout_.in_blocks * layout_.block / layout_.kInWord) * s.kernel_size();
    Rows rows;
    rows.blocks = std::min(kTileFilters, blocks - first);
    rows.weights = packed_ + first * layout_.block * depth;
    rows.tile.bias = epilogue_.row_bias ? epilogue_.row_bias + first * layout_.block : nullptr;
    rows.tile.tail = &tail_;
    rows.tile.y_step = s.out_size() * layout_.block;
    rows.tile.y_pixel = layout_.block;
    rows.y = (image * blocks + first) * rows.tile.y_step;
    rows.x = x_ + image * layout_.image();
    return rows;
  }

  void run_rows(int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) const {
    const ConvShape& s = layout_.shape;
    const int64_t blocks = layout_.in_blocks;
    // With their padding all windows are whole: most of the short rows of small images would be borders.
    const int64_t band = pads_ ? padded_rows(s, row_end - row_begin) : 0;
    const T* padded = pads_ ? padded_band<T>(s, x_ + image * layout_.image(), blocks, layout_.pixel,
                                             row_begin * s.stride[0] - s.pad_begin[0], band, isa_)
                            : nullptr;
    for (int64_t group = group_begin; group < group_end; ++group) {
      Rows rows = rows_of(image, group);
      if (!pads_) {
        for (int64_t row = row_begin; row < row_end; ++row) window_row(rows, row);
        continue;
      }
      rows.x = padded;
      rows.tile.x_step = s.stride[1] * layout_.pixel;
      rows.tile.weights = rows.weights;
      rows.tile.window =
          layout_.window({0, s.kernel[0]}, {0, s.kernel[1]}, rows.blocks * layout_.block, band, padded_width(s));
      for (int64_t row = row_begin; row < row_end; ++row)
        outputs(rows, (row - row_begin) * s.stride[0] * padded_width(s) * layout_.pixel, row * s.out[1], s.out[1]);
    }
  }

  // Outputs [begin, end) of a 1 x 1 kernel.
  void flat_outputs(Rows rows, int64_t begin, int64_t end) const {
    rows.tile.x_step = layout_.block;
    rows.tile.weights = rows.weights;
    rows.tile.window = layout_.window({0, 1}, {0, 1}, rows.blocks * layout_.block);
    outputs(rows, begin * layout_.block, begin, end - begin);
  }

  void window_row(Rows& rows, int64_t row) const {
    const ConvShape& s = layout_.shape;
    const Taps taps = taps_of(s, 0, row);
    rows.tile.x_step = s.stride[1] * layout_.pixel;
    const int64_t inner = layout_.inner_end - layout_.inner_begin;
    if (inner > 0) window_outputs(rows, row, layout_.inner_begin, taps, {0, s.kernel[1]}, inner);
    for (int64_t column = 0; column < s.out[1]; ++column) {
      if (column == layout_.inner_begin) column += inner;
      if (column < s.out[1]) window_outputs(rows, row, column, taps, taps_of(s, 1, column), 1);
    }
  }

  void window_outputs(Rows& rows, int64_t row, int64_t column, Taps taps, Taps columns, int64_t count) const {
    BlockedTileOf<T>& tile = rows.tile;
    tile.window = layout_.window(taps, columns, rows.blocks * layout_.block);
    tile.weights = rows.weights + taps.first * tile.window.w_row + columns.first * tile.window.w_column;
    const bool empty = tile.window.rows == 0 || tile.window.columns == 0;
    outputs(rows, empty ? 0 : layout_.first_tap(row, column, taps, columns), row * layout_.shape.out[1] + column,
            count);
  }

  // `count` outputs from `at` on; the first one's first tap stands at x + `from`.
  void outputs(Rows& rows, int64_t from, int64_t at, int64_t count) const {
    const int64_t to = rows.y + at * layout_.block;
    rows.tile.x = rows.x + from;
    rows.tile.y = y_ + to;
    rows.tile.residual = residual_ ? residual_ + to : nullptr;
    run_tiles(kernel_, rows.tile, rows.blocks, count);
  }

  const Layout<T> layout_;
  const BlockedKernelOf<T>& kernel_;
  const T* x_;
  const float* packed_;
  const T* residual_;
  T* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  const bool pads_;
  const Isa isa_;
};

}  // namespace

bool can_block(const ConvShape& shape) {
  return shape.rank == 2 && (shape.groups == 1 || (shape.groups == shape.channels && shape.groups == shape.filters));
}

BlockedMethod blocked_method(const ConvShape& shape, bool plain_input, bool allow_winograd, Precision precision) {
  if (shape.groups > 1) return BlockedMethod::kDepthwise;
  if (plain_input) return BlockedMethod::kPlain;
  return allow_winograd && winograd_tile(shape, precision) != 0 ? BlockedMethod::kWinograd : BlockedMethod::kDirect;
}

const char* name_of(BlockedMethod method) {
  switch (method) {
    case BlockedMethod::kPlain: return "blocked, plain input";
    case BlockedMethod::kDirect: return "blocked, direct";
    case BlockedMethod::kDepthwise: return "blocked, depthwise";
    case BlockedMethod::kWinograd: return "blocked, winograd";
  }
  return "unknown";
}

bool can_upsample(const ConvShape& shape) {
  for (int axis = 0; axis < 2; ++axis)
    if (shape.kernel[axis] != shape.stride[axis] || shape.dilation[axis] != 1 || shape.pad_begin[axis] != 0 ||
        shape.pad_end[axis] != 0 || shape.in[axis] != shape.out[axis] * shape.stride[axis])
      return false;
  return shape.rank == 2 && shape.groups == 1;
}

template <typename T>
void blocked_upsample(const ConvShape& s, const T* x, const float* packed, T* y, const Epilogue& epilogue, Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_upsample(s));
  constexpr int64_t kInWord = sizeof(float) / sizeof(T);
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const FilterTail tail = filter_tail(epilogue, isa, precision_of<T>);
  const int64_t block = kernel.block, taps = s.kernel_size();
  const int64_t in_blocks = ceil_div(s.filters, block), out_blocks = ceil_div(s.channels, block);
  const int64_t groups = ceil_div(out_blocks, kTileFilters);
  const int64_t depth = in_blocks * block / kInWord, size = out_blocks * block * depth;
  // A task makes the outputs of one row of inputs for a group of channels.
  const int64_t work = s.out[1] * s.filters * kTileFilters * block * taps;
  parallel_for(s.batch * groups * s.out[0], std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task % s.out[0], first = task / s.out[0] % groups * kTileFilters;
      const int64_t image = task / s.out[0] / groups;
      const int64_t blocks = std::min(kTileFilters, out_blocks - first);
      BlockedTileOf<T> tile;
      tile.x = x + (image * in_blocks * s.out[0] + row) * s.out[1] * block;
      tile.x_step = block;
      tile.y_step = s.in_size() * block;
      tile.y_pixel = s.stride[1] * block;
      tile.bias = epilogue.row_bias ? epilogue.row_bias + first * block : nullptr;
      tile.tail = &tail;
      tile.window.blocks = in_blocks;
      tile.window.x_block = s.out_size() * block;
      tile.window.w_block = block / kInWord * blocks * block;
      tile.window.length = block;
      tile.window.last_length = s.filters - (in_blocks - 1) * block;
      T* to = y + (image * out_blocks + first) * tile.y_step + row * s.stride[0] * s.in[1] * block;
      for (int64_t tap = 0; tap < taps; ++tap) {
        tile.weights = packed + tap * size + first * block * depth;
        tile.y = to + (tap / s.kernel[1] * s.in[1] + tap % s.kernel[1]) * block;
        run_tiles(kernel, tile, blocks, s.out[1]);
      }
    }
  });
}

template <typename T>
void blocked_conv(const ConvShape& given, BlockedMethod method, const void* x, const float* packed, const T* residual,
                  T* y, const Epilogue& epilogue, Isa isa) {
  const ConvShape shape = lay_down(given);
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_block(shape));
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  const T* blocks = static_cast<const T*>(x);
  switch (method) {
    case BlockedMethod::kPlain:
      if constexpr (std::is_same_v<T, BFloat16>)
        return padded_conv_bf16(shape, static_cast<const float*>(x), packed, residual, y, epilogue, isa);
      else return Direct<T>(shape, true, blocks, packed, residual, y, epilogue, isa).run();
    case BlockedMethod::kDirect:
      if constexpr (std::is_same_v<T, BFloat16>) {
        if (reaches_outside(shape)) return padded_conv_bf16(shape, blocks, packed, residual, y, epilogue, isa);
      }
      return Direct<T>(shape, false, blocks, packed, residual, y, epilogue, isa).run();
    case BlockedMethod::kDepthwise: return blocked_depthwise(shape, blocks, packed, residual, y, epilogue, isa);
    case BlockedMethod::kWinograd: return winograd<T>(shape, blocks, packed, residual, y, epilogue, isa);
  }
}

template void blocked_conv(const ConvShape&, BlockedMethod, const void*, const float*, const float*, float*,
                           const Epilogue&, Isa);
template void blocked_conv(const ConvShape&, BlockedMethod, const void*, const float*, const BFloat16*, BFloat16*,
                           const Epilogue&, Isa);
template void blocked_upsample(const ConvShape&, const float*, const float*, float*, const Epilogue&, Isa);
template void blocked_upsample(const ConvShape&, const BFloat16*, const float*, BFloat16*, const Epilogue&, Isa);

}  // namespace sx
