// Rows of the data under the windows of a convolution, with their padding written out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/unary.h"

namespace sx {

// The columns of a row that windows reach, padding and all.
inline int64_t padded_width(const ConvShape& s) {
  return checked_add((s.out[1] - 1) * s.stride[1], s.dilation[1] * (s.kernel[1] - 1) + 1);
}
// The rows under `outputs` rows of windows.
inline int64_t padded_rows(const ConvShape& s, int64_t outputs) {
  return (outputs - 1) * s.stride[0] + s.dilation[0] * (s.kernel[0] - 1) + 1;
}

// Rows [top, top + rows) of an image of `blocks` blocks with `pixel` elements for each position: [block][row][column],
// from the first column of the first window to the last of the last. They stay until the thread's next call.
template <typename T, typename X>
const T* padded_band(const ConvShape& s, const X* x, int64_t blocks, int64_t pixel, int64_t top, int64_t rows,
                     Isa isa) {
  const int64_t width = padded_width(s), row_size = checked_mul(width, pixel);
  const int64_t size = checked_mul(checked_mul(blocks, rows), row_size);
  auto* copy =
      static_cast<T*>(thread_scratch(ScratchSlot::kImage, static_cast<size_t>(checked_mul(size, int64_t{sizeof(T)}))));
  const int64_t before = std::min(s.pad_begin[1], width);
  const int64_t given = std::clamp<int64_t>(s.in[1], 0, width - before);
  T* to = copy;
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t row = top; row < top + rows; ++row, to += row_size) {
      if (row < 0 || row >= s.in[0]) {
        std::fill_n(to, row_size, T());
        continue;
      }
      const X* from = x + (block * s.in[0] + row) * s.in[1] * pixel;
      T* data = to + before * pixel;
      std::fill(to, data, T());
      if constexpr (std::is_same_v<T, X>) std::copy_n(from, given * pixel, data);
      else convert(from, data, given * pixel, isa);
      std::fill(data + given * pixel, to + row_size, T());
    }
  }
  return copy;
}

}  // namespace sx
