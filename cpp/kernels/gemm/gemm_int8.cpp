// The 8-bit GEMM: blocks of rows of A, read where they lie if possible, against panels of B.
#include "kernels/gemm/gemm_int8.h"

#include <algorithm>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm_int8_kernel.h"

namespace sx {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// A block of rows of A should stay in the second-level cache.
constexpr int64_t kBlockBytes = 512 * 1024;
constexpr int64_t kLeastWork = 500'000;
// Rows this many bytes apart share few sets of the first-level cache.
constexpr int64_t kSameLines = 2048;
// With fewer tiles of rows than this, a panel is used up before the next could have come.
constexpr int64_t kTilesToFetch = 3;

// In a GEMM, A is made unsigned and B signed.
Int8Side side_of_a(bool is_signed) { return {static_cast<uint8_t>(is_signed ? 0x80 : 0), false}; }
Int8Side side_of_b(bool is_signed) { return {static_cast<uint8_t>(is_signed ? 0 : 0x80), true}; }
constexpr int32_t kFlipShift = 128;

int32_t* scratch_ints(ScratchSlot slot, int64_t count) {
  return static_cast<int32_t*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, 4))));
}

// A packed B begins with the sums of its columns, in this many elements; its panels follow.
int64_t sums_of(const GemmInt8Kernel& kernel, int64_t n) { return round_up(n, 16 * kernel.lanes); }

}  // namespace

int64_t packed_b_int8_size(int64_t k, int64_t n, Isa isa) {
  const GemmInt8Kernel& kernel = gemm_int8_kernel(isa);
  const int64_t units = ceil_div(k, kernel.group);
  return checked_mul(4, checked_add(sums_of(kernel, n), checked_mul(units, round_up(n, kernel.lanes))));
}

void pack_b_int8(int64_t k, int64_t n, const void* b, int64_t ldb, bool trans_b, bool b_signed, void* packed, Isa isa) {
  const GemmInt8Kernel& kernel = gemm_int8_kernel(isa);
  const int64_t units = ceil_div(k, kernel.group);
  const uint8_t* bytes = static_cast<const uint8_t*>(b);
  int32_t* sums = static_cast<int32_t*>(packed);
  int32_t* panels = sums + sums_of(kernel, n);
  const Int8Side side = side_of_b(b_signed);
  std::fill(sums, panels, 0);
  parallel_for(ceil_div(n, kernel.nr), 2, [&](int64_t begin, int64_t end) {
    int64_t* offsets = nullptr;
    if (!trans_b) {
      offsets = static_cast<int64_t*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(checked_mul(k, 8))));
      for (int64_t i = 0; i < k; ++i) offsets[i] = i * ldb;
    }
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t j = panel * kernel.nr;
      const int columns = static_cast<int>(std::min<int64_t>(kernel.nr, n - j));
      const int width = static_cast<int>(round_up(columns, kernel.lanes));
      int32_t* out = panels + j * units;
      if (columns != width) std::fill(out, out + units * width, 0);
      if (trans_b) {
        kernel.pack_rows(bytes + j * ldb, ldb, 1, columns, k, width, side, out, sums + j);
        continue;
      }
      Segment segments[2];
      int count = 0;
      for (int lane = 0; lane < columns; lane += kernel.lanes) {
        segments[count++] = {lane, std::min(kernel.lanes, columns - lane), lane};
      }
      kernel.pack_columns(bytes + j, offsets, k, segments, count, width, side, out, sums + j);
    }
  });
}

void gemm_int8(const GemmInt8& problem, Isa isa) {
  const int64_t m = problem.m, n = problem.n, k = problem.k;
  if (m <= 0 || n <= 0) return;
  const GemmInt8Kernel& kernel = gemm_int8_kernel(isa);
  const int64_t units = ceil_div(k, kernel.group);
  const void* packed = problem.packed_b;
  if (!packed) {
    void* memory = thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(packed_b_int8_size(k, n, isa)));
    pack_b_int8(k, n, problem.b, problem.ldb, problem.trans_b, problem.b_signed, memory, isa);
    packed = memory;
  }
  const int32_t* column_sums = static_cast<const int32_t*>(packed);
  const int32_t* panels = column_sums + sums_of(kernel, n);

  const int32_t b_shift = problem.b_signed ? 0 : -kFlipShift, a_shift = problem.a_signed ? kFlipShift : 0;
  bool any_b_zero = problem.b_zeros == nullptr && problem.b_zero + b_shift != 0;
  for (int64_t j = 0; problem.b_zeros && j < n; ++j) any_b_zero = any_b_zero || problem.b_zeros[j] + b_shift != 0;
  int32_t* column_zeros = nullptr;
  if (any_b_zero) {
    column_zeros = scratch_ints(ScratchSlot::kImage, n);
    for (int64_t j = 0; j < n; ++j) column_zeros[j] = (problem.b_zeros ? problem.b_zeros[j] : problem.b_zero) + b_shift;
  }

  // Rows that are units as they lie are read there, unless too many of them would compete for the same cache lines.
  const bool in_place = kernel.group == 4 && !problem.a_signed && !problem.trans_a && k % 4 == 0 && !any_b_zero &&
                        problem.lda % kSameLines != 0;
  const bool whole = !problem.a_zeros && !any_b_zero && !problem.epilogue.row_scales &&
                     !problem.epilogue.per_row_bias && !problem.epilogue.addend;
  const int64_t row_bytes = std::max<int64_t>(1, units * 4);
  const int64_t copy_step = row_bytes % kSameLines == 0 ? row_bytes + 64 : row_bytes;
  const int64_t most_rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, 256);
  const int64_t block = ceil_div(m, ceil_div(m, most_rows));
  int64_t column_parts = 1;
  const int64_t column_panels = ceil_div(n, kernel.nr);
  const int threads = thread_count();
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(std::max<int64_t>(k, 16));
  if (threads > 1) {
    // Each task copies its rows, unless they are read in place.
    const int64_t wanted =
        std::min<int64_t>((in_place ? 16 : 4) * threads, static_cast<int64_t>(work / kLeastWork) + 1);
    const int64_t row_blocks = ceil_div(m, block);
    if (row_blocks < wanted) column_parts = std::min(column_panels, ceil_div(wanted, row_blocks));
  }
  const int64_t row_blocks = ceil_div(m, block);
  const int64_t element =
      problem.epilogue.output == Int8Output::kInt32 || problem.epilogue.output == Int8Output::kFloat32 ? 4 : 1;
  parallel_for(row_blocks * column_parts, 1, [&](int64_t begin, int64_t end) {
    int32_t* memory = scratch_ints(ScratchSlot::kPackA, 2 * block + (in_place ? 0 : block * (copy_step / 4)));
    int32_t* row_factor = memory;
    int32_t* row_rest = row_factor + block;
    uint8_t* copy = reinterpret_cast<uint8_t*>(row_rest + block);
    int32_t* sums = scratch_ints(ScratchSlot::kTile, kernel.mr * kernel.nr);
    int64_t copied_block = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i0 = task / column_parts * block;
      const int64_t rows = std::min(block, m - i0);
      const int64_t part = task % column_parts;
      const uint8_t* a = static_cast<const uint8_t*>(problem.a) + i0 * (problem.trans_a ? 1 : problem.lda);
      if (copied_block != i0) {
        copied_block = i0;
        for (int64_t i = 0; i < rows; ++i) {
          int32_t sum = 0;
          int32_t* to = reinterpret_cast<int32_t*>(copy + i * copy_step);
          if (!in_place && !problem.trans_a)
            sum = kernel.copy_row(a + i * problem.lda, k, side_of_a(problem.a_signed), to);
          else if (problem.trans_a)
            kernel.pack_rows(a + i, 1, problem.lda, 1, k, 1, side_of_a(problem.a_signed), to, &sum);
          const int32_t zero = (problem.a_zeros ? problem.a_zeros[i0 + i] : problem.a_zero) + a_shift;
          row_factor[i] = -zero;
          row_rest[i] =
              static_cast<int32_t>(static_cast<uint32_t>(k) * static_cast<uint32_t>(zero) - static_cast<uint32_t>(sum));
        }
      }
      Int8Operands operands;
      operands.units = units;
      operands.a_step = in_place ? problem.lda : copy_step;
      const uint8_t* first_row = in_place ? a : copy;
      const int64_t first = part * column_panels / column_parts, last = (part + 1) * column_panels / column_parts;
      const int64_t tiles = ceil_div(rows, kernel.mr);
      for (int64_t panel = first; panel < last;) {
        const int64_t j = panel * kernel.nr;
        // One row has too few sums in a panel to hide the latency of a dot product.
        const int64_t wide = rows == 1 ? std::min({kernel.wide_panels, last - panel, (n - j) / kernel.nr}) : 1;
        const int64_t panels_here = std::max<int64_t>(wide, 1);
        const int columns = static_cast<int>(std::min(panels_here * kernel.nr, n - j));
        panel += panels_here;
        const int vectors = static_cast<int>(ceil_div(columns, kernel.lanes));
        operands.b = panels + j * units;
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t i = t * rows / tiles;
          const int height = static_cast<int>((t + 1) * rows / tiles - i);
          operands.a = first_row + i * operands.a_step;
          // The first tiles fetch the next panel.
          operands.ahead = panel < column_panels && tiles >= kTilesToFetch && t < 2
                               ? panels + (j + kernel.nr) * units + t * 16 * units
                               : nullptr;
          Int8Tail tail;
          tail.row_factor = row_factor + i;
          tail.column_sums = column_sums + j;
          tail.row_rest = row_rest + i;
          tail.column_zeros = column_zeros ? column_zeros + j : nullptr;
          tail.epilogue = problem.epilogue;
          Int8Epilogue& e = tail.epilogue;
          if (e.row_scales) e.row_scales += i0 + i;
          if (e.column_scales) e.column_scales += j;
          if (e.bias) e.bias += e.per_row_bias ? i0 + i : j;
          if (e.float_bias) e.float_bias += e.per_row_bias ? i0 + i : j;
          if (e.addend) e.addend += (i0 + i) * e.addend_stride + j;
          if (e.addends) e.addends += j;
          uint8_t* c = static_cast<uint8_t*>(problem.c) + ((i0 + i) * problem.ldc + j) * element;
          if (whole && panels_here == 1 && columns % kernel.lanes == 0) {
            kernel.products[height - 1][vectors - 1](operands, tail, c, problem.ldc);
            continue;
          }
          if (panels_here > 1) kernel.wide_tiles[panels_here - 2](operands, kernel.nr * units, sums);
          else kernel.tiles[height - 1][vectors - 1](operands, false, sums);
          kernel.finish(height, columns, sums, static_cast<int64_t>(vectors) * kernel.lanes, tail, c, problem.ldc);
        }
      }
    }
  });
}

}  // namespace sx
