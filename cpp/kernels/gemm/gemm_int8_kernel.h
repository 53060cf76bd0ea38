// The per-ISA functions under the 8-bit GEMM and convolution.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/gemm/gemm_int8.h"

namespace sx {

// One operand as the kernel sees it: bytes are xored with `flip`, then read as signed or unsigned. With VNNI one side
// has to be unsigned and the other signed, so the sides are turned into that by flipping the top bit, which moves
// their zero points by 128 (up for a signed one made unsigned, down for an unsigned one made signed).
struct Int8Side {
  uint8_t flip = 0;
  bool is_signed = false;
};

// What happens to a tile of sums: out = epilogue(sum + row_factor[i] * column_sums[j] + row_rest[i] * column_zeros[j]).
struct Int8Tail {
  const int32_t* row_factor = nullptr;  // -(zero point of the row); null: all zero
  const int32_t* column_sums = nullptr;
  const int32_t* row_rest = nullptr;      // K * zero point of the row - sum of the row
  const int32_t* column_zeros = nullptr;  // null: all zero
  Int8Epilogue epilogue;                  // with pointers moved to the tile
};

// Rows of A, a_step bytes apart, and a panel of B. Lines from `ahead` on, one for each unit, are fetched for later.
struct Int8Operands {
  int64_t units = 0;
  const uint8_t* a = nullptr;
  int64_t a_step = 0;
  const int32_t* b = nullptr;
  const void* ahead = nullptr;  // null: nothing
};

// Sums run over units: 4 bytes (VNNI) or 2 bytes widened to 16 bits, in either case 32 bits together. Rows of A are
// units that follow one another, panels of B [unit][width] as in the f32 GEMM, with zeros past the end of K.
struct GemmInt8Kernel {
  int mr, nr, lanes, group;
  // sums[i * (vectors * lanes) + j] for tiles[rows - 1][vectors - 1]; b_unsigned: A is signed and B unsigned.
  void (*const (*tiles)[2])(const Int8Operands& operands, bool b_unsigned, int32_t* sums);
  // One row by p whole panels that stand panel_step apart, A unsigned: wide_tiles[p - 2] for 2 <= p <= wide_panels.
  int64_t wide_panels;
  void (*const* wide_tiles)(const Int8Operands& operands, int64_t panel_step, int32_t* sums);
  void (*finish)(int rows, int columns, const int32_t* sums, int64_t sums_stride, const Int8Tail& tail, void* out,
                 int64_t stride);
  // The results of products[rows - 1][vectors - 1] for whole vectors of columns, where all rows have one zero point,
  // columns none, and nothing in the epilogue belongs to a row.
  void (*const (*products)[2])(const Int8Operands& operands, const Int8Tail& tail, void* out, int64_t stride);
  // One panel from `rows` rows, element k of row i at x[i * row_step + k * k_step]; each unit takes `width` values.
  // Adds the rows' sums to `sums` where that is set.
  void (*pack_rows)(const uint8_t* x, int64_t row_step, int64_t k_step, int rows, int64_t k, int width, Int8Side side,
                    int32_t* packed, int32_t* sums);
  // Units of one row, element k at x[k]. Gives the sum of its elements.
  int32_t (*copy_row)(const uint8_t* x, int64_t k, Int8Side side, int32_t* units);
  // One panel from columns given as segments: x[k_offsets[k] + offset + i].
  void (*pack_columns)(const uint8_t* x, const int64_t* k_offsets, int64_t k, const Segment* segments, int count,
                       int width, Int8Side side, int32_t* packed, int32_t* sums);
};

const GemmInt8Kernel& gemm_int8_kernel(Isa isa);

}  // namespace sx
