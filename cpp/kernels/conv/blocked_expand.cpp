// Expansion and depthwise convolution: a task makes a band of rows of two blocks of channels, a strip at a time.
#include "kernels/conv/blocked_expand.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/blocked_kernel.h"

namespace sx {
namespace {

constexpr int64_t kStripBytes = 96 << 10;  // of what lies between the convolutions
constexpr int64_t kBandsPerThread = 4;
constexpr int64_t kActivatedTiles = 8;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
class Expand {
 public:
  Expand(const BlockedStage& expand, const BlockedStage& depthwise, const T* x, T* y, Isa isa)
      : expand_(expand),
        s_(lay_down(*depthwise.shape)),
        x_(x),
        y_(y),
        tiles_(blocked_kernel<T>(isa)),
        bands_(s_, depthwise.packed, *depthwise.epilogue, isa),
        expand_tail_(filter_tail(*expand.epilogue, isa, precision_of<T>)),
        block_(tiles_.block),
        in_blocks_(ceil_div(expand.shape->channels, block_)),
        blocks_(ceil_div(s_.channels, block_)),
        groups_(ceil_div(blocks_, kTileFilters)),
        row_(s_.in[1] * block_),
        span_(s_.dilation[0] * (s_.kernel[0] - 1) + 1) {
    const int64_t room = kStripBytes / (checked_mul(row_, kTileFilters) * static_cast<int64_t>(sizeof(T)));
    strip_ = std::clamp<int64_t>((room - span_) / s_.stride[0] + 1, 1, s_.out[0]);
    held_ = std::min(s_.in[0], (strip_ - 1) * s_.stride[0] + span_);
  }

  void run() const {
    const int64_t bands = count_bands();
    parallel_for(s_.batch * bands * groups_, 1, [&](int64_t begin, int64_t end) {
      const auto size = static_cast<size_t>(checked_mul(checked_mul(held_, row_), kTileFilters));
      T* between = static_cast<T*>(thread_scratch(ScratchSlot::kImage, size * sizeof(T)));
      for (int64_t task = begin; task < end; ++task) {
        const int64_t band = task / groups_ % bands;
        run_band(task / groups_ / bands, task % groups_ * kTileFilters, band * s_.out[0] / bands,
                 (band + 1) * s_.out[0] / bands, between);
      }
    });
  }

 private:
  // Each band makes its first rows of inputs anew: no more of them than keep the threads equally busy.
  int64_t count_bands() const {
    const int64_t threads = thread_count();
    int64_t best = 1, least = std::numeric_limits<int64_t>::max();
    for (int64_t bands = 1; bands <= std::min(s_.out[0], kBandsPerThread * threads); ++bands) {
      const int64_t rows = std::min(s_.in[0], (ceil_div(s_.out[0], bands) - 1) * s_.stride[0] + span_);
      const int64_t cost = ceil_div(s_.batch * bands * groups_, threads) * rows;
      if (cost < least) best = bands, least = cost;
    }
    return best;
  }

  void run_band(int64_t image, int64_t first, int64_t row_begin, int64_t row_end, T* between) const {
    const int64_t blocks = std::min(kTileFilters, blocks_ - first), plane = held_ * row_;
    const BlockedTileOf<T> tile = expansion(image, first, blocks, plane);
    int64_t made_begin = 0, made_end = 0;  // rows that `between` holds
    for (int64_t row = row_begin; row < row_end; row += strip_) {
      DepthwiseBand<T> band;
      band.row_begin = row;
      band.row_end = std::min(row_end, row + strip_);
      const int64_t from = std::clamp<int64_t>(row * s_.stride[0] - s_.pad_begin[0], 0, s_.in[0]);
      const int64_t to = std::clamp((band.row_end - 1) * s_.stride[0] - s_.pad_begin[0] + span_, from, s_.in[0]);
      const int64_t kept = std::max<int64_t>(0, made_end - from);
      for (int64_t b = 0; b < blocks && kept > 0; ++b)
        std::memmove(between + b * plane, between + b * plane + (from - made_begin) * row_,
                     static_cast<size_t>(kept * row_) * sizeof(T));
      BlockedTileOf<T> strip = tile;
      strip.x += (from + kept) * row_;
      strip.y = between + kept * row_;
      expand(strip, blocks, (to - from - kept) * s_.in[1]);
      made_begin = from;
      made_end = to;
      band.x_begin = from;
      for (int64_t b = 0; b < blocks; ++b) {
        band.channels = first + b;
        band.x = between + b * plane;
        band.y = y_ + ((image * blocks_ + band.channels) * s_.out[0] + row) * s_.out[1] * block_;
        bands_.run(band);
      }
    }
  }

  // `pixels` from where the tile stands. An activation of f32 goes over many of them at a time, in the nearest cache
  // still; data that are rounded have theirs before.
  void expand(BlockedTileOf<T> tile, int64_t blocks, int64_t pixels) const {
    if constexpr (std::is_same_v<T, float>) {
      if (expand_tail_.activate) return expand_sums(tile, blocks, pixels);
    }
    run_tiles(tiles_, tile, blocks, pixels);
  }

  void expand_sums(BlockedTile tile, int64_t blocks, int64_t pixels) const {
    FilterTail sums = expand_tail_;
    sums.activate = nullptr;
    tile.tail = &sums;
    while (pixels > 0) {
      const int64_t count = std::min(pixels, kActivatedTiles * tiles_.sizes[0]);
      float* values = tile.y;
      run_tiles(tiles_, tile, blocks, count);
      for (int64_t b = 0; b < blocks; ++b, values += tile.y_step)
        expand_tail_.activate(values, values, count * block_, expand_tail_.alpha, expand_tail_.beta);
      pixels -= count;
    }
  }

  // The tile that makes the first pixel of two blocks of channels.
  BlockedTileOf<T> expansion(int64_t image, int64_t first, int64_t blocks, int64_t plane) const {
    const int64_t channels = expand_.shape->channels;
    const int64_t words = block_ / static_cast<int64_t>(sizeof(float) / sizeof(T));  // that a block of channels takes
    BlockedTileOf<T> tile;
    tile.x = x_ + image * in_blocks_ * s_.in_size() * block_;
    tile.x_step = block_;
    tile.window.blocks = in_blocks_;
    tile.window.x_block = s_.in_size() * block_;
    tile.window.w_block = words * blocks * block_;
    tile.window.length = block_;
    tile.window.last_length = channels - (in_blocks_ - 1) * block_;
    tile.weights = expand_.packed + first * block_ * in_blocks_ * words;
    tile.y_step = plane;
    tile.y_pixel = block_;
    tile.bias = expand_.epilogue->row_bias ? expand_.epilogue->row_bias + first * block_ : nullptr;
    tile.tail = &expand_tail_;
    return tile;
  }

  const BlockedStage& expand_;
  const ConvShape s_;
  const T* x_;
  T* y_;
  const BlockedKernelOf<T>& tiles_;
  const DepthwiseBands<T> bands_;
  const FilterTail expand_tail_;
  const int64_t block_, in_blocks_, blocks_, groups_;
  const int64_t row_;   // elements of a row of inputs of one block of channels
  const int64_t span_;  // rows under a window
  int64_t strip_;       // rows of outputs made at a time
  int64_t held_;        // rows of inputs that they need
};

}  // namespace

template <typename T>
void blocked_expand(const BlockedStage& expand, const BlockedStage& depthwise, const T* x, T* y, Isa isa) {
  const ConvShape& s = *depthwise.shape;
  SX_ASSERT(is_pointwise(*expand.shape) && expand.shape->groups == 1 && expand.shape->filters == s.channels &&
            s.groups == s.channels && s.filters == s.channels && !expand.epilogue->residual &&
            !depthwise.epilogue->residual);
  if (s.batch == 0 || s.out_size() == 0 || s.channels == 0) return;
  Expand<T>(expand, depthwise, x, y, isa).run();
}

template void blocked_expand(const BlockedStage&, const BlockedStage&, const float*, float*, Isa);
template void blocked_expand(const BlockedStage&, const BlockedStage&, const BFloat16*, BFloat16*, Isa);

}  // namespace sx
