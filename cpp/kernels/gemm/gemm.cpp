// The blocked GEMM: splits the products into rectangles of C, and each rectangle into cache blocks and tiles.
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/gemm/gemm_driver.h"
#include "kernels/gemm/gemm_kernel.h"

namespace sx {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// A thread is not worth waking for less (multiply-adds; a few microseconds).
constexpr int64_t kLeastWork = 200'000;
// Pieces of a large product take this many multiply-adds (some 15 microseconds): threads that are not equally fast then
// still end together.
constexpr double kPieceWork = 1e6;
// An A larger than this (floats) is not worth going through again for every panel of B.
constexpr int64_t kRevisited = int64_t{2} << 20;
// Up to this much of K a panel of A is not cut.
constexpr int64_t kThinDepth = 8192;
// Up to this much of K a panel of B stays in the second-level cache while all rows of A go by.
constexpr int64_t kPanelDepth = 1536;
// An operand is packed ahead of the pieces only up to this size (floats).
constexpr int64_t kMostAhead = int64_t{16} << 20;
// So much of a packed operand (floats) stays in the second-level cache while the other one goes by.
constexpr int64_t kResident = int64_t{1} << 17;
// Pieces of the operand that goes by: few panels, which are multiplied while they lie in near memory.
constexpr int64_t kPiecePanels = 2;
// So many pieces for each thread make it worth while.
constexpr int64_t kLeastPieces = 3;
// Rows of a transposed A, an even number, that are packed at a time.
constexpr int64_t kPackedRows = 64;
// Floats of a cache line.
constexpr int64_t kLine = 16;
// Elements of A that are worth a task to pack.
constexpr int64_t kPackedElements = 8 << 10;
// No kernel's tile has more elements.
constexpr int64_t kTileElements = 384;
// Up to this many rows, B is read where it stands: copying it into panels would cost more than it saves.
constexpr int64_t kDirectRows = 16;
// So far ahead (floats) a packed B is asked for that few rows read as a stream: the CPU by itself stops at each page.
constexpr int64_t kStreamAhead = 2048;

// The steps of K that panels are stored in.
int64_t steps_of(const GemmKernel& kernel, int64_t k) { return ceil_div(k, kernel.step); }

float* scratch_floats(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(thread_scratch(slot, static_cast<size_t>(count) * sizeof(float)));
}

// The pieces of C that are computed as one: `row_parts` x `column_parts` rectangles of whole panels.
struct Grid {
  int64_t row_panels, column_panels;
  int64_t row_parts, column_parts;
  bool columns_first = false;  // neighbouring pieces share rows of A rather than columns of B
};

// In the time of a multiply-add of f32; a few rows take as long as kReadRows, since B has to be read all the same.
constexpr int64_t kReadRows = 4;
double work_of(const GemmKernel& kernel, const Gemm& shape) {
  return static_cast<double>(std::max(shape.m, kReadRows)) * static_cast<double>(shape.n) *
         static_cast<double>(std::max<int64_t>(steps_of(kernel, shape.k) * kernel.a_words, 16));
}

// For pieces that may have to pack their operands themselves.
Grid make_grid(const GemmKernel& kernel, const Gemm& shape, int64_t count, bool packs_b) {
  Grid grid{ceil_div(shape.m, kernel.mr), ceil_div(shape.n, kernel.nr), 1, 1};
  const int threads = thread_count();
  if (threads == 1) return grid;
  const double total = work_of(kernel, shape) * static_cast<double>(count);
  // A few pieces for each thread even out their speeds; more would only pack the same panels more often.
  const double wanted = std::min(4.0 * threads, total / static_cast<double>(kLeastWork));
  int64_t parts = std::max<int64_t>(1, static_cast<int64_t>(wanted / static_cast<double>(count)));
  // One row goes through several panels at a time, if that leaves a part for each thread.
  if (shape.m == 1) parts = std::min(parts, std::max<int64_t>(threads, grid.column_panels / kernel.wide_panels));
  if (parts == 1) return grid;
  // Operands that have to be packed should not be cut across: each part would pack them again.
  const bool packs_a = shape.packed_a == nullptr;
  const bool columns_first = packs_b != packs_a ? packs_b : shape.n >= shape.m;
  if (columns_first) {
    grid.column_parts = std::min(parts, grid.column_panels);
    grid.row_parts = std::min(ceil_div(parts, grid.column_parts), grid.row_panels);
  } else {
    grid.row_parts = std::min(parts, grid.row_panels);
    grid.column_parts = std::min(ceil_div(parts, grid.row_parts), grid.column_panels);
  }
  if (packs_a == packs_b && parts >= 4) {
    // Nearly square pieces read the least.
    int64_t rows = 1;
    while (rows * 2 <= parts / (rows * 2) && rows * 2 <= grid.row_panels) rows *= 2;
    const int64_t columns = std::min(parts / rows, grid.column_panels);
    if (rows * columns >= grid.row_parts * grid.column_parts) {
      grid.row_parts = rows;
      grid.column_parts = columns;
    }
  }
  return grid;
}

// For pieces of packed operands, which may be small: as many rows as the second-level cache holds of A, so that B is
// read from memory as seldom as can be.
Grid make_fine_grid(const GemmKernel& kernel, const Gemm& shape) {
  Grid grid{ceil_div(shape.m, kernel.mr), ceil_div(shape.n, kernel.nr), 1, 1};
  grid.row_parts = ceil_div(shape.m, kernel.mc);
  grid.columns_first = shape.m > kRevisited / std::max<int64_t>(shape.k, 1);
  const double panel_work = work_of(kernel, shape) / static_cast<double>(grid.row_parts * grid.column_panels);
  const auto panels = static_cast<int64_t>(kPieceWork / panel_work);
  const int64_t most = grid.column_panels * grid.row_parts / (4 * thread_count());
  grid.column_parts = ceil_div(grid.column_panels, std::max<int64_t>(1, std::min(panels, most)));
  return grid;
}

class Product {
 public:
  Product(const GemmKernel& kernel, const Gemm& shape, const GemmOperands& operands, const MakePanel* make_panel,
          int64_t item, ActivationFunction activate, Isa isa)
      : kernel_(kernel),
        widened_(kernel.widening_tiles != nullptr && operands.packed_b != nullptr ? &gemm_kernel(isa) : nullptr),
        shape_(shape),
        steps_(steps_of(kernel, shape.k)),
        operands_(operands),
        make_panel_(make_panel),
        item_(item) {
    const Epilogue& epilogue = shape.epilogue;
    tail_.scale = epilogue.scale;
    tail_.residual_stride = epilogue.residual_stride;
    tail_.residual_scale = epilogue.residual_scale;
    tail_.residual_last = epilogue.residual_last;
    tail_.alpha = epilogue.alpha;
    tail_.beta = epilogue.beta;
    if (epilogue.activation == Activation::kRelu) {
      tail_.clip = true;
      tail_.low = 0.0f;
      tail_.high = std::numeric_limits<float>::infinity();
    } else if (epilogue.activation == Activation::kClip) {
      tail_.clip = true;
      tail_.low = epilogue.alpha;
      tail_.high = epilogue.beta;
    } else if (epilogue.activation != Activation::kNone) {
      tail_.activate = activate;
    }
    reads_b_directly_ =
        kernel.step == 1 && !make_panel && !operands.packed_b && !shape.trans_b && shape.m <= kDirectRows;
  }

  // Computes rows [i0, i1) x columns [j0, j1) of C; i0 and j0 are multiples of the panel sizes.
  void run(int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    const int64_t k = steps_;
    // One panel of A stays in the cache whole.
    const bool thin = i1 - i0 <= kernel_.mr && k <= kThinDepth;
    const int64_t most = j1 - j0 <= kernel_.nr ? std::max(kernel_.kc, kPanelDepth) : kernel_.kc;
    const int64_t depth = thin || k == 0 ? k : ceil_div(k, ceil_div(k, most));
    // Sums between blocks of K wait in C, unless it is packed or the epilogue still has to read what stands there.
    const bool sums_apart = k > depth && (shape_.c_panels || operands_.residual == operands_.c);
    float* sums = nullptr;
    int64_t sums_stride = shape_.ldc;
    if (sums_apart) {
      sums_stride = std::min(round_up(j1 - j0, kernel_.nr), kernel_.nc);
      sums = scratch_floats(ScratchSlot::kTile, (i1 - i0) * sums_stride);
    }
    for (int64_t j = j0; j < j1; j += kernel_.nc) {
      const int64_t columns = std::min(kernel_.nc, j1 - j);
      int64_t k0 = 0;
      do {
        const int64_t block = std::min(depth, k - k0);
        tail_.first = k0 == 0;
        tail_.last = k0 + block >= k;
        const float* b = block_of_b(k0, block, j, columns);
        for (int64_t i = i0; i < i1; i += kernel_.mc) {
          const int64_t rows = std::min(kernel_.mc, i1 - i);
          const float* a = block_of_a(i, rows, k0, block);
          float* partial = sums_apart ? sums + (i - i0) * sums_stride : operands_.c + i * shape_.ldc + j;
          look_ahead(i, rows, j, columns, k0, block);
          run_block({i, rows, j, columns, k0, block, a, b, partial, sums_stride});
        }
        k0 += block;
      } while (k0 < k);
    }
  }

 private:
  // Elements of K in the steps [k0, k0 + depth).
  int64_t elements_in(int64_t k0, int64_t depth) const {
    return std::min(shape_.k, (k0 + depth) * kernel_.step) - k0 * kernel_.step;
  }

  // Rows [i, i + rows) x steps [k0, k0 + depth) of A as panels in scratch memory, or null where A came packed. A single
  // row in f32 is a panel as it stands, or once its last step is filled up.
  const float* block_of_a(int64_t i, int64_t rows, int64_t k0, int64_t depth) {
    if (operands_.packed_a) return nullptr;
    const int64_t words = depth * kernel_.a_words;
    const int64_t first = k0 * kernel_.step, elements = elements_in(k0, depth);
    const bool is_panel = rows == 1 && !shape_.trans_a && kernel_.a_words == kernel_.step;
    if (is_panel && elements == words) return operands_.a + i * shape_.lda + first;
    float* packed = scratch_floats(ScratchSlot::kPackA, rows * words);
    if (is_panel) {
      *std::copy_n(operands_.a + i * shape_.lda + first, elements, packed) = 0.0f;
      return packed;
    }
    for (int64_t row = 0; row < rows; row += kernel_.mr) {
      const int height = static_cast<int>(std::min<int64_t>(kernel_.mr, rows - row));
      const float* a = operands_.a + (shape_.trans_a ? first * shape_.lda + i + row : (i + row) * shape_.lda + first);
      kernel_.pack_a_panel(elements, height, a, shape_.lda, shape_.trans_a, packed + row * words);
    }
    return packed;
  }

  // Steps [k0, k0 + depth) x columns [j, j + columns) of B likewise. Read directly, only a last panel that vectors
  // would overrun is packed.
  const float* block_of_b(int64_t k0, int64_t depth, int64_t j, int64_t columns) {
    if (operands_.packed_b) return nullptr;
    const int64_t first = reads_b_directly_ ? columns / kernel_.nr * kernel_.nr : 0;
    if (first == columns) return nullptr;
    float* packed = scratch_floats(ScratchSlot::kPackB, round_up(columns - first, kernel_.nr) * depth + kPanelSlack);
    const int64_t row = k0 * kernel_.step, elements = elements_in(k0, depth);
    for (int64_t column = first; column < columns; column += kernel_.nr) {
      const int width = static_cast<int>(std::min<int64_t>(kernel_.nr, columns - column));
      float* out = packed + (column - first) * depth;
      const int64_t at = j + column;
      if (make_panel_) {
        (*make_panel_)(item_, row, elements, at, width, out);
      } else {
        const float* b = operands_.b + (shape_.trans_b ? at * shape_.ldb + row : row * shape_.ldb + at);
        kernel_.pack_b_panel(elements, width, b, shape_.ldb, shape_.trans_b, out);
      }
    }
    return packed;
  }

  // A block of C and where its operands stand: rows [i, i + rows) x columns [j, j + columns), K from step k0 on.
  struct Block {
    int64_t i, rows, j, columns, k0, depth;
    const float* a;  // panels in scratch memory, or null where A came packed
    const float* b;  // likewise
    float* partial;
    int64_t partial_stride;
  };

  // Sets what tiles of the block at hand ask for: the part of an operand that has to be packed for the block behind it,
  // which most often is the next one in K or, of another piece, the one beside it.
  void look_ahead(int64_t i, int64_t rows, int64_t j, int64_t columns, int64_t k0, int64_t depth) {
    ahead_ = {};
    if ((kernel_.step != 1 && widened_ == nullptr) || depth == 0) return;
    const bool goes_on = k0 + depth < steps_;
    if (goes_on && k0 + 2 * depth > steps_) return;
    const int64_t k = (goes_on ? k0 + depth : 0) * kernel_.step;
    const int64_t elements = depth * kernel_.step;
    const auto down = [&](const float* x, int64_t stride, int64_t at, int64_t width, int64_t extent) {
      const int64_t next = goes_on ? at : at + width;
      if (next + width <= extent) ahead_ = {x + k * stride + next, stride, kLine, ceil_div(width, kLine)};
    };
    if (!operands_.packed_b && !make_panel_) {
      if (!shape_.trans_b && !reads_b_directly_) down(operands_.b, shape_.ldb, j, columns, shape_.n);
    } else if (!operands_.packed_a && operands_.packed_b) {
      if (shape_.trans_a) down(operands_.a, shape_.lda, i, rows, shape_.m);
      else if (shape_.lda == elements && i + 2 * rows <= shape_.m)
        ahead_ = {operands_.a + (i + rows) * shape_.lda, kLine, elements * kLine, ceil_div(rows, kLine)};
    }
  }

  void run_block(const Block& block) {
    // One row has a tile for several panels.
    const int64_t step = block.rows == 1 ? kernel_.wide_panels * kernel_.nr : kernel_.nr;
    const int64_t groups = ceil_div(block.columns, step);
    const int64_t direct = reads_b_directly_ ? block.columns / kernel_.nr * kernel_.nr : 0;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = (shape_.last_columns_first ? groups - 1 - group : group) * step;
      const int64_t end = std::min(begin + step, block.columns);
      for (int64_t column = begin; column < end;) {
        int64_t width = std::min<int64_t>(kernel_.nr, end - column);
        if (block.rows == 1 && width == kernel_.nr) width = (end - column) / kernel_.nr * kernel_.nr;
        run_panels(block, column, column + width, direct);
        column += width;
      }
    }
  }

  // Columns [begin, end) of a block: one panel of B, or as many as the wide tile takes. Of the columns, the first
  // `direct` are read where B stands.
  void run_panels(const Block& block, int64_t begin, int64_t end, int64_t direct) {
    const Epilogue& epilogue = shape_.epilogue;
    const int width = static_cast<int>(end - begin);
    const bool wide = width > kernel_.nr;
    const int vectors = wide ? kernel_.nr / kernel_.lanes : static_cast<int>(ceil_div(width, kernel_.lanes));
    const int64_t at_column = block.j + begin;
    int64_t b_step = static_cast<int64_t>(vectors) * kernel_.lanes;
    int64_t panel_step = block.depth * kernel_.nr;
    const float* b_panel;
    int64_t words_behind = 0;  // of a packed B, behind what is read here
    if (operands_.packed_b) {
      const int64_t packed_steps = shape_.packed_b_rows > 0 ? steps_of(kernel_, shape_.packed_b_rows) : steps_;
      panel_step = packed_steps * kernel_.nr;
      const int64_t at = at_column * packed_steps + (shape_.packed_b_first / kernel_.step + block.k0) * b_step;
      b_panel = operands_.packed_b + at;
      words_behind = round_up(shape_.n, kernel_.lanes) * packed_steps - at - block.depth * b_step;
    } else if (begin < direct) {
      b_panel = operands_.b + block.k0 * shape_.ldb + at_column;
      b_step = shape_.ldb;
      panel_step = kernel_.nr;
    } else {
      b_panel = block.b + (begin - direct) * block.depth;
    }
    const float* next = operands_.packed_b && block.rows > kernel_.mr && width == kernel_.nr
                            ? next_panel(block, end, b_panel, panel_step)
                            : nullptr;
    const bool streams = operands_.packed_b && block.rows <= kernel_.mr && words_behind >= kStreamAhead;
    int64_t steps = block.depth;
    const TileFunction(*tiles)[2] = kernel_.tiles;
    // The first rows leave the panel to all others in f32. (The packed B may stand in this thread's kPackB.)
    const bool widens = widened_ != nullptr && block.rows > kernel_.most_converting_rows;
    tail_.widened = widens ? scratch_floats(ScratchSlot::kImage, steps * b_step * kernel_.step) : nullptr;
    const int64_t most_steps = widens ? steps * kernel_.step : steps;
    const int64_t next_step =
        std::max<int64_t>(steps * b_step / std::max<int64_t>(most_steps * ceil_div(block.rows, kernel_.mr), 1), 1);
    tail_.column_bias = epilogue.column_bias ? epilogue.column_bias + at_column : nullptr;
    tail_.partial_stride = block.partial_stride;
    for (int64_t row = 0; row < block.rows; row += kernel_.mr) {
      const int height = static_cast<int>(std::min<int64_t>(kernel_.mr, block.rows - row));
      const int64_t at_row = block.i + row;
      const float* a_panel = block.a ? block.a + row * block.depth * kernel_.a_words
                                     : operands_.packed_a + (at_row * steps_ + block.k0 * height) * kernel_.a_words;
      TileFunction tile = wide ? kernel_.wide_tiles[width / kernel_.nr - 2] : tiles[height - 1][vectors - 1];
      tail_.next_b = next ? next + row / kernel_.mr * next_step * most_steps : nullptr;
      tail_.next_step = next_step;
      if (widens && row == 0) {
        tile = kernel_.widening_tiles[vectors - 1];
        tail_.next_step *= kernel_.step;
      } else if (widens && row == kernel_.mr) {
        steps = most_steps;
        b_panel = tail_.widened;
        tiles = widened_->tiles;
        tile = tiles[height - 1][vectors - 1];
      }
      if (streams) {
        tail_.next_b = b_panel + kStreamAhead, tail_.next_step = b_step;
      } else if (!next && ahead_.tiles > 0) {
        tail_.next_b = ahead_.from, tail_.next_step = ahead_.stride;
        ahead_.from += ahead_.advance;
        --ahead_.tiles;
      }
      tail_.partial = block.partial + row * block.partial_stride + begin;
      tail_.row_bias = operands_.row_bias ? operands_.row_bias + at_row : nullptr;
      tail_.residual =
          operands_.residual ? operands_.residual + at_row * epilogue.residual_stride + at_column : nullptr;
      if (shape_.c_panels) {
        alignas(64) float result[kTileElements];
        tile(steps, a_panel, b_panel, b_step, panel_step, result, width, width, tail_);
        if (tail_.last) pack_result(result, at_row, height, at_column, width);
      } else {
        tile(steps, a_panel, b_panel, b_step, panel_step, operands_.c + at_row * shape_.ldc + at_column, shape_.ldc,
             width, tail_);
      }
    }
  }

  // Puts a tile of C where it belongs in a packed one.
  void pack_result(const float* tile, int64_t row, int height, int64_t column, int width) {
    const int64_t words = steps_of(kernel_, shape_.n) * kernel_.a_words;
    float* panel = operands_.c + row * words;
    kernel_.pack_a_panel(width, height, tile, width, false, panel + column / kernel_.step * kernel_.a_words * height);
  }

  // What is read of a packed B after the panel at `b`, whose columns end at `end` of a block, or null: it comes from
  // far memory while all rows are multiplied by this one. (A single panel of A reads B as a stream, which comes
  // unasked.) The piece behind this one most often goes on with the next columns.
  const float* next_panel(const Block& block, int64_t end, const float* b, int64_t panel_step) const {
    if (shape_.last_columns_first) return nullptr;
    if (end < block.columns) return end + kernel_.nr <= block.columns ? b + panel_step : nullptr;
    if (block.k0 + block.depth < steps_) return b - (end / kernel_.nr - 1) * panel_step + block.depth * kernel_.nr;
    if (block.j + end + kernel_.nr > shape_.n) return nullptr;
    return b + panel_step - block.k0 * kernel_.nr;
  }

  const GemmKernel& kernel_;
  const GemmKernel* const widened_;  // of f32, for panels that are widened before rows are multiplied by them; or null
  const Gemm& shape_;
  const int64_t steps_;
  const GemmOperands operands_;
  const MakePanel* make_panel_;
  const int64_t item_;
  bool reads_b_directly_;
  TileTail tail_;
  // So many tiles ask for one line a step, `stride` apart; the next tile's begin `advance` further on.
  struct Ahead {
    const float* from = nullptr;
    int64_t stride = 0, advance = 0, tiles = 0;
  } ahead_;
};

}  // namespace

namespace {

void run_pieces(const GemmKernel& kernel, const Gemm& shape, int64_t count, OperandsOf operands,
                const MakePanel* make_panel, const Grid& grid, Isa isa) {
  const ActivationFunction activate = activation_function(shape.epilogue.activation, isa, shape.precision);
  const int64_t parts = grid.row_parts * grid.column_parts;
  const double work = work_of(kernel, shape) / static_cast<double>(parts);
  const int64_t grain = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(kLeastWork) / work));
  parallel_for(checked_mul(count, parts), grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t item = task / parts;
      const int64_t part = task % parts;
      const int64_t row_part = grid.columns_first ? part / grid.column_parts : part % grid.row_parts;
      const int64_t column_part = grid.columns_first ? part % grid.column_parts : part / grid.row_parts;
      const int64_t i0 = row_part * grid.row_panels / grid.row_parts * kernel.mr;
      const int64_t i1 = std::min((row_part + 1) * grid.row_panels / grid.row_parts * kernel.mr, shape.m);
      const int64_t j0 = column_part * grid.column_panels / grid.column_parts * kernel.nr;
      const int64_t j1 = std::min((column_part + 1) * grid.column_panels / grid.column_parts * kernel.nr, shape.n);
      Product(kernel, shape, operands(item), make_panel, item, activate, isa).run(i0, i1, j0, j1);
    }
  });
}

// Whether one operand of `panels` panels, and not the other, had best be packed by the pieces that multiply it, since
// all of the other, `extent` rows or columns, stays in the cache meanwhile: it then goes through memory once.
bool packs_by_pieces(const GemmKernel& kernel, const Gemm& shape, int64_t panels, int64_t extent) {
  return panels >= kPiecePanels * kLeastPieces * thread_count() &&
         extent <= kResident / std::clamp<int64_t>(steps_of(kernel, shape.k), 1, kernel.kc);
}

// One product whose operands are packed ahead by all threads, so that its pieces can be small and B is cut across; the
// long one of a long and a short one is packed by the pieces. False where that does not pay.
bool run_packed_ahead(const GemmKernel& kernel, const Gemm& shape, const GemmOperands& given, Isa isa) {
  const int threads = thread_count();
  const double work = work_of(kernel, shape);
  const bool few = shape.m <= (given.packed_b ? 1 : kDirectRows);
  if (few || work < 2.0 * kLeastWork * threads) return false;
  Grid grid = make_fine_grid(kernel, shape);
  const bool a_by_pieces = !given.packed_a && packs_by_pieces(kernel, shape, grid.row_panels, shape.n);
  const bool b_by_pieces =
      !a_by_pieces && !given.packed_b && packs_by_pieces(kernel, shape, grid.column_panels, shape.m);
  // Enough pieces of whole rows: each packs its own rows, once.
  if (!a_by_pieces && given.packed_b && shape.m >= 4 * threads * kernel.mc) return false;
  GemmOperands operands = given;
  Gemm packed = shape;
  if (!operands.packed_a && !a_by_pieces) {
    if (shape.m > kMostAhead / std::max<int64_t>(shape.k, 1)) return false;
    float* a = scratch_floats(ScratchSlot::kPackA, packed_a_size(shape.m, shape.k, isa, shape.precision));
    pack_a(shape.m, shape.k, given.a, shape.lda, shape.trans_a, a, isa, shape.precision);
    operands.packed_a = a;
  }
  if (!operands.packed_b && !b_by_pieces) {
    if (round_up(shape.n, kernel.lanes) > kMostAhead / std::max<int64_t>(shape.k, 1)) return false;
    float* b = scratch_floats(ScratchSlot::kPackB, packed_b_size(shape.k, shape.n, isa, shape.precision));
    pack_b(shape.k, shape.n, given.b, shape.ldb, shape.trans_b, b, isa, shape.precision);
    operands.packed_b = b;
    packed.packed_b_rows = packed.packed_b_first = 0;
  }
  if (a_by_pieces) grid.row_parts = ceil_div(grid.row_panels, kPiecePanels), grid.column_parts = 1;
  if (b_by_pieces) grid.column_parts = ceil_div(grid.column_panels, kPiecePanels), grid.row_parts = 1;
  run_pieces(kernel, packed, 1, [&](int64_t) { return operands; }, nullptr, grid, isa);
  return true;
}

}  // namespace

void run_gemms(const Gemm& shape, int64_t count, OperandsOf operands, const MakePanel* make_panel, Isa isa) {
  if (shape.m <= 0 || shape.n <= 0 || count <= 0) return;
  const GemmKernel& kernel = gemm_kernel(isa, shape.precision);
  if (count == 1 && !make_panel && run_packed_ahead(kernel, shape, operands(0), isa)) return;
  const bool packs_b = make_panel || !shape.packed_b;
  run_pieces(kernel, shape, count, operands, make_panel, make_grid(kernel, shape, count, packs_b), isa);
}

Precision changing_precision(Precision allowed, Isa isa) {
  return allowed == Precision::kBf16 && isa >= Isa::kAvx512Bf16 ? allowed : Precision::kF32;
}

int64_t packed_a_size(int64_t m, int64_t k, Isa isa, Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  return checked_mul(m, checked_mul(steps_of(kernel, k), kernel.a_words));
}

int64_t a_panel_rows(Isa isa, Precision precision) { return gemm_kernel(isa, precision).mr; }

void pack_a_part(int64_t m, int64_t k, const PartOfA& part, const float* a, int64_t lda, float* packed, Isa isa,
                 Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  const int64_t words = steps_of(kernel, k) * kernel.a_words;
  for (int64_t row = 0; row < part.rows; row += kernel.mr) {
    const int64_t i = part.i + row;
    const int height = static_cast<int>(std::min<int64_t>(kernel.mr, m - i));
    kernel.pack_a_panel(part.columns, height, a + row * lda, lda, false,
                        packed + i * words + part.j / kernel.step * kernel.a_words * height);
  }
}

int64_t packed_b_size(int64_t k, int64_t n, Isa isa, Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  return checked_mul(round_up(n, kernel.lanes), steps_of(kernel, k));
}

void pack_a(int64_t m, int64_t k, const float* a, int64_t lda, bool trans_a, float* packed, Isa isa,
            Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  const int64_t words = steps_of(kernel, k) * kernel.a_words;
  // Panels of a transposed A share cache lines: they are filled side by side, so many rows of memory at a time.
  const int64_t depth = trans_a ? kPackedRows : k;
  const int64_t grain = std::max<int64_t>(1, kPackedElements / (kernel.mr * std::max<int64_t>(k, 1)));
  parallel_for(ceil_div(m, kernel.mr), grain, [&](int64_t begin, int64_t end) {
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t i = panel * kernel.mr;
        const int rows = static_cast<int>(std::min<int64_t>(kernel.mr, m - i));
        kernel.pack_a_panel(std::min(depth, k - k0), rows, a + (trans_a ? k0 * lda + i : i * lda), lda, trans_a,
                            packed + i * words + k0 / kernel.step * rows * kernel.a_words);
      }
    }
  });
}

void pack_b(int64_t k, int64_t n, const float* b, int64_t ldb, bool trans_b, float* packed, Isa isa,
            Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  const int64_t steps = steps_of(kernel, k);
  parallel_for(ceil_div(n, kernel.nr), 2, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t j = panel * kernel.nr;
      const int columns = static_cast<int>(std::min<int64_t>(kernel.nr, n - j));
      kernel.pack_b_panel(k, columns, b + (trans_b ? j * ldb : j), ldb, trans_b, packed + j * steps);
    }
  });
}

void pack_b_rows(int64_t k, int64_t n, int64_t first, int64_t rows, const float* b, int64_t ldb, float* packed, Isa isa,
                 Precision precision) {
  const GemmKernel& kernel = gemm_kernel(isa, precision);
  const int64_t steps = steps_of(kernel, k);
  parallel_for(ceil_div(n, kernel.nr), 2, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t j = panel * kernel.nr;
      const int columns = static_cast<int>(std::min<int64_t>(kernel.nr, n - j));
      float* panel_rows = packed + j * steps + first / kernel.step * round_up(columns, kernel.lanes);
      kernel.pack_b_panel(rows, columns, b + j, ldb, false, panel_rows);
    }
  });
}

void gemm(const Gemm& problem, Isa isa) { gemm_batched(problem, 1, BatchStrides(), isa); }

void gemm_batched(const Gemm& first, int64_t batch, const BatchStrides& strides, Isa isa) {
  const auto moved = [](const float* pointer, int64_t offset) { return pointer ? pointer + offset : nullptr; };
  run_gemms(
      first, batch,
      [&](int64_t item) {
        return GemmOperands{moved(first.a, item * strides.a), moved(first.packed_a, item * strides.a),
                            moved(first.b, item * strides.b), moved(first.packed_b, item * strides.b),
                            first.c + item * strides.c,       moved(first.epilogue.residual, item * strides.residual),
                            first.epilogue.row_bias};
      },
      nullptr, isa);
}

void gemm_each(const Gemm& shape, const BatchItem* items, int64_t batch, Isa isa) {
  run_gemms(
      shape, batch,
      [&](int64_t item) {
        return GemmOperands{items[item].a, nullptr, items[item].b,          nullptr,
                            items[item].c, nullptr, shape.epilogue.row_bias};
      },
      nullptr, isa);
}

}  // namespace sx
