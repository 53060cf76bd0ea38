// 8-bit channel-blocked convolution: windows over bands of the input, padded in a copy where padding counts.
#include "kernels/conv/blocked_bytes.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_number.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked_tasks.h"
#include "kernels/conv/winograd_bytes.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 800'000;       // multiply-adds worth a task
constexpr int64_t kLeastDepthwise = 200'000;  // the same of a depthwise convolution
constexpr int64_t kQuadBytes = 96 << 10;      // quads that a depthwise task works on
constexpr int64_t kCopyGrain = 65536;         // bytes of a copy worth a task
constexpr int64_t kSlack = 64;                // bytes past the end that whole words and vectors touch
constexpr int64_t kFlatTiles = 8;             // tiles in a row where rows do not matter
constexpr int64_t kQuad = 4;
constexpr int64_t kLeastAhead = 64;  // words of a window whose weights are worth asking for ahead of time
constexpr int64_t kGroupsAhead = 2;  // of filters, at most, whose weights are asked for

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The input that a range of outputs along an axis reads: [begin, end), maybe from before the data or past it.
struct Reach {
  int64_t begin, end;
  Reach(const ConvShape& s, int axis, int64_t first, int64_t last)
      : begin(first * s.stride[axis] - s.pad_begin[axis]),
        end((last - 1) * s.stride[axis] - s.pad_begin[axis] + s.dilation[axis] * (s.kernel[axis] - 1) + 1) {}
  int64_t size() const { return end - begin; }
};

// One row of input, `pixel` bytes for each place, with padding.
void copy_row(const uint8_t* x, int64_t extent, int64_t pixel, const Reach& reach, uint8_t fill, uint8_t* y) {
  const int64_t before = std::clamp<int64_t>(-reach.begin, 0, reach.size());
  const int64_t first = std::clamp<int64_t>(reach.begin, 0, extent),
                last = std::clamp<int64_t>(reach.end, first, extent);
  const int64_t behind = reach.size() - before - (last - first);
  std::memset(y, fill, static_cast<size_t>(before * pixel));
  std::memcpy(y + before * pixel, x + first * pixel, static_cast<size_t>((last - first) * pixel));
  std::memset(y + (before + last - first) * pixel, fill, static_cast<size_t>(behind * pixel));
}

// Whether a window is one pixel of data.
bool takes_single_pixels(const ConvShape& s) {
  for (int axis = 0; axis < 2; ++axis)
    if (s.kernel[axis] != 1 || s.pad_begin[axis] != 0 || (s.out[axis] - 1) * s.stride[axis] >= s.in[axis]) return false;
  return true;
}

// Bytes past the end are flipped, too.
void flip(uint8_t* begin, const uint8_t* end, uint8_t by) {
  const uint64_t flips = by * UINT64_C(0x0101010101010101);
  for (uint8_t* p = begin; p < end; p += sizeof(uint64_t)) {
    uint64_t bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    bytes ^= flips;
    std::memcpy(p, &bytes, sizeof(bytes));
  }
}

class Direct {
 public:
  Direct(const BlockedBytesConv& problem, const ConvShape& shape, Isa isa)
      : problem_(problem),
        shape_(shape),
        kernel_(bytes_kernel(isa)),
        plain_(problem.method == BlockedMethod::kPlain),
        in_blocks_(plain_ ? shape_.channels : ceil_div(shape_.channels, kernel_.block)),
        pixel_(plain_ ? 1 : kernel_.block),
        blocks_(ceil_div(shape_.filters, kernel_.block)),
        columns_(shape_, 1, 0, shape_.out[1]) {
    const bool pointwise = !plain_ && is_pointwise(shape_);
    gathers_ = !plain_ && !pointwise && shape_.out[1] < kernel_.most && takes_single_pixels(shape_);
    if (pointwise || gathers_) {
      // Rows of a 1 x 1 kernel may be cut anywhere.
      flat_ = shape_.out_size();
      row_length_ = std::min<int64_t>(flat_, kFlatTiles * kernel_.most);
      rows_ = ceil_div(flat_, row_length_);
    } else {
      row_length_ = shape_.out[1];
      rows_ = shape_.out[0];
    }
    const Reach rows(shape_, 0, 0, shape_.out[0]);
    copies_ = plain_ || rows.begin < 0 || rows.end > shape_.in[0] || columns_.begin < 0 || columns_.end > shape_.in[1];
    BytesWindow& w = window_;
    w.blocks = in_blocks_;
    w.rows = shape_.kernel[0];
    w.columns = plain_ ? ceil_div(shape_.kernel[1], kQuad) : shape_.kernel[1];
    w.x_column = plain_ ? kQuad : shape_.dilation[1] * pixel_;
    w.length = plain_ ? 1 : kernel_.block / kQuad;
    w.last_length = plain_ ? 1 : ceil_div(shape_.channels - (in_blocks_ - 1) * kernel_.block, kQuad);
    words_ = in_blocks_ * w.rows * w.columns * w.length;
    depth_ = words_ * kernel_.parts;
  }

  void run() {
    const ConvShape& s = shape_;
    for_each_band(s, {rows_, row_length_, in_blocks_ * pixel_, ceil_div(blocks_, kBytesTileFilters), kLeastWork},
                  [&](int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) {
                    run_band(image, row_begin, row_end, group_begin, group_end);
                  });
  }

 private:
  void run_band(int64_t image, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) {
    const ConvShape& s = shape_;
    const uint8_t* x = problem_.x + image * in_blocks_ * s.in_size() * pixel_;
    int64_t plane = s.in_size(), width = s.in[1], first_row = 0, first_position = 0;
    if (gathers_) {
      const int64_t first = row_begin * row_length_, last = std::min(flat_, row_end * row_length_);
      plane = last - first;
      first_position = first;
      x = held_band(image, row_begin, row_end, [&] { return gather(x, first, last); });
    } else if (copies_) {
      const Reach rows(s, 0, row_begin, row_end);
      width = columns_.size();
      plane = rows.size() * width;
      first_row = row_begin;
      x = held_band(image, row_begin, row_end, [&] { return copy_band(x, rows); });
    }
    for (int64_t group = group_begin; group < group_end; ++group) {
      const int64_t block = group * kBytesTileFilters, blocks = std::min(kBytesTileFilters, blocks_ - block);
      BytesTile tile;
      tile.window = window_;
      tile.window.x_block = plane * pixel_;
      tile.window.x_row = s.dilation[0] * width * pixel_;
      tile.window.w_column = window_.length * kernel_.parts * blocks * kernel_.block;
      tile.window.w_row = window_.columns * tile.window.w_column;
      tile.window.w_block = window_.rows * tile.window.w_row;
      tile.weights = problem_.packed + block * kernel_.block * depth_;
      tile.starts = problem_.starts + block * kernel_.block;
      tile.scales = problem_.scales + block * kernel_.block;
      tile.x_step = (flat_ > 0 ? 1 : s.stride[1]) * pixel_;
      tile.y_step = s.out_size() * kernel_.block;
      tile.tail = &problem_.tail;
      // The weights of the next groups, for this task or its neighbour, come near while this one's are worked with.
      const int32_t* next = tile.weights + blocks * kernel_.block * depth_;
      const int64_t soon =
          words_ < kLeastAhead ? 0 : std::min(kGroupsAhead * kBytesTileFilters, blocks_ - block - blocks);
      const int64_t lines = soon * kernel_.block * depth_ / kWordsOfLine;
      const int64_t to = (image * blocks_ + block) * tile.y_step;
      for (int64_t row = row_begin; row < row_end; ++row) {
        const int64_t at = row * row_length_;
        tile.x = x + (flat_ > 0 ? at - first_position : (row - first_row) * s.stride[0] * width) * pixel_;
        tile.y = problem_.y + to + at * kernel_.block;
        tile.residual = problem_.residual ? problem_.residual + to + at * kernel_.block : nullptr;
        // Each tile asks for as many lines as it has words.
        const int64_t asked = std::min(lines, (row - row_begin) * ceil_div(row_length_, kernel_.most) * words_);
        tile.ahead = next + asked * kWordsOfLine;
        tile.ahead_lines = lines - asked;
        run_tiles(kernel_, tile, blocks, flat_ > 0 ? std::min(row_length_, flat_ - at) : row_length_);
      }
    }
  }

  // A band as a thread's last task copied it, if that is the one, or as `copy` gives it.
  template <typename Copy>
  const uint8_t* held_band(int64_t image, int64_t row_begin, int64_t row_end, const Copy& copy) {
    const int thread = thread_number();
    if (thread >= kHolders) return copy();
    Held& held = held_[thread];
    if (!held.x || held.image != image || held.row_begin != row_begin || held.row_end != row_end)
      held = {image, row_begin, row_end, copy()};
    return held.x;
  }

  // The pixels that outputs [first, last) of a strided 1 x 1 kernel read, side by side.
  const uint8_t* gather(const uint8_t* x, int64_t first, int64_t last) const {
    const int64_t bytes = checked_mul(checked_mul(in_blocks_, last - first), pixel_);
    auto* copy =
        static_cast<uint8_t*>(thread_scratch(ScratchSlot::kImage, static_cast<size_t>(checked_add(bytes, kSlack))));
    uint8_t* to = copy;
    for (int64_t block = 0; block < in_blocks_; ++block) {
      const uint8_t* from = x + block * shape_.in_size() * pixel_;
      int64_t row = first / shape_.out[1], column = first % shape_.out[1];
      for (int64_t at = first; at < last; ++at, to += pixel_) {
        const uint8_t* pixel = from + (row * shape_.stride[0] * shape_.in[1] + column * shape_.stride[1]) * pixel_;
        for (int64_t i = 0; i < pixel_; i += kQuad) std::memcpy(to + i, pixel + i, kQuad);
        if (++column == shape_.out[1]) ++row, column = 0;
      }
    }
    return copy;
  }

  const uint8_t* copy_band(const uint8_t* x, const Reach& rows) const {
    const int64_t row_bytes = checked_mul(columns_.size(), pixel_);
    const int64_t bytes = checked_mul(checked_mul(in_blocks_, rows.size()), row_bytes);
    auto* copy =
        static_cast<uint8_t*>(thread_scratch(ScratchSlot::kImage, static_cast<size_t>(checked_add(bytes, kSlack))));
    uint8_t* to = copy;
    for (int64_t block = 0; block < in_blocks_; ++block) {
      const uint8_t* from = x + block * shape_.in_size() * pixel_;
      for (int64_t row = rows.begin; row < rows.end; ++row, to += row_bytes) {
        if (row < 0 || row >= shape_.in[0])
          std::memset(to, problem_.x_zero ^ problem_.x_flip, static_cast<size_t>(row_bytes));
        else
          copy_row(from + row * shape_.in[1] * pixel_, shape_.in[1], pixel_, columns_,
                   problem_.x_zero ^ problem_.x_flip, to);
      }
    }
    if (problem_.x_flip != 0) flip(copy, to, problem_.x_flip);
    // Words of plain input that reach past the end meet weights of 0.
    std::memset(to, 0, kSlack);
    return copy;
  }

  // In the thread's scratch, which tasks of one run leave alone otherwise.
  struct Held {
    int64_t image = 0, row_begin = 0, row_end = 0;
    const uint8_t* x = nullptr;
  };
  static constexpr int kHolders = 64;

  const BlockedBytesConv& problem_;
  const ConvShape& shape_;
  const BytesKernel& kernel_;
  const bool plain_;
  const int64_t in_blocks_;  // of channels, or the channels themselves where the input is plain
  const int64_t pixel_;      // bytes between neighbouring inputs
  const int64_t blocks_;     // of filters
  const Reach columns_;
  BytesWindow window_;  // but for what depends on where the input lies and on the tile
  bool copies_;
  bool gathers_;
  int64_t flat_ = 0;  // all outputs, where rows do not matter
  int64_t row_length_, rows_;
  int64_t words_;        // of data under a window
  int64_t depth_;        // words that a filter's weights take
  Held held_[kHolders];  // by thread
};

void depthwise(const BlockedBytesConv& problem, const ConvShape& s, Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t block = kernel.block, blocks = ceil_div(s.channels, block);
  const Reach columns(s, 1, 0, s.out[1]);
  BytesDepthwise shared;
  shared.rows = s.kernel[0];
  shared.groups = ceil_div(s.kernel[1], kQuad);
  shared.tail = &problem.tail;
  // Quads begin at every `step`th pixel, which all that are asked for do.
  const int64_t between = kQuad * s.dilation[1];
  const int64_t step = shared.groups == 1 ? s.stride[1] : std::gcd(s.stride[1], between);
  const int64_t count = ((s.out[1] - 1) * s.stride[1] + (shared.groups - 1) * between) / step + 1;
  shared.quad_step = s.stride[1] / step * block;
  shared.quad_group = between / step * block;
  const int64_t quads_of_row = checked_mul(count, block);
  const BytesQuads making = {columns.begin, step, s.dilation[1], count, problem.x_zero};
  // What of the quads is data, for rows of data and for those of padding.
  auto* masks = static_cast<uint16_t*>(thread_scratch(ScratchSlot::kImage, static_cast<size_t>(4 * count)));
  for (int64_t i = 0; i < count; ++i) {
    masks[i] = masks[count + i] = 0;
    for (int64_t k = 0; k < kQuad; ++k) {
      const int64_t pixel = columns.begin + i * step + k * s.dilation[1];
      if (pixel >= 0 && pixel < s.in[1]) masks[i] |= static_cast<uint16_t>(0xf << (4 * k));
    }
  }
  const int64_t band =
      std::clamp<int64_t>(kQuadBytes / checked_mul(checked_mul(4, quads_of_row), s.stride[0]), 1, s.out[0]);
  const int64_t bands = ceil_div(s.out[0], band);
  const int64_t weights = s.kernel[0] * shared.groups * kernel.parts * block;
  const int64_t work = band * s.out[1] * s.kernel_size() * block;
  parallel_for(s.batch * blocks * bands, std::max<int64_t>(1, kLeastDepthwise / work), [&](int64_t begin, int64_t end) {
    BytesDepthwise task = shared;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t plane = item / bands, channels = plane % blocks * block;
      const int64_t first = item % bands * s.out[0] / bands, last = (item % bands + 1) * s.out[0] / bands;
      const Reach rows(s, 0, first, last);
      auto* quads = static_cast<int32_t*>(
          thread_scratch(ScratchSlot::kTile, static_cast<size_t>(checked_mul(rows.size(), 4 * quads_of_row))));
      const uint8_t* x = problem.x + plane * s.in_size() * block;
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const bool inside = row >= 0 && row < s.in[0];
        kernel.quads(making, inside ? x + row * s.in[1] * block : x, inside ? masks : masks + count,
                     quads + (row - rows.begin) * quads_of_row);
      }
      task.quad_row = s.dilation[0] * quads_of_row;
      task.weights = problem.packed + plane % blocks * weights;
      task.starts = problem.starts + channels;
      task.scales = problem.scales + channels;
      for (int64_t row = first; row < last; ++row) {
        const int64_t to = (plane * s.out[0] + row) * s.out[1] * block;
        task.quads = quads + (row - first) * s.stride[0] * quads_of_row;
        task.y = problem.y + to;
        task.residual = problem.residual ? problem.residual + to : nullptr;
        kernel.depthwise(task, s.out[1]);
      }
    }
  });
}

// Puts a weight where a kernel finds it: byte or 16-bit number `lane` of the words for lane `filter` of `width`.
void put(const BytesKernel& kernel, int32_t* words, int64_t width, int64_t filter, int64_t lane, int16_t weight) {
  const uint32_t bits = static_cast<uint16_t>(weight);
  const int64_t part = kernel.parts == 1 ? 0 : lane % 2;
  const uint32_t shifted = kernel.parts == 1 ? (bits & 0xff) << (8 * lane) : bits << (lane / 2 * 16);
  int32_t& word = words[part * width + filter];
  word = static_cast<int32_t>(static_cast<uint32_t>(word) | shifted);
}

}  // namespace

void bytes_to_blocks(const uint8_t* x, int64_t batch, int64_t channels, int64_t size, uint8_t flip, uint8_t* y,
                     Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.to_block(x + (item / blocks * channels + first) * size, size,
                                   static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size, flip,
                                   y + item * size * kernel.block);
                 }
               });
}

void bytes_from_blocks(const uint8_t* x, int64_t batch, int64_t channels, int64_t size, uint8_t flip, uint8_t* y,
                       Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.from_block(x + item * size * kernel.block, size,
                                     static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size, flip,
                                     y + (item / blocks * channels + first) * size);
                 }
               });
}

BlockedMethod blocked_bytes_method(const ConvShape& shape, bool plain_input, bool fits_winograd, Isa isa) {
  const BlockedMethod method = blocked_method(shape, plain_input, false);
  return method == BlockedMethod::kDirect && fits_winograd && winograd_bytes_pays(shape, isa) ? BlockedMethod::kWinograd
                                                                                              : method;
}

int64_t packed_blocked_bytes_size(const ConvShape& given, BlockedMethod method, Isa isa) {
  if (method == BlockedMethod::kWinograd) return packed_winograd_bytes_size(given, isa);
  const ConvShape shape = lay_down(given);
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t filters = checked_mul(ceil_div(shape.filters, kernel.block) * kernel.block, kernel.parts);
  const int64_t quads = checked_mul(shape.kernel[0], ceil_div(shape.kernel[1], kQuad));
  if (method == BlockedMethod::kDepthwise) return checked_mul(filters, quads);
  if (method == BlockedMethod::kPlain) return checked_mul(checked_mul(filters, shape.channels), quads);
  const int64_t words = ceil_div(shape.channels, kernel.block) * (kernel.block / kQuad);
  return checked_mul(checked_mul(filters, words), shape.kernel_size());
}

void pack_blocked_bytes(const ConvShape& given, BlockedMethod method, const int16_t* weights, int32_t* packed,
                        Isa isa) {
  if (method == BlockedMethod::kWinograd) return pack_winograd_bytes(given, weights, packed, isa);
  const ConvShape shape = lay_down(given);
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t block = kernel.block, taps = shape.kernel_size(), columns = shape.kernel[1];
  const int64_t quads = shape.kernel[0] * ceil_div(columns, kQuad);
  std::fill_n(packed, packed_blocked_bytes_size(shape, method, isa), 0);
  // The word of a tap where words hold neighbours along a row.
  const auto quad_of = [&](int64_t tap) { return tap / columns * ceil_div(columns, kQuad) + tap % columns / kQuad; };
  if (method == BlockedMethod::kDepthwise) {
    for (int64_t c = 0; c < shape.channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        put(kernel, packed + (c / block * quads + quad_of(tap)) * kernel.parts * block, block, c % block,
            tap % columns % kQuad, weights[c * taps + tap]);
    return;
  }
  const bool plain = method == BlockedMethod::kPlain;
  const int64_t words = block / kQuad;  // of a pixel
  const int64_t depth = plain ? shape.channels * quads : ceil_div(shape.channels, block) * taps * words;
  const int64_t all = ceil_div(shape.filters, block) * block, width = kBytesTileFilters * block;
  parallel_for(ceil_div(all, width), 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * width, group_width = std::min(width, all - first);
      int32_t* to = packed + first * depth * kernel.parts;
      for (int64_t f = 0; f < std::min(group_width, shape.filters - first); ++f) {
        const int16_t* from = weights + (first + f) * shape.channels * taps;
        for (int64_t c = 0; c < shape.channels; ++c) {
          for (int64_t tap = 0; tap < taps; ++tap) {
            const int64_t word =
                plain ? c * quads + quad_of(tap) : (c / block * taps + tap) * words + c % block / kQuad;
            put(kernel, to + word * kernel.parts * group_width, group_width, f,
                plain ? tap % columns % kQuad : c % kQuad, from[c * taps + tap]);
          }
        }
      }
    }
  });
}

void blocked_bytes_conv(const BlockedBytesConv& problem, Isa isa) {
  const ConvShape shape = lay_down(problem.shape);
  SX_ASSERT(can_block(shape) && (problem.method != BlockedMethod::kPlain || shape.dilation[1] == 1));
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  if (problem.method == BlockedMethod::kWinograd) return winograd_bytes(problem, isa);
  if (problem.method == BlockedMethod::kDepthwise) return depthwise(problem, shape, isa);
  Direct(problem, shape, isa).run();
}

void maximum_of_bytes(const BlockedPool& pool, int64_t planes, const uint8_t* x, uint8_t* y, Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t block = kernel.block;
  // Outputs along the row whose tap lies in the data.
  const auto first_output = [&](int64_t tap) {
    const int64_t before = pool.pad_begin[1] - tap * pool.dilation[1];
    return before <= 0 ? int64_t{0} : std::min(pool.out[1], ceil_div(before, pool.stride[1]));
  };
  const auto last_output = [&](int64_t tap, int64_t first) {
    const int64_t room = pool.in[1] + pool.pad_begin[1] - tap * pool.dilation[1];
    return std::clamp(room <= 0 ? 0 : ceil_div(room, pool.stride[1]), first, pool.out[1]);
  };
  const auto join_taps = [&](const uint8_t* from, uint8_t* to) {
    for (int64_t tap = 0; tap < pool.kernel[1]; ++tap) {
      const int64_t first = first_output(tap), last = last_output(tap, first);
      if (first == last) continue;
      const int64_t column = first * pool.stride[1] - pool.pad_begin[1] + tap * pool.dilation[1];
      kernel.maximum(from + column * block, pool.stride[1] * block, to + first * block, last - first);
    }
  };
  const auto join_windows = [&](const uint8_t* from, uint8_t* to) {
    for (int64_t column = 0; column < pool.out[1]; ++column) {
      const PoolTaps taps = pool_taps(pool, 1, column);
      for (int64_t tap = taps.first; tap < taps.last; ++tap)
        kernel.maximum(from + (taps.start + tap * pool.dilation[1]) * block, block, to + column * block, 1);
    }
  };
  const int64_t row_work = pool.out[1] * std::clamp<int64_t>(pool.in[0], 1, pool.kernel[0]) *
                           std::clamp<int64_t>(pool.in[1], 1, pool.kernel[1]);
  parallel_for(planes * pool.out[0], std::max<int64_t>(1, 8192 / row_work), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      uint8_t* to = y + item * pool.out[1] * block;
      std::memset(to, 0, static_cast<size_t>(pool.out[1] * block));
      const PoolTaps rows = pool_taps(pool, 0, item % pool.out[0]);
      for (int64_t tap = rows.first; tap < rows.last; ++tap) {
        const int64_t row = rows.start + tap * pool.dilation[0];
        const uint8_t* from = x + (item / pool.out[0] * pool.in[0] + row) * pool.in[1] * block;
        if (pool.kernel[1] > pool.in[1]) join_windows(from, to);
        else join_taps(from, to);
      }
    }
  });
}

void map_bytes(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t n, Isa isa) {
  bytes_kernel(isa).map(table, x, y, n);
}

void sum_pixels(const uint8_t* x, int64_t pixels, int64_t* sums, Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  constexpr int64_t kMost = 1 << 22;  // whose sum fits 32 bits
  std::fill_n(sums, kernel.block, 0);
  for (int64_t at = 0; at < pixels; at += kMost) {
    int32_t part[kMostBlock];
    kernel.sum(x + at * kernel.block, std::min(kMost, pixels - at), part);
    for (int c = 0; c < kernel.block; ++c) sums[c] += part[c];
  }
}

int64_t sum_bytes(const uint8_t* x, int64_t n, bool is_signed) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += is_signed ? static_cast<int8_t>(x[i]) : x[i];
  return sum;
}

void scale_bytes(const BytesScale& how, const uint8_t* x, const uint8_t* factors, int64_t planes, int64_t size,
                 uint8_t* y, Isa isa) {
  const BytesKernel& kernel = bytes_kernel(isa);
  const int64_t block = kernel.block;
  parallel_for(planes, std::max<int64_t>(1, kCopyGrain / (size * block + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      kernel.scale(how, x + plane * size * block, factors + plane * block, y + plane * size * block, size);
  });
}

}  // namespace sx
