// Exact 8-bit Winograd convolution: windows transformed, a product for each pair of points, results transformed back.
// The transforms are free of fractions: they give 24 * 24 times a sum, or 64 times 9 times it. Sums of 26 bits at most
// come back from that modulo 2^32.
#include "kernels/conv/winograd_bytes.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

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
// Cycles of a tile's transforms for a block of channels and of filters, beside products of one cycle; and the bytes of
// weights that are read in one.
constexpr double kInputCost = 80.0, kOutputCost = 140.0, kBytesOfCycle = 8.0;
constexpr double kGoodDeal = 0.9;
constexpr int64_t kMostWeights = 2 << 20;  // bytes, of a layer, that may take 8 times the memory for it

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

// A weight's factor at each point: (1, a, a^2) of point a times 24 over its distances to the other points, as far as
// from_points (winograd_bytes_kernel.simd.h) leaves that to weights.
constexpr int kFactors[kPoints][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};

void transform_weights(const int16_t* w, int32_t (&u)[kPairs]) {
  for (int i = 0; i < kPoints; ++i) {
    int32_t row[3];
    for (int c = 0; c < 3; ++c) row[c] = kFactors[i][0] * w[c] + kFactors[i][1] * w[3 + c] + kFactors[i][2] * w[6 + c];
    for (int j = 0; j < kPoints; ++j)
      u[i * kPoints + j] = kFactors[j][0] * row[0] + kFactors[j][1] * row[1] + kFactors[j][2] * row[2];
  }
}

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
    // A line beside powers of two, so that the points of a tile do not share one set of the cache.
    const int64_t v_block = count * block_, v_step = channel_blocks_ * v_block + 32;
    auto* v = static_cast<int16_t*>(
        thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(kPairs * v_step) * sizeof(int16_t)));
    for (int64_t c = 0; c < channel_blocks_; ++c)
      for (int64_t tile = begin; tile < end; ++tile)
        make_input(image * channel_blocks_ + c, tile_at(tile), v + c * v_block + (tile - begin) * block_, v_step);

    const int64_t m_step = count * kBytesTileFilters * block_ + 16;
    auto* m = static_cast<int32_t*>(
        thread_scratch(ScratchSlot::kTile, static_cast<size_t>(kPairs * m_step) * sizeof(int32_t)));
    for (int64_t group = group_begin; group < group_end; ++group) {
      const int64_t first = group * kBytesTileFilters, blocks = std::min(kBytesTileFilters, filter_blocks_ - first);
      const int64_t width = blocks * block_;
      const int64_t u_step = channel_blocks_ * (block_ / 2) * width;
      const int32_t* u = problem_.packed + kPairs * channel_blocks_ * (block_ / 2) * first * block_;
      for (int pair = 0; pair < kPairs; ++pair, u += u_step) {
        Range range = tiles_of_pair(pair / kPoints, pair % kPoints);
        range = {std::max(range.begin, begin) - begin, std::min(range.end, end) - begin};
        WinogradBytesProduct work;
        work.v_block = v_block;
        work.blocks = channel_blocks_;
        work.u = u;
        if (pair + 1 < kPairs || group + 1 < group_end) work.ahead = u + u_step;
        // Products of sizes that differ by one at most.
        for (int64_t left = range.end - range.begin; left > 0;) {
          const int64_t size = ceil_div(left, ceil_div(left, kernel_.most));
          const int64_t at = range.end - left;
          work.v = v + pair * v_step + at * block_;
          work.m = m + pair * m_step + at * width;
          kernel_.products[size - 1][blocks - 1](work);
          work.ahead = nullptr;
          left -= size;
        }
      }
      for (int64_t f = 0; f < blocks; ++f)
        for (int64_t tile = begin; tile < end; ++tile)
          make_output(image, first + f, tile_at(tile), m + (tile - begin) * width + f * block_, m_step);
    }
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
  const Axis rows_, columns_;
  const int64_t tiles_;  // of an image
};

}  // namespace

bool winograd_bytes_pays(const ConvShape& s, Isa isa) {
  if (s.rank != 2 || s.groups != 1) return false;
  for (int axis = 0; axis < 2; ++axis)
    if (s.kernel[axis] != 3 || s.stride[axis] != 1 || s.dilation[axis] != 1) return false;
  if (packed_winograd_bytes_size(s, isa) > kMostWeights / 4) return false;
  const int64_t block = bytes_kernel(isa).block;
  const Axis rows(s.out[0]), columns(s.out[1]);
  const auto channels = static_cast<double>(ceil_div(s.channels, block)),
             filters = static_cast<double>(ceil_div(s.filters, block));
  const auto words = static_cast<double>(block) * channels * filters;
  const double direct = static_cast<double>(s.out_size()) * 9.0 * words / 4.0;
  const double products = static_cast<double>(rows.products() * columns.products()) * words / 2.0;
  const double transforms =
      static_cast<double>(rows.tiles() * columns.tiles()) * (kInputCost * channels + kOutputCost * filters);
  const double weights = kPairs * words * 2.0 * static_cast<double>(block) / kBytesOfCycle;
  return products + transforms + weights < kGoodDeal * direct;
}

bool winograd_bytes_fits(int64_t filters, int64_t channels, const int16_t* weights) {
  constexpr int64_t kMostSum = (INT64_C(1) << (kSumBits - 1)) - 1;
  for (int64_t f = 0; f < filters; ++f) {
    int64_t above = 0, below = 0;
    for (int64_t c = 0; c < channels; ++c, weights += 9) {
      for (int tap = 0; tap < 9; ++tap) (weights[tap] > 0 ? above : below) += 255 * std::abs(weights[tap]);
      int32_t u[kPairs];
      transform_weights(weights, u);
      for (const int32_t factor : u)
        if (factor < INT16_MIN || factor > INT16_MAX) return false;
    }
    if (std::max(above, below) > kMostSum) return false;
  }
  return true;
}

int64_t packed_winograd_bytes_size(const ConvShape& shape, Isa isa) {
  const int64_t block = bytes_kernel(isa).block;
  const int64_t words = checked_mul(ceil_div(shape.channels, block), block / 2);
  return checked_mul(checked_mul(checked_mul(ceil_div(shape.filters, block), block), words), kPairs);
}

void pack_winograd_bytes(const ConvShape& shape, const int16_t* weights, int32_t* packed, Isa isa) {
  const int64_t block = bytes_kernel(isa).block;
  const int64_t words = ceil_div(shape.channels, block) * (block / 2);
  const int64_t all = ceil_div(shape.filters, block) * block, width = kBytesTileFilters * block;
  std::fill_n(packed, packed_winograd_bytes_size(shape, isa), 0);
  parallel_for(ceil_div(all, width), 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * width, group_width = std::min(width, all - first);
      int32_t* to = packed + first * words * kPairs;
      for (int64_t f = 0; f < std::min(group_width, shape.filters - first); ++f) {
        for (int64_t c = 0; c < shape.channels; ++c) {
          int32_t u[kPairs];
          transform_weights(weights + ((first + f) * shape.channels + c) * 9, u);
          for (int pair = 0; pair < kPairs; ++pair) {
            int32_t& word = to[(pair * words + c / 2) * group_width + f];
            const auto half = static_cast<uint32_t>(static_cast<uint16_t>(u[pair]));
            word = static_cast<int32_t>(static_cast<uint32_t>(word) | half << (16 * (c % 2)));
          }
        }
      }
    }
  });
}

void winograd_bytes(const BlockedBytesConv& problem, Isa isa) { Winograd(problem, isa).run(); }

}  // namespace sx
