// Copies of loop nests: merged loops, contiguous runs, and transposes in tiles that live in vector registers.
#include "ops/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/thread_pool.h"
#include "kernels/transpose.h"
#include "ops/elements.h"
#include "ops/vector16.h"

namespace sx {
namespace {

// Wide tiles touch whole cache lines on both sides.
constexpr int64_t kLine = 64;
constexpr int64_t kPiece = int64_t{256} << 10;  // bytes of a run that one thread copies at a time

// The N x N block at `from` (rows `from_stride` apart) transposed to `to`, N = 16 / sizeof(T). Each round interleaves
// the first half of the rows with the second; log2(N) rounds transpose.
template <typename T>
void transpose_block(T* to, int64_t to_stride, const T* from, int64_t from_stride) {
  constexpr int kN = Vector16<T>::kCount;
  Vector16<T> a[kN], b[kN];
#pragma GCC unroll 16
  for (int i = 0; i < kN; ++i) a[i] = Vector16<T>::load(from + i * from_stride);
#pragma GCC unroll 4
  for (int round = 1; round < kN; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kN / 2; ++i) {
      b[2 * i] = interleave_low(a[i], a[i + kN / 2]);
      b[2 * i + 1] = interleave_high(a[i], a[i + kN / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kN; ++i) a[i].store(to + i * to_stride);
}

// Few columns (or rows, where the roles are exchanged): whole elements of a pixel at a time.
template <int kColumns, typename T>
void transpose_narrow(T* to, int64_t to_row, int64_t to_column, const T* from, int64_t from_row, int64_t from_column,
                      int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
#pragma GCC unroll 4
    for (int column = 0; column < kColumns; ++column)
      to[row * to_row + column * to_column] = from[row * from_row + column * from_column];
  }
}

template <typename T>
void transpose_plain(T* to, int64_t to_stride, const T* from, int64_t from_stride, int64_t rows, int64_t columns) {
  switch (columns) {
    case 1: return transpose_narrow<1>(to, to_stride, 1, from, 1, from_stride, rows);
    case 2: return transpose_narrow<2>(to, to_stride, 1, from, 1, from_stride, rows);
    case 3: return transpose_narrow<3>(to, to_stride, 1, from, 1, from_stride, rows);
    case 4: return transpose_narrow<4>(to, to_stride, 1, from, 1, from_stride, rows);
    default: break;
  }
  switch (rows) {
    case 1: return transpose_narrow<1>(to, 1, to_stride, from, from_stride, 1, columns);
    case 2: return transpose_narrow<2>(to, 1, to_stride, from, from_stride, 1, columns);
    case 3: return transpose_narrow<3>(to, 1, to_stride, from, from_stride, 1, columns);
    case 4: return transpose_narrow<4>(to, 1, to_stride, from, from_stride, 1, columns);
    default: break;
  }
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      to[row * to_stride + column] = from[column * from_stride + row];
}

template <typename T>
void transpose_short_blocks(T* to, int64_t to_stride, const T* from, int64_t from_stride, int64_t rows,
                            int64_t columns) {
  if constexpr (std::is_integral_v<T>) {
    constexpr int64_t kN = 16 / sizeof(T);
    const int64_t whole_rows = rows / kN * kN;
    const int64_t whole_columns = columns / kN * kN;
    for (int64_t row = 0; row < whole_rows; row += kN)
      for (int64_t column = 0; column < whole_columns; column += kN)
        transpose_block(to + row * to_stride + column, to_stride, from + column * from_stride + row, from_stride);
    transpose_plain(to + whole_columns, to_stride, from + whole_columns * from_stride, from_stride, whole_rows,
                    columns - whole_columns);
    transpose_plain(to + whole_rows * to_stride, to_stride, from + whole_rows, from_stride, rows - whole_rows, columns);
  } else {
    transpose_plain(to, to_stride, from, from_stride, rows, columns);
  }
}

// to[row * to_stride + column] = from[column * from_stride + row]
template <typename T>
void transpose_tile(const TransposeKernel& kernel, T* to, int64_t to_stride, const T* from, int64_t from_stride,
                    int64_t rows, int64_t columns) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (rows == 3 && from_stride == 3) return kernel.three_bytes(to, to_stride, from, columns);
  }
  if constexpr (std::is_same_v<T, uint32_t>) {
    if (rows == 3 && from_stride == 3) return kernel.three_words(to, to_stride, from, columns);
    if (rows == 2 && from_stride == 2) {
      kernel.every_second(to, from, columns);
      return kernel.every_second(to + to_stride, from + 1, columns);
    }
    const int64_t wide = columns / kernel.lanes * kernel.lanes, tall = rows / kernel.lanes * kernel.lanes;
    kernel.words(to, to_stride, from, from_stride, tall, wide);
    transpose_short_blocks(to + wide, to_stride, from + wide * from_stride, from_stride, tall, columns - wide);
    to += tall * to_stride;
    from += tall;
    rows -= tall;
  }
  transpose_short_blocks(to, to_stride, from, from_stride, rows, columns);
}

template <int kBytes>
void copy_fixed_rows(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) std::memcpy(to + row * to_stride, from + row * from_stride, kBytes);
}
// kPart to 2 * kPart bytes, as two parts that may overlap.
template <int kPart>
void copy_two_parts(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t bytes, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    char* write = to + row * to_stride;
    const char* read = from + row * from_stride;
    std::memcpy(write, read, kPart);
    std::memcpy(write + bytes - kPart, read + bytes - kPart, kPart);
  }
}

}  // namespace

void copy_short_rows(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t bytes, int64_t rows) {
  switch (bytes) {
    case 0: return;
    case 1: return copy_fixed_rows<1>(to, to_stride, from, from_stride, rows);
    case 2: return copy_fixed_rows<2>(to, to_stride, from, from_stride, rows);
    case 3: return copy_fixed_rows<3>(to, to_stride, from, from_stride, rows);
    case 4: return copy_fixed_rows<4>(to, to_stride, from, from_stride, rows);
    case 8: return copy_fixed_rows<8>(to, to_stride, from, from_stride, rows);
    case 16: return copy_fixed_rows<16>(to, to_stride, from, from_stride, rows);
    default: break;
  }
  if (bytes < 8) return copy_two_parts<4>(to, to_stride, from, from_stride, bytes, rows);
  if (bytes < 16) return copy_two_parts<8>(to, to_stride, from, from_stride, bytes, rows);
  if (bytes <= 32) return copy_two_parts<16>(to, to_stride, from, from_stride, bytes, rows);
  if (bytes <= 64) return copy_two_parts<32>(to, to_stride, from, from_stride, bytes, rows);
  for (int64_t row = 0; row < rows; ++row) {
    char* write = to + row * to_stride;
    const char* read = from + row * from_stride;
    for (int64_t at = 0; at + 32 < bytes; at += 32) std::memcpy(write + at, read + at, 32);
    std::memcpy(write + bytes - 32, read + bytes - 32, 32);
  }
}

void CopyNest::add(int64_t extent, int64_t to_stride, int64_t from_stride) {
  if (extent == 0) empty_ = true;
  if (extent == 1) return;
  if (depth_ > 0) {
    Loop& outer = loops_[static_cast<size_t>(depth_ - 1)];
    int64_t to_span, from_span;
    if (!__builtin_mul_overflow(to_stride, extent, &to_span) &&
        !__builtin_mul_overflow(from_stride, extent, &from_span) && outer.to == to_span && outer.from == from_span) {
      outer = {outer.extent * extent, to_stride, from_stride};
      return;
    }
  }
  SX_ASSERT(depth_ < kMaxLoops);
  loops_[static_cast<size_t>(depth_++)] = {extent, to_stride, from_stride};
}

int64_t CopyNest::iterations(int depth) const {
  int64_t count = 1;
  for (int k = 0; k < depth; ++k) count *= loops_[static_cast<size_t>(k)].extent;
  return count;
}

template <typename Body>
void CopyNest::walk(int depth, int64_t begin, int64_t end, Body body) const {
  std::array<int64_t, kMaxLoops> at{};
  int64_t to = 0;
  int64_t from = 0;
  int64_t rest = begin;
  for (int k = depth - 1; k >= 0; --k) {
    const Loop& loop = loops_[static_cast<size_t>(k)];
    at[static_cast<size_t>(k)] = rest % loop.extent;
    rest /= loop.extent;
    to += at[static_cast<size_t>(k)] * loop.to;
    from += at[static_cast<size_t>(k)] * loop.from;
  }
  for (int64_t i = begin; i < end; ++i) {
    body(to, from);
    for (int k = depth - 1; k >= 0; --k) {
      const Loop& loop = loops_[static_cast<size_t>(k)];
      to += loop.to;
      from += loop.from;
      if (++at[static_cast<size_t>(k)] < loop.extent) break;
      at[static_cast<size_t>(k)] = 0;
      to -= loop.to * loop.extent;
      from -= loop.from * loop.extent;
    }
  }
}

// Calls body(to offset, from offset, first, last) for every stretch [first, last) of the innermost loop; long loops are
// cut into several stretches so that they keep all threads busy.
template <typename Body>
void CopyNest::stretches(int64_t element_bytes, Body body) const {
  const int outer = depth_ - 1;
  const int64_t length = loops_[static_cast<size_t>(outer)].extent;
  const int64_t rows = iterations(outer);
  const int64_t piece = kPiece / element_bytes;
  const int64_t pieces = length > 2 * piece && rows < 64 ? (length + piece - 1) / piece : 1;
  if (pieces == 1) {
    return parallel_for(rows, move_grain(length * element_bytes), [&](int64_t begin, int64_t end) {
      walk(outer, begin, end, [&](int64_t at_to, int64_t at_from) { body(at_to, at_from, 0, length); });
    });
  }
  parallel_for(rows * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % pieces * piece;
      walk(outer, i / pieces, i / pieces + 1,
           [&](int64_t at_to, int64_t at_from) { body(at_to, at_from, first, std::min(first + piece, length)); });
    }
  });
}

// The innermost loop is contiguous on both sides.
template <typename T>
void CopyNest::copy_runs(T* to, const T* from) const {
  const int64_t bytes = loops_[static_cast<size_t>(depth_ - 1)].extent * static_cast<int64_t>(sizeof(T));
  if (std::is_trivially_copyable_v<T> && depth_ == 2 && bytes <= kShortRow) {
    const int64_t to_stride = loops_[0].to * static_cast<int64_t>(sizeof(T));
    const int64_t from_stride = loops_[0].from * static_cast<int64_t>(sizeof(T));
    return parallel_for(loops_[0].extent, move_grain(2 * bytes), [&](int64_t begin, int64_t end) {
      copy_short_rows(reinterpret_cast<char*>(to) + begin * to_stride, to_stride,
                      reinterpret_cast<const char*>(from) + begin * from_stride, from_stride, bytes, end - begin);
    });
  }
  stretches(sizeof(T), [&](int64_t at_to, int64_t at_from, int64_t first, int64_t last) {
    copy_run(to + at_to + first, from + at_from + first, last - first);
  });
}

// Any innermost loop.
template <typename T>
void CopyNest::copy_lines(T* to, const T* from) const {
  const Loop line = loops_[static_cast<size_t>(depth_ - 1)];
  const TransposeKernel& kernel = transpose_kernel();
  stretches(2 * sizeof(T), [&](int64_t at_to, int64_t at_from, int64_t first, int64_t last) {
    T* write = to + at_to;
    const T* read = from + at_from;
    if (line.to == 1 && line.from == 0) {
      fill_run(write + first, last - first, *read);
    } else if (std::is_same_v<T, uint32_t> && line.to == 1 && line.from == 2) {
      kernel.every_second(reinterpret_cast<uint32_t*>(write + first),
                          reinterpret_cast<const uint32_t*>(read + 2 * first), last - first);
    } else if (line.to == 1) {
      for (int64_t i = first; i < last; ++i) write[i] = read[i * line.from];
    } else {
      for (int64_t i = first; i < last; ++i) write[i * line.to] = read[i * line.from];
    }
  });
}

// The innermost loop is contiguous in `to`, loop `across` in `from`: a batch of matrix transposes.
template <typename T>
void CopyNest::copy_tiles(T* to, const T* from, int across) const {
  CopyNest outer = *this;
  const Loop columns = loops_[static_cast<size_t>(depth_ - 1)];
  const Loop rows = loops_[static_cast<size_t>(across)];
  outer.depth_ = 0;
  for (int k = 0; k < depth_ - 1; ++k)
    if (k != across) outer.loops_[static_cast<size_t>(outer.depth_++)] = loops_[static_cast<size_t>(k)];
  const int64_t matrices = outer.iterations(outer.depth_);
  constexpr int64_t kTile = std::max<int64_t>(kLine / static_cast<int64_t>(sizeof(T)), 8);
  constexpr int64_t kWide = 32 * kTile;
  // A narrow matrix needs no tiles: it is read once from a few streams.
  const bool narrow = columns.extent < kTile;
  const int64_t tall = narrow ? kWide : std::clamp(kWide * kTile / columns.extent / kTile * kTile, kTile, kWide);
  const int64_t bands = (rows.extent + tall - 1) / tall;
  const int64_t strips = (columns.extent + kWide - 1) / kWide;
  const int64_t strip_bytes =
      std::min(tall, rows.extent) * std::min(kWide, columns.extent) * static_cast<int64_t>(sizeof(T));
  const TransposeKernel& kernel = transpose_kernel();
  // Of the matrix at these offsets, one strip of one band.
  const auto transpose_strip = [&](int64_t band, int64_t strip, int64_t at_to, int64_t at_from) {
    const int64_t bottom = std::min((band + 1) * tall, rows.extent);
    const int64_t right = std::min((strip + 1) * kWide, columns.extent);
    const int64_t step = narrow ? tall : kTile;
    for (int64_t row = band * tall; row < bottom; row += step) {
      const int64_t height = std::min(step, bottom - row);
      const int64_t wide = height < 8 || std::is_same_v<T, uint32_t> ? kWide : kTile;
      for (int64_t column = strip * kWide; column < right; column += wide) {
        transpose_tile(kernel, to + at_to + row * rows.to + column, rows.to,
                       from + at_from + row + column * columns.from, columns.from, height,
                       std::min(wide, right - column));
      }
    }
  };
  if (bands * strips == 1) {
    return parallel_for(matrices, move_grain(strip_bytes), [&](int64_t begin, int64_t end) {
      outer.walk(outer.depth_, begin, end,
                 [&](int64_t at_to, int64_t at_from) { transpose_strip(0, 0, at_to, at_from); });
    });
  }
  parallel_for(matrices * bands * strips, move_grain(strip_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t matrix = i / strips / bands;
      outer.walk(outer.depth_, matrix, matrix + 1, [&](int64_t at_to, int64_t at_from) {
        transpose_strip(i / strips % bands, i % strips, at_to, at_from);
      });
    }
  });
}

template <typename T>
void CopyNest::run_as(T* to, const T* from) const {
  const Loop& inner = loops_[static_cast<size_t>(depth_ - 1)];
  if (inner.to == 1 && inner.from == 1) return copy_runs(to, from);
  if (inner.to == 1 && inner.from != 0 && inner.extent > 1) {
    for (int k = depth_ - 2; k >= 0; --k)
      if (loops_[static_cast<size_t>(k)].from == 1) return copy_tiles(to, from, k);
  }
  copy_lines(to, from);
}

void CopyNest::run(DType dtype, void* to, const void* from) const {
  if (empty_) return;
  if (depth_ == 0) return copy_elements(dtype, to, from, 1);
  CopyNest nest = *this;
  if (dtype == DType::kString) return nest.run_as(static_cast<std::string*>(to), static_cast<const std::string*>(from));
  // A short contiguous run is one wider element where memory is aligned for it.
  size_t bytes = size_of(dtype);
  const Loop inner = loops_[static_cast<size_t>(depth_ - 1)];
  const auto extent = static_cast<size_t>(inner.extent);
  const size_t wide = extent <= 16 ? extent * bytes : 0;
  if (depth_ > 1 && inner.to == 1 && inner.from == 1 && (wide == 2 || wide == 4 || wide == 8 || wide == 16)) {
    const size_t aligned = std::min<size_t>(wide, alignof(Bytes16));
    bool fits = reinterpret_cast<uintptr_t>(to) % aligned == 0 && reinterpret_cast<uintptr_t>(from) % aligned == 0;
    for (int k = 0; k < depth_ - 1; ++k) {
      const Loop& loop = loops_[static_cast<size_t>(k)];
      fits = fits && loop.to % inner.extent == 0 && loop.from % inner.extent == 0;
    }
    if (fits) {
      bytes = wide;
      --nest.depth_;
      for (int k = 0; k < nest.depth_; ++k) {
        nest.loops_[static_cast<size_t>(k)].to /= inner.extent;
        nest.loops_[static_cast<size_t>(k)].from /= inner.extent;
      }
    }
  }
  switch (bytes) {
    case 1: return nest.run_as(static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from));
    case 2: return nest.run_as(static_cast<uint16_t*>(to), static_cast<const uint16_t*>(from));
    case 4: return nest.run_as(static_cast<uint32_t*>(to), static_cast<const uint32_t*>(from));
    case 8: return nest.run_as(static_cast<uint64_t*>(to), static_cast<const uint64_t*>(from));
    default: return nest.run_as(static_cast<Bytes16*>(to), static_cast<const Bytes16*>(from));
  }
}

}  // namespace sx
