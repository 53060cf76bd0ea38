// Winograd convolution: windows transformed, 36 matrix products, results transformed back; in blocks of tiles.
#include "kernels/conv/winograd.h"

#include <algorithm>
#include <vector>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/winograd_kernel.h"
#include "kernels/gemm/gemm_driver.h"

namespace sx {
namespace {

// Transformed data that one thread keeps near (in floats), and that all threads share otherwise.
constexpr int64_t kOwnFloats = 192 << 10;
constexpr int64_t kSharedFloats = 4 << 20;
// See winograd_tile.
constexpr double kReadCost = 15, kTransformCost = 10;
constexpr int64_t kTypicalLanes = 16;
// Weights beyond this many floats are not read anew for each thread's own tiles.
constexpr int64_t kNearWeights = 1 << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

float* scratch_floats(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, 4))));
}

// The convolution of a batch. Panels of tiles go through three stages; each may be split over threads.
class Winograd {
 public:
  Winograd(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue, Isa isa)
      : shape_(shape),
        x_(x),
        packed_(packed),
        y_(y),
        epilogue_(epilogue),
        tail_(filter_tail(epilogue, isa)),
        gemm_(gemm_kernel(isa)),
        out_(winograd_tile(shape)),
        taps_((out_ + 2) * (out_ + 2)),
        kernel_(winograd_kernel(isa, out_)),
        tile_columns_(ceil_div(shape.out[1], out_)),
        tiles_of_image_(ceil_div(shape.out[0], out_) * tile_columns_),
        tile_count_(shape.batch * tiles_of_image_) {}

  void run() {
    const int64_t panels = ceil_div(tile_count_, gemm_.nr);
    const int64_t floats_of_panel = taps_ * (shape_.channels + shape_.filters) * gemm_.nr;
    const int64_t own = std::max<int64_t>(1, kOwnFloats / floats_of_panel);
    const bool apart =
        ceil_div(panels, own) >= 2 * thread_count() && taps_ * shape_.channels * shape_.filters <= kNearWeights;
    if (apart) {
      parallel_for(ceil_div(panels, own), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const Block block = block_of(i * own, std::min(own, panels - i * own));
          make_inputs(block, 0, shape_.channels * block.panels);
          for (int64_t p = 0; p < taps_; ++p) multiply(block, p, 0, shape_.filters);
          make_outputs(block, 0, shape_.filters * block.panels);
        }
      });
      return;
    }
    const int64_t shared = std::max<int64_t>(1, kSharedFloats / floats_of_panel);
    const int64_t row_panels = ceil_div(shape_.filters, gemm_.mr);
    const int64_t parts = std::clamp<int64_t>(ceil_div(4 * thread_count(), taps_), 1, row_panels);
    for (int64_t first = 0; first < panels; first += shared) {
      const Block block = block_of(first, std::min(shared, panels - first));
      parallel_for(shape_.channels * block.panels, 8,
                   [&](int64_t begin, int64_t end) { make_inputs(block, begin, end); });
      parallel_for(taps_ * parts, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t part = task % parts;
          multiply(block, task / parts, part * row_panels / parts * gemm_.mr,
                   std::min((part + 1) * row_panels / parts * gemm_.mr, shape_.filters));
        }
      });
      parallel_for(shape_.filters * block.panels, 8,
                   [&](int64_t begin, int64_t end) { make_outputs(block, begin, end); });
    }
  }

 private:
  // Panels [first, first + panels) of nr tiles. v is [tap][panel][channel][width], m is [tap][panel][filter][width].
  struct Block {
    int64_t first, panels;
    float* v;
    int64_t v_step;  // between taps
    float* m;
    int64_t m_step;
  };

  Block block_of(int64_t first, int64_t panels) const {
    Block block{first, panels, nullptr, 0, nullptr, 0};
    // A cache line more than a power of two, so that the taps of a tile do not share one set of the cache.
    block.v_step = panels * shape_.channels * gemm_.nr + 16;
    block.m_step = panels * shape_.filters * gemm_.nr + 16;
    block.v = scratch_floats(ScratchSlot::kPackB, taps_ * (block.v_step + block.m_step) + kPanelSlack);
    block.m = block.v + taps_ * block.v_step;
    return block;
  }

  int columns_of(int64_t panel) const {
    return static_cast<int>(std::min<int64_t>(gemm_.nr, tile_count_ - panel * gemm_.nr));
  }
  int width_of(int64_t panel) const { return (columns_of(panel) + gemm_.lanes - 1) / gemm_.lanes * gemm_.lanes; }

  // Neighbouring tiles of a panel within one row of tiles of one image; at most a vector of them.
  struct Run {
    int64_t image, top, left;  // of the first output
    int lane, tiles;
  };
  static constexpr int kMaxRuns = 64;

  int runs_of(int64_t panel, Run* runs) const {
    const int64_t first = panel * gemm_.nr;
    const int columns = columns_of(panel);
    int count = 0;
    for (int lane = 0; lane < columns;) {
      const int64_t tile = (first + lane) % tiles_of_image_;
      const int64_t column = tile % tile_columns_;
      const int tiles =
          static_cast<int>(std::min<int64_t>(tile_columns_ - column, std::min(columns - lane, gemm_.lanes)));
      runs[count++] = {(first + lane) / tiles_of_image_, tile / tile_columns_ * out_, column * out_, lane, tiles};
      lane += tiles;
    }
    return count;
  }

  // Items are panel * channels + channel.
  void make_inputs(const Block& block, int64_t begin, int64_t end) const {
    Run runs[kMaxRuns];
    int count = 0;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t panel = item / shape_.channels;
      const int64_t channel = item % shape_.channels;
      if (item == begin || channel == 0) count = runs_of(block.first + panel, runs);
      const int columns = columns_of(block.first + panel), width = width_of(block.first + panel);
      float* v = block.v + panel * shape_.channels * gemm_.nr + channel * width;
      for (int r = 0; r < count; ++r) {
        const WinogradInput in{x_ + (runs[r].image * shape_.channels + channel) * shape_.in_size(),
                               shape_.in[0],
                               shape_.in[1],
                               runs[r].top - shape_.pad_begin[0],
                               runs[r].left - shape_.pad_begin[1],
                               runs[r].tiles};
        kernel_.transform_input(in, v + runs[r].lane, block.v_step);
      }
      for (int tap = 0; tap < taps_ && columns < width; ++tap)
        std::fill(v + tap * block.v_step + columns, v + tap * block.v_step + width, 0.0f);
    }
  }

  void multiply(const Block& block, int64_t tap, int64_t row_begin, int64_t row_end) const {
    const int64_t depth = shape_.channels;
    const float* a = packed_ + tap * shape_.filters * depth;
    TileTail tail;
    for (int64_t row = row_begin; row < row_end; row += gemm_.mr) {
      const int rows = static_cast<int>(std::min<int64_t>(gemm_.mr, shape_.filters - row));
      for (int64_t panel = 0; panel < block.panels; ++panel) {
        const int width = width_of(block.first + panel);
        gemm_.tiles[rows - 1][width / gemm_.lanes - 1](
            depth, a + row * depth, block.v + tap * block.v_step + panel * depth * gemm_.nr, width,
            block.m + tap * block.m_step + panel * shape_.filters * gemm_.nr + row * width, width, width, tail);
      }
    }
  }

  // Items are panel * filters + filter.
  void make_outputs(const Block& block, int64_t begin, int64_t end) const {
    Run runs[kMaxRuns];
    int count = 0;
    const int64_t height = shape_.out[0], columns = shape_.out[1];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t panel = item / shape_.filters;
      const int64_t filter = item % shape_.filters;
      if (item == begin || filter == 0) count = runs_of(block.first + panel, runs);
      const float* m = block.m + panel * shape_.filters * gemm_.nr + filter * width_of(block.first + panel);
      FilterTail tail = tail_;
      if (tail.has_bias) tail.bias = epilogue_.row_bias[filter];
      for (int r = 0; r < count; ++r) {
        const Run& run = runs[r];
        const int64_t at = ((run.image * shape_.filters + filter) * height + run.top) * columns + run.left;
        const WinogradOutput out{y_ + at, epilogue_.residual ? epilogue_.residual + at : nullptr, columns,
                                 static_cast<int>(std::min<int64_t>(out_, height - run.top)),
                                 static_cast<int>(std::min<int64_t>(run.tiles * out_, columns - run.left))};
        kernel_.transform_output(m + run.lane, block.m_step, out, tail);
      }
    }
  }

  const ConvShape& shape_;
  const float* x_;
  const float* packed_;
  float* y_;
  const Epilogue& epilogue_;
  const FilterTail tail_;
  const GemmKernel& gemm_;
  const int out_;
  const int taps_;
  const WinogradKernel& kernel_;
  const int64_t tile_columns_;
  const int64_t tiles_of_image_;
  const int64_t tile_count_;
};

}  // namespace

int winograd_tile(const ConvShape& shape) {
  if (shape.rank != 2 || shape.groups != 1 || shape.channels < 16 || shape.filters < 16) return 0;
  for (int axis = 0; axis < 2; ++axis)
    if (shape.kernel[axis] != 3 || shape.stride[axis] != 1 || shape.dilation[axis] != 1) return 0;
  // Costs in multiply-adds, for one image: the products, in whole vectors of tiles; the transforms; and the reading of
  // the weights, of which one takes as long as about 15 multiply-adds where it comes from memory.
  const auto channels = static_cast<double>(shape.channels), filters = static_cast<double>(shape.filters);
  const double direct = channels * filters * 9 * (static_cast<double>(shape.out_size()) + kReadCost);
  double least = direct;
  int best = 0;
  for (int out : {2, 4}) {
    const int64_t tiles = ceil_div(shape.out[0], out) * ceil_div(shape.out[1], out);
    const auto columns = static_cast<double>(ceil_div(tiles, kTypicalLanes) * kTypicalLanes);
    const double taps = (out + 2) * (out + 2);
    const double cost = taps * (channels * filters * (columns + kReadCost) +
                                kTransformCost * (channels + filters) * static_cast<double>(tiles));
    if (cost >= least) continue;
    least = cost;
    best = out;
  }
  return best;
}

int64_t packed_winograd_size(const ConvShape& shape, Isa isa) {
  const int64_t in = winograd_tile(shape) + 2;
  return checked_mul(in * in, packed_a_size(shape.filters, shape.channels, isa));
}

void pack_winograd(const ConvShape& shape, const float* weights, float* packed, Isa isa) {
  // U = G w G^T, in f64.
  const int in = winograd_tile(shape) + 2;
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
  const int64_t size = shape.filters * shape.channels;
  std::vector<float> transformed(static_cast<size_t>(checked_mul(size, in * in)));
  parallel_for(size, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const float* w = weights + at * 9;
      double half[kMaxWinogradIn][3];
      for (int i = 0; i < in; ++i)
        for (int k = 0; k < 3; ++k) half[i][k] = g[i][0] * w[k] + g[i][1] * w[3 + k] + g[i][2] * w[6 + k];
      for (int i = 0; i < in; ++i)
        for (int j = 0; j < in; ++j)
          transformed[static_cast<size_t>((i * in + j) * size + at)] =
              static_cast<float>(half[i][0] * g[j][0] + half[i][1] * g[j][1] + half[i][2] * g[j][2]);
    }
  });
  for (int64_t tap = 0; tap < in * in; ++tap)
    pack_a(shape.filters, shape.channels, transformed.data() + tap * size, shape.channels, false, packed + tap * size,
           isa);
}

void winograd(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
              Isa isa) {
  Winograd(shape, x, packed, y, epilogue, isa).run();
}

}  // namespace sx
