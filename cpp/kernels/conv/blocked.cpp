// Convolution of channel-blocked data: outputs in tiles of pixels by blocks of filters, rows of them shared out.
#include "kernels/conv/blocked.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/blocked_tasks.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;  // multiply-adds worth a task
constexpr int64_t kCopyGrain = 32768;    // elements of a copy worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

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

// The geometry of a direct convolution.
struct Layout {
  ConvShape shape;
  int64_t block;
  bool plain;
  int64_t in_blocks;  // of channels, or the channels themselves where the input is plain
  int64_t pixel;      // floats between neighbouring inputs
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
  // Those taps, each of whose inputs meets `width` weights.
  BlockedWindow window(Taps rows, Taps columns, int64_t width) const {
    BlockedWindow taps;
    taps.blocks = in_blocks;
    taps.rows = rows.last - rows.first;
    taps.columns = columns.last - columns.first;
    taps.x_block = shape.in_size() * pixel;
    taps.x_row = shape.dilation[0] * shape.in[1] * pixel;
    taps.x_column = shape.dilation[1] * pixel;
    taps.w_column = (plain ? 1 : block) * width;
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

class Direct {
 public:
  Direct(const ConvShape& shape, bool plain, const float* x, const float* packed, float* y, const Epilogue& epilogue,
         Isa isa)
      : layout_(shape, plain, isa),
        kernel_(blocked_kernel(isa)),
        x_(x),
        packed_(packed),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa)),
        pads_(plain && is_padded_little(shape)),
        isa_(isa) {}

  void run() {
    const ConvShape& s = layout_.shape;
    const int64_t blocks = ceil_div(s.filters, layout_.block), width = kTileFilters * layout_.block;
    if (!layout_.plain && is_pointwise(s)) {
      // Rows of a 1 x 1 kernel may be cut anywhere.
      const FlatTasks tasks = {s.batch, s.out_size(), kernel_.sizes[0], blocks * layout_.block, width, s.channels};
      for_each_flat_band(tasks, [&](int64_t image, int64_t begin, int64_t end, int64_t group, int64_t group_end) {
        for (; group < group_end; ++group) flat_outputs(rows_of(image, group), begin, end);
      });
      return;
    }
    const int64_t pixel_bytes = 4 * layout_.in_blocks * layout_.pixel;
    for_each_band(s, {s.out[0], s.out[1], pixel_bytes, ceil_div(blocks, kTileFilters), kLeastWork},
                  [&](int64_t image, int64_t row_begin, int64_t row_end, int64_t group, int64_t group_end) {
                    run_rows(image, row_begin, row_end, group, group_end);
                  });
  }

 private:
  // What the rows of one group of filters have in common.
  struct Rows {
    BlockedTile tile;
    int64_t blocks;        // of filters
    const float* weights;  // of the group
    int64_t y;             // of the first output
    const float* x;
  };

  Rows rows_of(int64_t image, int64_t group) const {
    const ConvShape& s = layout_.shape;
    const int64_t blocks = ceil_div(s.filters, layout_.block), first = group * kTileFilters;
    const int64_t depth = round_up(s.channels, layout_.plain ? 1 : layout_.block) * s.kernel_size();
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

  // The plain rows under the windows of some rows of outputs with their padding, so that all windows are whole: most
  // of the short rows of small images would be borders.
  struct Padded {
    const float* x;    // [channel][row][column]
    int64_t row_step;  // between outputs
    Layout layout;
  };
  Padded pad_rows(int64_t image, int64_t row_begin, int64_t row_end) const {
    ConvShape part = layout_.shape;
    part.out[0] = row_end - row_begin;
    for (int axis = 0; axis < 2; ++axis) {
      part.in[axis] = (part.out[axis] - 1) * part.stride[axis] + (part.kernel[axis] - 1) * part.dilation[axis] + 1;
      part.pad_begin[axis] = part.pad_end[axis] = 0;
    }
    const ConvShape& s = layout_.shape;
    const int64_t width = part.in[1], left = std::min(s.pad_begin[1], width), inside = std::min(s.in[1], width - left);
    const int64_t top = row_begin * s.stride[0] - s.pad_begin[0];
    auto* copy = static_cast<float*>(
        thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(s.channels * part.in_size()) * sizeof(float)));
    float* to = copy;
    for (int64_t c = 0; c < s.channels; ++c) {
      const float* from = x_ + (image * s.channels + c) * s.in_size();
      for (int64_t row = top; row < top + part.in[0]; ++row, to += width) {
        if (row < 0 || row >= s.in[0]) {
          std::fill_n(to, width, 0.0f);
          continue;
        }
        std::fill_n(to, left, 0.0f);
        std::copy_n(from + row * s.in[1], inside, to + left);
        std::fill(to + left + inside, to + width, 0.0f);
      }
    }
    return {copy, s.stride[0] * width, Layout(part, true, isa_)};
  }

  void run_rows(int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) const {
    const ConvShape& s = layout_.shape;
    std::optional<Padded> padded;
    if (pads_) padded.emplace(pad_rows(image, row_begin, row_end));
    for (int64_t group = group_begin; group < group_end; ++group) {
      Rows rows = rows_of(image, group);
      if (pads_) {
        rows.x = padded->x;
        rows.tile.x_step = s.stride[1];
        rows.tile.weights = rows.weights;
        rows.tile.window = padded->layout.window({0, s.kernel[0]}, {0, s.kernel[1]}, rows.blocks * layout_.block);
        for (int64_t row = row_begin; row < row_end; ++row)
          outputs(rows, (row - row_begin) * padded->row_step, row * s.out[1], s.out[1]);
        continue;
      }
      for (int64_t row = row_begin; row < row_end; ++row) window_row(rows, row);
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
    BlockedTile& tile = rows.tile;
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
    rows.tile.residual = epilogue_.residual ? epilogue_.residual + to : nullptr;
    run_tiles(kernel_, rows.tile, rows.blocks, count);
  }

  const Layout layout_;
  const BlockedKernel& kernel_;
  const float* x_;
  const float* packed_;
  float* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  const bool pads_;
  const Isa isa_;
};

}  // namespace

int64_t channel_block(Isa isa) { return blocked_kernel(isa).block; }

void to_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.to_block(x + (item / blocks * channels + first) * size, size,
                                   static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size,
                                   y + item * size * kernel.block);
                 }
               });
}

void from_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.from_block(x + item * size * kernel.block, size,
                                     static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size,
                                     y + (item / blocks * channels + first) * size);
                 }
               });
}

void to_blocks_from_last(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const int64_t block = channel_block(isa), blocks = ceil_div(channels, block);
  parallel_for(batch * size, std::max<int64_t>(1, kCopyGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t count = std::min(block, channels - b * block);
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        float* to = y + ((pixel / size * blocks + b) * size + pixel % size) * block;
        std::memcpy(to, x + pixel * channels + b * block, static_cast<size_t>(count) * sizeof(float));
        std::fill(to + count, to + block, 0.0f);
      }
    }
  });
}

void from_blocks_to_last(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const int64_t block = channel_block(isa), blocks = ceil_div(channels, block);
  parallel_for(batch * size, std::max<int64_t>(1, kCopyGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < blocks; ++b) {
      const auto bytes = static_cast<size_t>(std::min(block, channels - b * block)) * sizeof(float);
      for (int64_t pixel = begin; pixel < end; ++pixel)
        std::memcpy(y + pixel * channels + b * block, x + ((pixel / size * blocks + b) * size + pixel % size) * block,
                    bytes);
    }
  });
}

bool can_block(const ConvShape& shape) {
  return shape.rank == 2 && (shape.groups == 1 || (shape.groups == shape.channels && shape.groups == shape.filters));
}

BlockedMethod blocked_method(const ConvShape& shape, bool plain_input, bool allow_winograd) {
  if (shape.groups > 1) return BlockedMethod::kDepthwise;
  if (plain_input) return BlockedMethod::kPlain;
  return allow_winograd && winograd_tile(shape) != 0 ? BlockedMethod::kWinograd : BlockedMethod::kDirect;
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

int64_t packed_blocked_size(const ConvShape& shape, BlockedMethod method, Isa isa) {
  const int64_t block = channel_block(isa);
  const int64_t filters = ceil_div(shape.filters, block) * block;
  if (method == BlockedMethod::kDepthwise) return checked_mul(filters, shape.kernel_size());
  if (method == BlockedMethod::kWinograd) return packed_winograd_size(shape, isa);
  const int64_t depth = round_up(shape.channels, method == BlockedMethod::kPlain ? 1 : block);
  return checked_mul(checked_mul(filters, depth), shape.kernel_size());
}

void pack_blocked(const ConvShape& shape, BlockedMethod method, const float* weights, float* packed, Isa isa) {
  const int64_t block = channel_block(isa), taps = shape.kernel_size();
  if (method == BlockedMethod::kWinograd) return pack_winograd(shape, weights, packed, isa);
  if (method == BlockedMethod::kDepthwise) {
    std::fill_n(packed, packed_blocked_size(shape, method, isa), 0.0f);
    for (int64_t c = 0; c < shape.channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        packed[(c / block * taps + tap) * block + c % block] = weights[c * taps + tap];
    return;
  }
  pack_blocked_filters(shape.filters, shape.channels, taps, method == BlockedMethod::kPlain ? 1 : block, weights,
                       packed, isa);
}

void pack_blocked_filters(int64_t filters, int64_t channels, int64_t taps, int64_t depth, const float* weights,
                          float* packed, Isa isa) {
  // [group of filters][block of channels][tap][channel][filter of the group]
  constexpr int64_t kPiece = 2048, kStrip = 64;  // weights of a filter: for a thread at a time, in the cache at a time
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t block = kernel.block, width = kTileFilters * block;
  const int64_t padded = round_up(channels, depth);
  const int64_t all = round_up(filters, block);
  const int64_t row = channels * taps, pieces = std::max<int64_t>(1, ceil_div(row, kPiece));
  const auto place = [&](int64_t c, int64_t tap) { return (c / depth * taps + tap) * depth + c % depth; };
  parallel_for(ceil_div(filters, width) * pieces, 1, [&](int64_t begin, int64_t end) {
    float turned[kStrip * kMaxBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / pieces * width, piece = item % pieces;
      const int64_t group_width = std::min(width, all - first);
      float* to = packed + first * padded * taps;
      const int64_t piece_end = std::min(row, (piece + 1) * kPiece);
      for (int64_t from = piece * kPiece; from < piece_end; from += kStrip) {
        const int64_t count = std::min(kStrip, piece_end - from);
        for (int64_t f = 0; f < group_width; f += block) {
          kernel.to_block(weights + (first + f) * row + from, row,
                          static_cast<int>(std::min(block, filters - first - f)), count, turned);
          int64_t c = from / taps, tap = from % taps;
          for (int64_t i = 0; i < count; ++i) {
            copy_lanes(turned + i * block, block, to + place(c, tap) * group_width + f);
            if (++tap == taps) ++c, tap = 0;
          }
        }
      }
      if (piece + 1 < pieces) continue;
      for (int64_t c = channels; c < padded; ++c)
        for (int64_t tap = 0; tap < taps; ++tap) std::fill_n(to + place(c, tap) * group_width, group_width, 0.0f);
    }
  });
}

bool can_upsample(const ConvShape& shape) {
  for (int axis = 0; axis < 2; ++axis)
    if (shape.kernel[axis] != shape.stride[axis] || shape.dilation[axis] != 1 || shape.pad_begin[axis] != 0 ||
        shape.pad_end[axis] != 0 || shape.in[axis] != shape.out[axis] * shape.stride[axis])
      return false;
  return shape.rank == 2 && shape.groups == 1;
}

int64_t packed_upsample_size(const ConvShape& shape, Isa isa) {
  const int64_t block = channel_block(isa);
  return checked_mul(checked_mul(round_up(shape.channels, block), round_up(shape.filters, block)), shape.kernel_size());
}

void pack_upsample(const ConvShape& shape, const float* weights, float* packed, Isa isa) {
  const int64_t taps = shape.kernel_size(), size = packed_upsample_size(shape, isa) / taps;
  std::vector<float> of_tap(static_cast<size_t>(shape.channels * shape.filters));
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t c = 0; c < shape.channels; ++c)
      for (int64_t f = 0; f < shape.filters; ++f)
        of_tap[static_cast<size_t>(c * shape.filters + f)] = weights[(f * shape.channels + c) * taps + tap];
    pack_blocked_filters(shape.channels, shape.filters, 1, channel_block(isa), of_tap.data(), packed + tap * size, isa);
  }
}

void blocked_upsample(const ConvShape& s, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                      Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_upsample(s));
  const BlockedKernel& kernel = blocked_kernel(isa);
  const FilterTail tail = filter_tail(epilogue, isa);
  const int64_t block = kernel.block, taps = s.kernel_size();
  const int64_t in_blocks = ceil_div(s.filters, block), out_blocks = ceil_div(s.channels, block);
  const int64_t groups = ceil_div(out_blocks, kTileFilters);
  const int64_t depth = in_blocks * block, size = packed_upsample_size(s, isa) / taps;
  // A task makes the outputs of one row of inputs for a group of channels.
  const int64_t work = s.out[1] * s.filters * kTileFilters * block * taps;
  parallel_for(s.batch * groups * s.out[0], std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task % s.out[0], first = task / s.out[0] % groups * kTileFilters;
      const int64_t image = task / s.out[0] / groups;
      const int64_t blocks = std::min(kTileFilters, out_blocks - first);
      BlockedTile tile;
      tile.x = x + (image * in_blocks * s.out[0] + row) * s.out[1] * block;
      tile.x_step = block;
      tile.y_step = s.in_size() * block;
      tile.y_pixel = s.stride[1] * block;
      tile.bias = epilogue.row_bias ? epilogue.row_bias + first * block : nullptr;
      tile.tail = &tail;
      tile.window.blocks = in_blocks;
      tile.window.x_block = s.out_size() * block;
      tile.window.w_block = block * blocks * block;
      tile.window.length = block;
      tile.window.last_length = s.filters - (in_blocks - 1) * block;
      float* to = y + (image * out_blocks + first) * tile.y_step + row * s.stride[0] * s.in[1] * block;
      for (int64_t tap = 0; tap < taps; ++tap) {
        tile.weights = packed + tap * size + first * block * depth;
        tile.y = to + (tap / s.kernel[1] * s.in[1] + tap % s.kernel[1]) * block;
        run_tiles(kernel, tile, blocks, s.out[1]);
      }
    }
  });
}

void channel_moments(const float* x, int64_t planes, int64_t size, float* mean, float* squares, Isa isa) {
  const BlockedKernel& kernel = blocked_kernel(isa);
  parallel_for(planes, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      kernel.moments(x + plane * size * kernel.block, size, mean + plane * kernel.block,
                     squares + plane * kernel.block);
  });
}

void scale_block(const float* x, const float* scale, const float* shift, float* y, int64_t size,
                 const Epilogue& epilogue, Isa isa) {
  const FilterTail tail = filter_tail(epilogue, isa);
  blocked_kernel(isa).scale(x, scale, shift, y, size, tail);
}

void blocked_conv(const ConvShape& given, BlockedMethod method, const float* x, const float* packed, float* y,
                  const Epilogue& epilogue, Isa isa) {
  const ConvShape shape = lay_down(given);
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && can_block(shape));
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  switch (method) {
    case BlockedMethod::kPlain: return Direct(shape, true, x, packed, y, epilogue, isa).run();
    case BlockedMethod::kDirect: return Direct(shape, false, x, packed, y, epilogue, isa).run();
    case BlockedMethod::kDepthwise: return blocked_depthwise(shape, x, packed, y, epilogue, isa);
    case BlockedMethod::kWinograd: return winograd(shape, x, packed, y, epilogue, isa);
  }
}

}  // namespace sx
