// Weights of channel-blocked convolutions as their tiles read them.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/float_types.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/blocked_direct.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// The halves of `block` words that `half` names become x in bf16. Another thread may be at the other halves.
void put_halves(const float* x, int64_t block, int64_t half, float* words) {
  auto* to = reinterpret_cast<unsigned char*>(words) + static_cast<size_t>(half) * sizeof(BFloat16);
  for (int64_t i = 0; i < block; ++i) {
    const BFloat16 rounded(x[i]);
    std::memcpy(to + static_cast<size_t>(i) * sizeof(float), &rounded, sizeof(rounded));
  }
}

// Weights [filters, channels, taps] for tiles of filters: [group of filters][place][filter of the group], `depth`
// places in all. That of a channel and tap has the place place(c, tap), others are 0. In bf16 two places make a word.
template <typename Place>
void pack_filters(int64_t filters, int64_t channels, int64_t taps, int64_t depth, Precision precision,
                  const float* weights, float* packed, Isa isa, const Place& place) {
  constexpr int64_t kPiece = 2048, kStrip = 64;  // weights of a filter: for a thread at a time, in the cache at a time
  const BlockedKernel& kernel = blocked_kernel(isa);
  const int64_t block = kernel.block, width = kTileFilters * block, all = round_up(filters, block);
  const int64_t row = channels * taps, pieces = ceil_div(row, kPiece);
  const int64_t in_word = precision == Precision::kBf16 ? 2 : 1, words = depth / in_word;
  if (row != depth)
    parallel_for(all * words, 1 << 18,
                 [&](int64_t begin, int64_t end) { std::fill(packed + begin, packed + end, 0.0f); });
  parallel_for(ceil_div(filters, width) * pieces, 1, [&](int64_t begin, int64_t end) {
    float turned[kStrip * kMaxBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / pieces * width, piece = item % pieces;
      const int64_t group_width = std::min(width, all - first);
      float* to = packed + first * words;
      const int64_t piece_end = std::min(row, (piece + 1) * kPiece);
      for (int64_t from = piece * kPiece; from < piece_end; from += kStrip) {
        const int64_t count = std::min(kStrip, piece_end - from);
        for (int64_t f = 0; f < group_width; f += block) {
          kernel.to_block(weights + (first + f) * row + from, row,
                          static_cast<int>(std::min(block, filters - first - f)), count, turned);
          int64_t c = from / taps, tap = from % taps;
          for (int64_t i = 0; i < count; ++i) {
            const int64_t at = place(c, tap);
            float* lanes = to + at / in_word * group_width + f;
            if (in_word == 1) copy_lanes(turned + i * block, block, lanes);
            else put_halves(turned + i * block, block, at % 2, lanes);
            if (++tap == taps) ++c, tap = 0;
          }
        }
      }
    }
  });
}

}  // namespace

void pack_blocked_filters(int64_t filters, int64_t channels, int64_t taps, int64_t depth, Precision precision,
                          const float* weights, float* packed, Isa isa) {
  pack_filters(filters, channels, taps, round_up(channels, depth) * taps, precision, weights, packed, isa,
               [=](int64_t c, int64_t tap) { return (c / depth * taps + tap) * depth + c % depth; });
}

int64_t packed_blocked_size(const ConvShape& shape, BlockedMethod method, Precision precision, Isa isa) {
  const int64_t block = channel_block(isa), taps = shape.kernel_size();
  const int64_t filters = round_up(shape.filters, block);
  const ConvShape laid = lay_down(shape);
  const bool bf16 = precision == Precision::kBf16;
  switch (method) {
    case BlockedMethod::kDepthwise:
      return checked_mul(filters, bf16 ? laid.kernel[0] * depthwise_bf16_words(laid) : taps);
    case BlockedMethod::kWinograd: return packed_winograd_size(shape, precision, isa);
    case BlockedMethod::kPlain: return checked_mul(filters, plain_words(laid, precision));
    case BlockedMethod::kDirect: break;
  }
  return checked_mul(checked_mul(filters, round_up(shape.channels, block)), taps) / (bf16 ? 2 : 1);
}

void pack_blocked(const ConvShape& shape, BlockedMethod method, Precision precision, const float* weights,
                  float* packed, Isa isa) {
  const int64_t block = channel_block(isa), taps = shape.kernel_size();
  const ConvShape laid = lay_down(shape);
  const bool bf16 = precision == Precision::kBf16;
  const int64_t words = bf16 ? laid.kernel[0] * depthwise_bf16_words(laid) : taps;  // of a channel of its own
  switch (method) {
    case BlockedMethod::kWinograd: return pack_winograd(shape, precision, weights, packed, isa);
    case BlockedMethod::kDepthwise:
      std::fill_n(packed, packed_blocked_size(shape, method, precision, isa), 0.0f);
      for (int64_t c = 0; c < shape.channels; ++c) {
        float* to = packed + c / block * words * block + c % block;
        if (bf16) pack_depthwise_bf16(laid, weights + c * taps, to, block);
        else
          for (int64_t tap = 0; tap < taps; ++tap) to[tap * block] = weights[c * taps + tap];
      }
      return;
    case BlockedMethod::kPlain:
      return pack_filters(shape.filters, shape.channels, taps, (bf16 ? 2 : 1) * plain_words(laid, precision), precision,
                          weights, packed, isa,
                          [&](int64_t c, int64_t tap) { return plain_place(laid, precision, c * taps + tap); });
    case BlockedMethod::kDirect:
      return pack_blocked_filters(shape.filters, shape.channels, taps, block, precision, weights, packed, isa);
  }
}

int64_t packed_upsample_size(const ConvShape& shape, Precision precision, Isa isa) {
  const int64_t block = channel_block(isa);
  const int64_t weights = checked_mul(round_up(shape.channels, block), round_up(shape.filters, block));
  return checked_mul(weights, shape.kernel_size()) / (precision == Precision::kBf16 ? 2 : 1);
}

void pack_upsample(const ConvShape& shape, Precision precision, const float* weights, float* packed, Isa isa) {
  const int64_t taps = shape.kernel_size(), size = packed_upsample_size(shape, precision, isa) / taps;
  std::vector<float> of_tap(static_cast<size_t>(shape.channels * shape.filters));
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t c = 0; c < shape.channels; ++c)
      for (int64_t f = 0; f < shape.filters; ++f)
        of_tap[static_cast<size_t>(c * shape.filters + f)] = weights[(f * shape.channels + c) * taps + tap];
    pack_blocked_filters(shape.channels, shape.filters, 1, channel_block(isa), precision, of_tap.data(),
                         packed + tap * size, isa);
  }
}

}  // namespace sx
