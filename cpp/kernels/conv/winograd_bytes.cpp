// Exact 8-bit Winograd convolution: windows transformed, a product for each pair of points, results transformed back.
// The transforms are free of fractions: they give 24 * 24 times a sum, or 64 times 9 times it. Sums of 26 bits at most
// come back from that modulo 2^32.
#include "kernels/conv/winograd_bytes.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/winograd_bytes_kernel.h"

namespace sx {
namespace {

constexpr int kPoints = kWinogradPoints, kPairs = kPoints * kPoints;
constexpr int64_t kOut = 4, kWindow = kOut + 2;  // of a tile, at most
// Tiles that a task takes at most, and those worth a task of their own.
constexpr int64_t kMostTiles = 28, kLeastTiles = 12;
constexpr int64_t kSumBits = 26;
// Cycles of a tile's transforms for a block of channels and of filters, and of those of a vector of weights, beside
// products of one cycle; and the bytes of weights that are read in one.
constexpr double kInputCost = 140.0, kOutputCost = 190.0, kWeightsCost = 150.0, kBytesOfCycle = 8.0;
constexpr double kGoodDeal = 0.9;
// Bytes of transformed weights, which are eight times the weights; and where products hide most of their transforms.
constexpr int64_t kMostKept = 2 << 20, kMostKeptAmong = 512 << 10;

// A line of 16-bit numbers more than a power of two, so that pairs of points do not share one set of the cache.
constexpr int64_t kApart = 32;
constexpr int64_t kLine = 64;             // bytes of a line
constexpr int64_t kMostSoon = 128 << 10;  // bytes of weights asked for while windows are transformed

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The tiles along an axis: `fours` of four outputs, then `threes` of three, with the fewest products.
struct Axis {
  int64_t fours, threes;
  explicit Axis(int64_t extent) : fours(ceil_div(extent, kOut)), threes(0) {
    for (int64_t three = 1; three < 4; ++three) {
      const int64_t four = ceil_div(std::max<int64_t>(0, extent - 3 * three), kOut);
      if (four * 6 + three * 5 < products()) fours = four, threes = three;
    }
  }
  int64_t products() const { return fours * 6 + threes * 5; }
  int64_t tiles() const { return fours + threes; }
  int64_t start(int64_t tile) const { return tile < fours ? tile * kOut : fours * kOut + (tile - fours) * 3; }
};

// What weights take: signed bytes, vector by vector, [group of filters][pair of channels][block][tap][lane]; and what
// they become, [group][stage][pair of points][pair of channels][block][lane].
struct Weights {
  int64_t block, filter_blocks, channel_pairs;
  bool among;  // transformed among products
  Weights(const ConvShape& shape, Isa isa)
      : block(bytes_kernel(isa).block),
        filter_blocks(ceil_div(shape.filters, block)),
        channel_pairs(ceil_div(shape.channels, block) * block / 2),
        among(winograd_bytes_kernel(isa).products_among != nullptr) {}
  int64_t vectors() const { return checked_mul(filter_blocks, channel_pairs); }
  int64_t raw_bytes() const { return checked_mul(vectors(), 9 * 2 * block); }
  int64_t bytes() const { return checked_mul(vectors(), kPairs * 2 * block * static_cast<int64_t>(sizeof(int16_t))); }
  // Whether they are transformed once and for all.
  bool kept() const { return bytes() <= (among ? kMostKeptAmong : kMostKept); }
};

class Winograd {
 public:
  Winograd(const BlockedBytesConv& problem, Isa isa)
      : problem_(problem),
        shape_(problem.shape),
        bytes_(bytes_kernel(isa)),
        kernel_(winograd_bytes_kernel(isa)),
        block_(bytes_.block),
        channel_blocks_(ceil_div(shape_.channels, block_)),
        filter_blocks_(ceil_div(shape_.filters, block_)),
        groups_(ceil_div(filter_blocks_, kBytesTileFilters)),
        weights_(shape_, isa),
        rows_(shape_.out[0]),
        columns_(shape_.out[1]),
        tiles_(rows_.tiles() * columns_.tiles()) {}

  // Tasks take tiles of an image through all filters, or through a part of them where tiles are few.
  void run() const {
    const int64_t threads = thread_count();
    int64_t bands = ceil_div(tiles_, kMostTiles);
    while (shape_.batch * bands % threads != 0 && tiles_ / (bands + 1) >= kLeastTiles) ++bands;
    const int64_t parts = std::min(groups_, ceil_div(threads, shape_.batch * bands));
    parallel_for(shape_.batch * bands * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t band = task / parts % bands, part = task % parts;
        run_band(task / parts / bands, band * tiles_ / bands, (band + 1) * tiles_ / bands, part * groups_ / parts,
                 (part + 1) * groups_ / parts);
      }
    });
  }

 private:
  struct Range {
    int64_t begin, end;
  };
  // Tiles are numbered such that those of four rows, and those of four columns, follow one another: 3 x 4, 4 x 4, 4 x
  // 3, then 3 x 3 outputs.
  struct Tile {
    bool short_row, short_column;  // three outputs
    int64_t top, left;
  };
  Tile tile_at(int64_t tile) const {
    const auto place = [&](bool short_row, bool short_column) {
      const int64_t width = short_column ? columns_.threes : columns_.fours;
      return Tile{short_row, short_column, rows_.start((short_row ? rows_.fours : 0) + tile / width),
                  columns_.start((short_column ? columns_.fours : 0) + tile % width)};
    };
    const int64_t a = rows_.threes * columns_.fours, b = rows_.fours * columns_.fours,
                  c = rows_.fours * columns_.threes;
    if (tile < a) return place(true, false);
    if ((tile -= a) < b) return place(false, false);
    if ((tile -= b) < c) return place(false, true);
    tile -= c;
    return place(true, true);
  }
  Range tiles_of_pair(int i, int j) const {
    const int64_t a = rows_.threes * columns_.fours, b = a + rows_.fours * columns_.fours,
                  c = b + rows_.fours * columns_.threes;
    return {i == kSkippedPoint ? a : 0, j == kSkippedPoint ? b : i == kSkippedPoint ? c : tiles_};
  }

  void run_band(int64_t image, int64_t begin, int64_t end, int64_t group_begin, int64_t group_end) const {
    const int64_t count = end - begin;
    const int64_t v_block = count * block_, v_step = channel_blocks_ * v_block + kApart;
    auto* v = static_cast<int16_t*>(
        thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(kPairs * v_step) * sizeof(int16_t)));
    const int8_t *soon = stored(group_begin), *soon_end = std::min(stored(group_begin + 1), soon + kMostSoon);
    for (int64_t c = 0; c < channel_blocks_; ++c) {
      for (int64_t i = c * (soon_end - soon) / channel_blocks_; i < (c + 1) * (soon_end - soon) / channel_blocks_;
           i += kLine)
        __builtin_prefetch(soon + i, 0, 2);
      for (int64_t tile = begin; tile < end; ++tile)
        make_input(image * channel_blocks_ + c, tile_at(tile), v + c * v_block + (tile - begin) * block_, v_step);
    }

    const int64_t m_step = count * kBytesTileFilters * block_ + kApart / 2;
    auto* m = static_cast<int32_t*>(
        thread_scratch(ScratchSlot::kTile, static_cast<size_t>(kPairs * m_step) * sizeof(int32_t)));
    const int stage_rows = kernel_.rows_of_stage, stages = kPoints / stage_rows;
    // Weights for two stages: those that products are with, and the next ones.
    int16_t* fresh[2] = {};
    if (!weights_.kept()) {
      const int64_t size = stage_rows * kPoints * step_of(vectors_of(group_begin));
      fresh[0] =
          static_cast<int16_t*>(thread_scratch(ScratchSlot::kPackA, static_cast<size_t>(2 * size) * sizeof(int16_t)));
      fresh[1] = fresh[0] + size;
      WinogradBytesWeights first = weights_to(group_begin, fresh[group_begin * stages % 2]);
      kernel_.weights[0](first);
    }
    for (int64_t group = group_begin; group < group_end; ++group) {
      const int64_t first = group * kBytesTileFilters, blocks = std::min(kBytesTileFilters, filter_blocks_ - first);
      const int64_t width = blocks * block_, count = vectors_of(group);
      const int64_t u_step = step_of(count);
      // Each product asks for as many bytes as it reads: of those that the next reads, or of the next group's.
      const int64_t asks = count * block_ * 2 * static_cast<int64_t>(sizeof(int16_t));
      const int8_t* ahead = weights_.kept() ? stored(group) + asks : stored(group + 1);
      const int8_t* ahead_end = stored(std::min(group_end, group + 2));
      for (int stage = 0; stage < stages; ++stage) {
        const int next_stage = (stage + 1) % stages;
        const int64_t next_group = group + (next_stage == 0);
        WinogradBytesWeights next;
        const int16_t* u = fresh[(group * stages + stage) % 2];
        if (weights_.kept())
          u = reinterpret_cast<const int16_t*>(stored(group)) + stage * stage_rows * kPoints * u_step;
        else if (next_group < group_end) next = weights_to(next_group, fresh[(group * stages + stage + 1) % 2]);
        for (int k = 0; k < stage_rows * kPoints; ++k, u += u_step) {
          const int i = kRowsInTurn[stage * stage_rows + k / kPoints], j = k % kPoints, pair = i * kPoints + j;
          Range range = tiles_of_pair(i, j);
          range = {std::max(range.begin, begin) - begin, std::min(range.end, end) - begin};
          WinogradBytesProduct work;
          work.v_block = v_block;
          work.blocks = channel_blocks_;
          work.u = u;
          if (ahead < ahead_end) {
            work.ahead = std::min(ahead, ahead_end - asks);
            ahead += asks;
          }
          // Products of sizes that differ by one at most.
          for (int64_t left = range.end - range.begin; left > 0;) {
            const bool among = next.left > 0 && weights_.among && blocks == kBytesTileFilters;
            const int64_t size = ceil_div(left, ceil_div(left, among ? kMostAmong : kernel_.most));
            const int64_t at = range.end - left;
            work.v = v + pair * v_step + at * block_;
            work.m = m + pair * m_step + at * width;
            if (among) kernel_.products_among[size - 1][next_stage](work, next);
            else kernel_.products[size - 1][blocks - 1](work);
            work.ahead = nullptr;
            left -= size;
          }
        }
        if (next.left > 0) kernel_.weights[next_stage](next);
      }
      for (int64_t f = 0; f < blocks; ++f)
        for (int64_t tile = begin; tile < end; ++tile)
          make_output(image, first + f, tile_at(tile), m + (tile - begin) * width + f * block_, m_step);
    }
  }

  // Vectors of a group's weights, and the step between the pairs of points that they are transformed for.
  int64_t vectors_of(int64_t group) const {
    return weights_.channel_pairs * std::min(kBytesTileFilters, filter_blocks_ - group * kBytesTileFilters);
  }
  int64_t step_of(int64_t vectors) const { return vectors * block_ * 2 + (weights_.kept() ? 0 : kApart); }
  WinogradBytesWeights weights_to(int64_t group, int16_t* u) const {
    return {stored(group), u, step_of(vectors_of(group)), vectors_of(group)};
  }

  // The weights of a group as they are packed.
  const int8_t* stored(int64_t group) const {
    const int64_t vectors = weights_.channel_pairs * std::min(group * kBytesTileFilters, filter_blocks_);
    return reinterpret_cast<const int8_t*>(problem_.packed) +
           vectors * block_ * 2 * (weights_.kept() ? kPairs * static_cast<int64_t>(sizeof(int16_t)) : 9);
  }

  // `plane` counts blocks of channels of all images.
  void make_input(int64_t plane, const Tile& tile, int16_t* v, int64_t v_step) const {
    const int64_t height = shape_.in[0], width = shape_.in[1];
    const uint8_t* x = problem_.x + plane * height * width * block_;
    const int64_t top = tile.top - shape_.pad_begin[0], left = tile.left - shape_.pad_begin[1];
    const auto transform = kernel_.input[tile.short_row][tile.short_column];
    const int64_t tall = kWindow - tile.short_row, wide = kWindow - tile.short_column;
    if (top >= 0 && left >= 0 && top + tall <= height && left + wide <= width)
      return transform(x + (top * width + left) * block_, width * block_, v, v_step);
    uint8_t window[kWindow * kWindow * kMostBlock];
    const int64_t row = kWindow * block_;
    const int64_t first = std::clamp<int64_t>(-left, 0, wide), last = std::clamp<int64_t>(width - left, first, wide);
    std::memset(window, problem_.x_zero, sizeof(window));
    for (int64_t i = std::clamp<int64_t>(-top, 0, tall); first < last && i < std::min(tall, height - top); ++i)
      std::memcpy(window + i * row + first * block_, x + ((top + i) * width + left + first) * block_,
                  static_cast<size_t>((last - first) * block_));
    transform(window, row, v, v_step);
  }

  void make_output(int64_t image, int64_t block, const Tile& tile, const int32_t* m, int64_t m_step) const {
    const int64_t height = shape_.out[0], width = shape_.out[1];
    const int64_t at = (((image * filter_blocks_ + block) * height + tile.top) * width + tile.left) * block_;
    const int64_t rows = std::min(kOut - tile.short_row, height - tile.top);
    const int64_t columns = std::min(kOut - tile.short_column, width - tile.left);
    WinogradBytesOutput out;
    out.m = m;
    out.m_step = m_step;
    out.starts = problem_.starts + block * block_;
    out.scales = problem_.scales + block * block_;
    out.tail = &problem_.tail;
    out.residual = problem_.residual ? problem_.residual + at : nullptr;
    out.y = problem_.y + at;
    out.row_step = width * block_;
    const auto transform = kernel_.output[tile.short_row][tile.short_column];
    if (rows == kOut - tile.short_row && columns == kOut - tile.short_column) return transform(out);
    // Outputs past the end go to a copy.
    uint8_t y[kOut * kOut * kMostBlock], residual[kOut * kOut * kMostBlock] = {};
    const int64_t row_step = kOut * block_;
    const auto bytes = static_cast<size_t>(columns * block_);
    for (int64_t i = 0; out.residual && i < rows; ++i)
      std::memcpy(residual + i * row_step, out.residual + i * out.row_step, bytes);
    const int64_t y_step = out.row_step;
    if (out.residual) out.residual = residual;
    out.y = y;
    out.row_step = row_step;
    transform(out);
    for (int64_t i = 0; i < rows; ++i) std::memcpy(problem_.y + at + i * y_step, y + i * row_step, bytes);
  }

  const BlockedBytesConv& problem_;
  const ConvShape& shape_;
  const BytesKernel& bytes_;
  const WinogradBytesKernel& kernel_;
  const int64_t block_;
  const int64_t channel_blocks_, filter_blocks_;
  const int64_t groups_;  // of filters
  const Weights weights_;
  const Axis rows_, columns_;
  const int64_t tiles_;  // of an image
};

}  // namespace

bool winograd_bytes_pays(const ConvShape& s, Isa isa) {
  if (s.rank != 2 || s.groups != 1) return false;
  for (int axis = 0; axis < 2; ++axis)
    if (s.kernel[axis] != 3 || s.stride[axis] != 1 || s.dilation[axis] != 1) return false;
  const int64_t block = bytes_kernel(isa).block;
  const Axis rows(s.out[0]), columns(s.out[1]);
  const Weights weights(s, isa);
  const auto channels = static_cast<double>(ceil_div(s.channels, block)),
             filters = static_cast<double>(ceil_div(s.filters, block));
  const auto words = static_cast<double>(block) * channels * filters;
  const double direct = static_cast<double>(s.out_size()) * 9.0 * words / 4.0 * bytes_kernel(isa).parts;
  const double products = static_cast<double>(rows.products() * columns.products()) * words / 2.0;
  const double transforms =
      static_cast<double>(rows.tiles() * columns.tiles()) * (kInputCost * channels + kOutputCost * filters);
  const double weights_cost = weights.kept() ? static_cast<double>(weights.bytes()) / kBytesOfCycle
                                             : static_cast<double>(weights.vectors()) * kWeightsCost;
  return products + transforms + weights_cost < kGoodDeal * direct;
}

bool winograd_bytes_fits(int64_t filters, int64_t channels, const int16_t* weights) {
  constexpr int64_t kMostSum = (INT64_C(1) << (kSumBits - 1)) - 1;
  for (int64_t f = 0; f < filters; ++f) {
    int64_t above = 0, below = 0;
    for (int64_t i = 0; i < channels * 9; ++i) {
      const int16_t weight = *weights++;
      if (weight < INT8_MIN || weight > INT8_MAX) return false;
      (weight > 0 ? above : below) += 255 * std::abs(weight);
    }
    if (std::max(above, below) > kMostSum) return false;
  }
  return true;
}

int64_t packed_winograd_bytes_size(const ConvShape& shape, Isa isa) {
  const Weights weights(shape, isa);
  return ceil_div(weights.kept() ? weights.bytes() : weights.raw_bytes(), static_cast<int64_t>(sizeof(int32_t)));
}

void pack_winograd_bytes(const ConvShape& shape, const int16_t* weights, int32_t* packed, Isa isa) {
  const Weights how(shape, isa);
  const int64_t block = how.block, vector = 2 * block;
  std::vector<int8_t> aside;
  auto* raw = reinterpret_cast<int8_t*>(packed);
  if (how.kept()) {
    aside.resize(static_cast<size_t>(how.raw_bytes()));
    raw = aside.data();
  }
  std::fill_n(raw, how.raw_bytes(), int8_t{0});
  parallel_for(ceil_div(how.filter_blocks, kBytesTileFilters), 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * kBytesTileFilters, blocks = std::min(kBytesTileFilters, how.filter_blocks - first);
      const int64_t before = how.channel_pairs * first * vector;
      int8_t* to = raw + 9 * before;
      for (int64_t f = 0; f < std::min(blocks * block, shape.filters - first * block); ++f) {
        const int16_t* from = weights + (first * block + f) * shape.channels * 9;
        for (int64_t c = 0; c < shape.channels; ++c)
          for (int64_t tap = 0; tap < 9; ++tap)
            to[((c / 2 * blocks + f / block) * 9 + tap) * vector + f % block * 2 + c % 2] =
                static_cast<int8_t>(from[c * 9 + tap]);
      }
      if (!how.kept()) continue;
      const int64_t count = how.channel_pairs * blocks, u_step = count * vector;
      int16_t* u = reinterpret_cast<int16_t*>(packed) + kPairs * before;
      const WinogradBytesKernel& kernel = winograd_bytes_kernel(isa);
      for (int stage = 0; stage < kPoints / kernel.rows_of_stage; ++stage) {
        WinogradBytesWeights all{to, u, u_step, count};
        kernel.weights[stage](all);
        u += kernel.rows_of_stage * kPoints * u_step;
      }
    }
  });
}

void winograd_bytes(const BlockedBytesConv& problem, Isa isa) { Winograd(problem, isa).run(); }

}  // namespace sx
