// Copies between strided views: what Transpose, Slice, Expand, Tile, Concat, Split and others come down to.
#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"

namespace sx {

// A loop nest, outermost first: element (i0, i1, ...) goes from `from` + sum(i * from_stride) to `to` + sum(i *
// to_stride). Strides count elements and may be negative; a from_stride may be 0. No element is written twice.
class CopyNest {
 public:
  void add(int64_t extent, int64_t to_stride, int64_t from_stride);
  // `to` and `from` point at element (0, 0, ...) and do not overlap.
  void run(DType dtype, void* to, const void* from) const;

 private:
  static constexpr int kMaxLoops = 32;
  struct Loop {
    int64_t extent = 1;
    int64_t to = 0;
    int64_t from = 0;
  };
  template <typename T>
  void run_as(T* to, const T* from) const;
  template <typename Body>
  void stretches(int64_t element_bytes, Body body) const;
  template <typename T>
  void copy_runs(T* to, const T* from) const;
  template <typename T>
  void copy_lines(T* to, const T* from) const;
  template <typename T>
  void copy_tiles(T* to, const T* from, int across) const;
  // Calls body(to offset, from offset) for the iterations [begin, end) of the first `depth` loops.
  template <typename Body>
  void walk(int depth, int64_t begin, int64_t end, Body body) const;
  int64_t iterations(int depth) const;

  std::array<Loop, kMaxLoops> loops_;
  int depth_ = 0;
  bool empty_ = false;
};

// Rows of up to kShortRow bytes that do not overlap, one thread.
constexpr int64_t kShortRow = 256;
void copy_short_rows(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t bytes, int64_t rows);

}  // namespace sx
