// Winograd convolution: windows transformed, a matrix product for each tap, results transformed back.
#include "kernels/conv/winograd.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/winograd_kernel.h"

namespace sx {
namespace {

// Transformed windows that one thread keeps near, and the products that it makes before it transforms them back; and
// the windows that all threads share otherwise. In bytes.
constexpr int64_t kOwnBytes = 256 << 10, kProductBytes = 224 << 10, kSharedBytes = 8 << 20;
// See cheapest_tile. Weights that are packed for every run are so for a batch.
constexpr double kReadCost = 15, kPackCost = 6, kTransformCost = 10, kGoodDeal = 0.8;
// Tiles of 4 take more memory than tiles of 2 for weights that are kept (2.25 times, or 4.5 times where those of tiles
// of 2 are bf16), which less than this part of their cost is worth.
constexpr double kWorthMemory = 0.82;
// Weights beyond this many bytes are not read anew for each thread's own tiles.
constexpr int64_t kNearWeights = 4 << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Whether the tiles of a precision are products of bf16.
bool multiplies_bf16(Precision precision, int out) { return precision == Precision::kBf16 && out == 2; }

// The convolution of a batch, with products of elements P. The windows of a group of tiles are transformed, multiplied
// and transformed back: by one thread, for a few filters at a time, or by all threads one stage after the other.
template <typename T, typename P>
class Winograd {
 public:
  // With `maxima`, y takes those of 2 x 2 results, and there is no residual.
  Winograd(const ConvShape& shape, int tile, bool stacked, const T* x, const float* packed, const T* residual, T* y,
           const Epilogue& epilogue, bool maxima, Isa isa)
      : shape_(shape),
        stacked_(stacked),
        maxima_(maxima),
        x_(x),
        packed_(packed),
        residual_(residual),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa, precision_of<T>)),
        products_(blocked_kernel<P>(isa)),
        block_(products_.block),
        out_(tile),
        taps_((out_ + 2) * (out_ + 2)),
        kernel_(winograd_kernel<T>(isa, out_)),
        channel_blocks_(ceil_div(shape.channels, block_)),
        filter_blocks_(ceil_div(shape.filters, block_)),
        tile_columns_(ceil_div(shape.out[1], out_)),
        tiles_of_image_(ceil_div(shape.out[0], out_) * tile_columns_),
        tile_count_(shape.batch * tiles_of_image_) {}

  void run() {
    const int64_t step = products_.sizes[0], steps = ceil_div(tile_count_, step), threads = thread_count();
    const int64_t step_bytes = taps_ * channel_blocks_ * block_ * step * static_cast<int64_t>(sizeof(P));
    const int64_t own = std::max<int64_t>(2, kOwnBytes / step_bytes);
    const int64_t groups = ceil_div(ceil_div(steps, own), threads) * threads;
    const int64_t weights = taps_ * shape_.channels * shape_.filters * static_cast<int64_t>(sizeof(P));
    if (groups >= 2 * threads && weights <= kNearWeights) {
      parallel_for(groups, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          run_alone(group_of(i * steps / groups * step, (i + 1) * steps / groups * step));
      });
      return;
    }
    const int64_t shared = std::max<int64_t>(1, kSharedBytes / step_bytes) * step;
    for (int64_t first = 0; first < tile_count_; first += shared) run_together(group_of(first, first + shared));
  }

 private:
  // Tiles [first, first + tiles), and their transformed windows: [tap][block of channels][tile][lane].
  struct Group {
    int64_t first, tiles;
    P* v;
    int64_t v_step;  // between taps
  };
  // Those of tiles [first, last), as far as there are any.
  Group group_of(int64_t first, int64_t last) const {
    Group group{first, std::min(last, tile_count_) - first, nullptr, 0};
    // A cache line more than a power of two, so that the taps of a tile do not share one set of the cache.
    group.v_step = channel_blocks_ * group.tiles * block_ + kLineFloats;
    group.v =
        static_cast<P*>(thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(taps_ * group.v_step) * sizeof(P)));
    return group;
  }

  // Products of tiles [first_tile, first_tile + tiles) of a group with blocks of filters [first_block, first_block +
  // blocks): [tap][block][tile][lane].
  struct Products {
    int64_t first_tile, tiles, first_block, blocks;
    float* m;
    int64_t m_step;  // between taps
  };
  Products products_of(int64_t first_tile, int64_t tiles, int64_t first_block, int64_t blocks) const {
    Products products{first_tile, tiles, first_block, blocks, nullptr, blocks * tiles * block_ + kLineFloats};
    products.m = static_cast<float*>(
        thread_scratch(ScratchSlot::kTile, static_cast<size_t>(taps_ * products.m_step) * sizeof(float)));
    return products;
  }

  void run_alone(const Group& group) const {
    const int64_t tile_bytes = taps_ * kTileFilters * block_ * static_cast<int64_t>(sizeof(float));
    const int64_t tiles = std::min(group.tiles, std::max<int64_t>(products_.sizes[0], kProductBytes / tile_bytes));
    const int64_t blocks = std::max<int64_t>(1, kProductBytes / (tile_bytes * tiles)) * kTileFilters;
    make_inputs(group, 0, channel_blocks_ * group.tiles);
    for (int64_t block = 0; block < filter_blocks_; block += blocks) {
      for (int64_t tile = 0; tile < group.tiles; tile += tiles) {
        const Products products =
            products_of(tile, std::min(tiles, group.tiles - tile), block, std::min(blocks, filter_blocks_ - block));
        const int64_t filter_groups = ceil_div(products.blocks, kTileFilters);
        for (int64_t tap = 0; tap < taps_; ++tap) multiply(group, products, tap, 0, filter_groups);
        make_outputs(group, products, 0, products.blocks * products.tiles);
      }
    }
  }

  void run_together(const Group& group) const {
    const Products products = products_of(0, group.tiles, 0, filter_blocks_);
    const int64_t filter_groups = ceil_div(filter_blocks_, kTileFilters);
    const int64_t parts = std::clamp<int64_t>(ceil_div(4 * thread_count(), taps_), 1, filter_groups);
    parallel_for(channel_blocks_ * group.tiles, 32,
                 [&](int64_t begin, int64_t end) { make_inputs(group, begin, end); });
    parallel_for(taps_ * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t part = task % parts;
        multiply(group, products, task / parts, part * filter_groups / parts, (part + 1) * filter_groups / parts);
      }
    });
    parallel_for(filter_blocks_ * group.tiles, 32,
                 [&](int64_t begin, int64_t end) { make_outputs(group, products, begin, end); });
  }

  // Image, and first output of a tile.
  struct Place {
    int64_t image, top, left;
  };
  Place place_of(int64_t tile) const {
    const int64_t image = stacked_ ? tile % shape_.batch : tile / tiles_of_image_;
    const int64_t within = stacked_ ? tile / shape_.batch : tile % tiles_of_image_;
    return {image, within / tile_columns_ * out_, within % tile_columns_ * out_};
  }
  // Between neighbouring columns, and the offset of pixel 0 of a block of channels out of so many.
  int64_t column_step() const { return stacked_ ? shape_.batch * block_ : block_; }
  int64_t plane(const Place& place, int64_t block, int64_t blocks, int64_t size) const {
    return (stacked_ ? block * size * shape_.batch + place.image : (place.image * blocks + block) * size) * block_;
  }

  // Items are block of channels * tiles + tile.
  void make_inputs(const Group& group, int64_t begin, int64_t end) const {
    const int64_t height = shape_.in[0], width = shape_.in[1];
    const auto inside = [&](int64_t start, int64_t extent, int* first, int* last) {
      *first = static_cast<int>(std::clamp<int64_t>(-start, 0, out_ + 2));
      *last = static_cast<int>(std::clamp<int64_t>(extent - start, *first, out_ + 2));
    };
    for (int64_t item = begin; item < end; ++item) {
      const int64_t channels = item / group.tiles, tile = item % group.tiles;
      const Place place = place_of(group.first + tile);
      const int64_t top = place.top - shape_.pad_begin[0], left = place.left - shape_.pad_begin[1];
      WinogradInput<T> in;
      in.column_step = column_step();
      in.row_step = width * in.column_step;
      const int64_t at =
          plane(place, channels, channel_blocks_, height * width) + (top * width + left) * in.column_step;
      in.x = reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(x_) + static_cast<uintptr_t>(at) * sizeof(T));
      inside(top, height, &in.row_begin, &in.row_end);
      inside(left, width, &in.column_begin, &in.column_end);
      kernel_.transform_input(in, group.v + item * block_, group.v_step);
    }
  }

  // Of one tap and of groups of filters [begin, end) of the products.
  void multiply(const Group& group, const Products& products, int64_t tap, int64_t begin, int64_t end) const {
    constexpr int64_t kInWord = sizeof(float) / sizeof(P);
    const int64_t words = channel_blocks_ * (block_ / kInWord);  // of a filter's weights for a tap
    const FilterTail none;
    BlockedTileOf<P> work;
    work.tail = &none;
    work.x_step = block_;
    work.y_step = products.tiles * block_;
    work.y_pixel = block_;
    work.window.blocks = channel_blocks_;
    work.window.x_block = group.tiles * block_;
    work.window.length = block_;
    work.window.last_length = shape_.channels - (channel_blocks_ - 1) * block_;
    const int64_t count = count_tiles(products_, 1, products.tiles);
    for (int64_t block = begin * kTileFilters; block < std::min(end * kTileFilters, products.blocks);
         block += kTileFilters) {
      const int64_t blocks = std::min(kTileFilters, products.blocks - block);
      const int64_t place = tap * filter_blocks_ + products.first_block + block;
      work.window.w_block = block_ / kInWord * blocks * block_;
      work.x = group.v + tap * group.v_step + products.first_tile * block_;
      work.weights = packed_ + place * block_ * words;
      ask_ahead(work, blocks, products_.block,
                place + blocks < taps_ * filter_blocks_ ? work.weights + blocks * block_ * words : nullptr, count);
      float* to = products.m + tap * products.m_step + block * work.y_step;
      if constexpr (std::is_same_v<P, float>) work.y = to;
      else work.wide = to;
      run_tiles(products_, work, blocks, products.tiles);
    }
  }

  // Items are block of filters * tiles + tile, both of those of the products.
  void make_outputs(const Group& group, const Products& products, int64_t begin, int64_t end) const {
    const int64_t pool = maxima_ ? 2 : 1;
    const int64_t height = shape_.out[0] / pool, width = shape_.out[1] / pool;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = products.first_block + item / products.tiles;
      Place place = place_of(group.first + products.first_tile + item % products.tiles);
      place.top /= pool, place.left /= pool;
      const int64_t at =
          plane(place, block, filter_blocks_, height * width) + (place.top * width + place.left) * column_step();
      WinogradOutput<T> out;
      out.y = y_ + at;
      out.residual = residual_ ? residual_ + at : nullptr;
      out.bias = epilogue_.row_bias ? epilogue_.row_bias + block * block_ : nullptr;
      out.column_step = column_step();
      out.row_step = width * out.column_step;
      out.rows = static_cast<int>(std::min<int64_t>(out_ / pool, height - place.top));
      out.columns = static_cast<int>(std::min<int64_t>(out_ / pool, width - place.left));
      out.maxima = maxima_;
      kernel_.transform_output(products.m + item * block_, products.m_step, out, tail_);
    }
  }

  const ConvShape& shape_;
  const bool stacked_, maxima_;
  const T* x_;
  const float* packed_;
  const T* residual_;
  T* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  const BlockedKernelOf<P>& products_;
  const int64_t block_;
  const int out_;
  const int taps_;
  const WinogradKernel<T>& kernel_;
  const int64_t channel_blocks_, filter_blocks_;
  const int64_t tile_columns_;
  const int64_t tiles_of_image_;
  const int64_t tile_count_;
};

bool fits(const ConvShape& shape) {
  if (shape.rank != 2 || shape.groups != 1 || shape.channels < 16 || shape.filters < 16) return false;
  for (int axis = 0; axis < 2; ++axis)
    if (shape.kernel[axis] != 3 || shape.stride[axis] != 1 || shape.dilation[axis] != 1) return false;
  return true;
}

// The tile that costs least in multiply-adds, for one image: the products; the transforms; and the reading of the
// weights, of which one takes as long as about `read` multiply-adds. A direct sum takes `direct_taps` for each output.
// Tiles of 4 have to cost less than the part `worth` of what tiles of 2 do.
int cheapest_tile(const ConvShape& shape, Precision precision, double read, double direct_taps, double worth) {
  const auto channels = static_cast<double>(shape.channels), filters = static_cast<double>(shape.filters);
  const double bf16 = 0.5;  // of the time and memory that f32 takes
  const double part = precision == Precision::kBf16 ? bf16 : 1.0;
  const double direct = channels * filters * part * (direct_taps * static_cast<double>(shape.out_size()) + 9 * read);
  double least = direct;
  int best = 0;
  for (int out : {2, 4}) {
    const int64_t tiles = ceil_div(shape.out[0], out) * ceil_div(shape.out[1], out);
    const double taps = (out + 2) * (out + 2);
    const double product = multiplies_bf16(precision, out) ? bf16 : 1.0;
    const double cost = taps * (channels * filters * product * (static_cast<double>(tiles) + read) +
                                kTransformCost * (channels + filters) * static_cast<double>(tiles));
    // Factors that are rounded to bf16 once more are worth it for a good deal of time only.
    const double share = multiplies_bf16(precision, out) ? kGoodDeal : best == 2 ? worth : 1.0;
    if (cost >= share * least) continue;
    least = cost;
    best = out;
  }
  return best;
}

int64_t packed_size(const ConvShape& shape, int tile, Precision precision, Isa isa) {
  const int64_t in = tile + 2, block = channel_block(isa), in_word = multiplies_bf16(precision, tile) ? 2 : 1;
  return checked_mul(in * in * block * block / in_word,
                     checked_mul(ceil_div(shape.filters, block), ceil_div(shape.channels, block)));
}

// The convolution that gives the gradient of the data, whose weights are turned round.
ConvShape transpose_of(const ConvShape& shape) {
  ConvShape t = shape;
  std::swap(t.channels, t.filters);
  for (int axis = 0; axis < 2; ++axis) {
    std::swap(t.in[axis], t.out[axis]);
    t.pad_begin[axis] = 2 - shape.pad_begin[axis];
    t.pad_end[axis] = 2 - shape.pad_end[axis];
  }
  return t;
}
ConvShape shape_in(const ConvShape& shape, bool transposed) { return transposed ? transpose_of(shape) : shape; }

}  // namespace

int winograd_tile(const ConvShape& shape, Precision precision) {
  return fits(shape) ? cheapest_tile(shape, precision, kReadCost, 9, kWorthMemory) : 0;
}

int64_t packed_winograd_size(const ConvShape& shape, Precision precision, Isa isa) {
  return packed_size(shape, winograd_tile(shape, precision), precision, isa);
}

void pack_winograd(const ConvShape& shape, Precision precision, const float* weights, float* packed, Isa isa) {
  // U = G w G^T, in f64.
  const int in = winograd_tile(shape, precision) + 2;
  constexpr double kA2 = kWinogradA * kWinogradA, kB2 = kWinogradB * kWinogradB;
  constexpr double kOfA = 1 / (2 * kA2 * (kA2 - kB2)), kOfB = 1 / (2 * kB2 * (kB2 - kA2));
  constexpr double kTwo[4][3] = {{-1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  constexpr double kFour[6][3] = {{1 / (kA2 * kB2), 0, 0},
                                  {kOfA, kWinogradA * kOfA, kA2 * kOfA},
                                  {kOfA, -kWinogradA * kOfA, kA2 * kOfA},
                                  {kOfB, kWinogradB * kOfB, kB2 * kOfB},
                                  {kOfB, -kWinogradB * kOfB, kB2 * kOfB},
                                  {0, 0, 1}};
  const double (*g)[3] = in == 4 ? kTwo : kFour;
  // [tap][group of filters][channel, or pair of channels][filter of the group]
  const int64_t block = channel_block(isa), width = kTileFilters * block;
  const int64_t padded = ceil_div(shape.channels, block) * block, all = ceil_div(shape.filters, block) * block;
  const int64_t in_word = multiplies_bf16(precision, in - 2) ? 2 : 1;
  const int64_t step = padded / in_word * all, blocks = padded / block;
  parallel_for(ceil_div(shape.filters, width) * blocks, 1, [&](int64_t begin, int64_t end) {
    float w[9][kTileFilters * kMaxBlock];
    double half[kMaxWinogradIn][3][kTileFilters * kMaxBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / blocks * width, group_width = std::min(width, all - first);
      const int64_t given = std::min(group_width, shape.filters - first);
      for (int64_t c = item % blocks * block, last = c + block; c < last; ++c) {
        for (int64_t f = 0; f < group_width; ++f)
          for (int i = 0; i < 9; ++i)
            w[i][f] = f < given && c < shape.channels ? weights[((first + f) * shape.channels + c) * 9 + i] : 0.0f;
        for (int i = 0; i < in; ++i)
          for (int k = 0; k < 3; ++k)
            for (int64_t f = 0; f < group_width; ++f)
              half[i][k][f] = g[i][0] * w[k][f] + g[i][1] * w[3 + k][f] + g[i][2] * w[6 + k][f];
        float* to = packed + first * (padded / in_word) + c / in_word * group_width;
        for (int i = 0; i < in; ++i)
          for (int j = 0; j < in; ++j, to += step)
            for (int64_t f = 0; f < group_width; ++f) {
              const auto weight =
                  static_cast<float>(half[i][0][f] * g[j][0] + half[i][1][f] * g[j][1] + half[i][2][f] * g[j][2]);
              if (in_word == 1) {
                to[f] = weight;
                continue;
              }
              const BFloat16 rounded(weight);
              std::memcpy(reinterpret_cast<BFloat16*>(to + f) + c % 2, &rounded, sizeof(rounded));
            }
      }
    }
  });
}

template <typename T>
void winograd(const ConvShape& shape, const T* x, const float* packed, const T* residual, T* y,
              const Epilogue& epilogue, Isa isa) {
  const int tile = winograd_tile(shape, precision_of<T>);
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (multiplies_bf16(Precision::kBf16, tile))
      return Winograd<T, T>(shape, tile, false, x, packed, residual, y, epilogue, false, isa).run();
  }
  Winograd<T, float>(shape, tile, false, x, packed, residual, y, epilogue, false, isa).run();
}

void winograd_maxima(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                     Isa isa) {
  const int tile = winograd_tile(shape, Precision::kF32);
  Winograd<float, float>(shape, tile, false, x, packed, nullptr, y, epilogue, true, isa).run();
}

template void winograd(const ConvShape&, const float*, const float*, const float*, float*, const Epilogue&, Isa);
template void winograd(const ConvShape&, const BFloat16*, const float*, const BFloat16*, BFloat16*, const Epilogue&,
                       Isa);

int stacked_winograd_tile(const ConvShape& given, bool transposed, Precision direct) {
  if (!fits(given)) return 0;
  const ConvShape shape = shape_in(given, transposed);
  // The direct sum leaves padding out.
  double taps = 1;
  for (int axis = 0; axis < 2; ++axis) {
    int64_t met = 0;
    for (int64_t tap = 0; tap < 3; ++tap) {
      const int64_t shift = tap - shape.pad_begin[axis];
      met += std::max<int64_t>(0, std::min(shape.out[axis], shape.in[axis] - shift) - std::max<int64_t>(0, -shift));
    }
    taps *= static_cast<double>(met) / static_cast<double>(std::max<int64_t>(1, shape.out[axis]));
  }
  if (direct == Precision::kBf16) taps /= 2;
  return cheapest_tile(shape, Precision::kF32, kPackCost, taps, 1.0);
}

namespace {

// The weights of `shape` for one run; `transposed`: they are those of the convolution that it is the transpose of.
void pack_for_run(const ConvShape& shape, int tile, bool transposed, const float* weights, float* packed, Isa isa) {
  // [tap][group of filters][channel][filter of the group]
  const WinogradKernel<float>& kernel = winograd_kernel<float>(isa, tile);
  const BlockedKernel& turns = blocked_kernel(isa);
  const int64_t block = turns.block, width = kTileFilters * block;
  const int64_t padded = ceil_div(shape.channels, block) * block, all = ceil_div(shape.filters, block) * block;
  const int64_t filter_blocks = all / block, channel_blocks = padded / block;
  parallel_for(filter_blocks * channel_blocks, 4, [&](int64_t begin, int64_t end) {
    float turned[9 * kMaxBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / channel_blocks * block, group = first / width * width;
      const int64_t group_width = std::min(width, all - group), channels = item % channel_blocks * block;
      const auto filters = static_cast<int>(std::min(block, shape.filters - first));
      for (int64_t c = channels; c < std::min(channels + block, shape.channels); ++c) {
        // [tap][filter]; turned round, the last tap comes first.
        if (transposed) turns.to_block(weights + (c * shape.filters + first) * 9, 9, filters, 9, turned);
        else turns.to_block(weights + (first * shape.channels + c) * 9, shape.channels * 9, filters, 9, turned);
        float* to = packed + group * padded + c * group_width + first - group;
        kernel.transform_weights(transposed ? turned + 8 * block : turned, transposed ? -block : block, to,
                                 padded * all);
      }
    }
  });
}

}  // namespace

void stacked_winograd(const ConvShape& given, bool transposed, Precision direct, const float* x, const float* weights,
                      float* y, const Epilogue& epilogue, Isa isa) {
  const ConvShape shape = shape_in(given, transposed);
  const int tile = stacked_winograd_tile(given, transposed, direct);
  const auto bytes = static_cast<size_t>(checked_mul(packed_size(shape, tile, Precision::kF32, isa), sizeof(float)));
  auto* packed = static_cast<float*>(thread_scratch(ScratchSlot::kPackA, bytes));
  pack_for_run(shape, tile, transposed, weights, packed, isa);
  Winograd<float, float>(shape, tile, true, x, packed, epilogue.residual, y, epilogue, false, isa).run();
}

}  // namespace sx
