// Cuts a panel of GEMM columns into runs of outputs that lie in one row.
#include "kernels/conv/segments.h"

#include <algorithm>

namespace sx {

int make_segments(const ConvShape& shape, const WindowLayout& layout, int64_t j, int columns, int longest,
                  Segment* segments) {
  const int last = shape.rank - 1;
  int64_t position[kMaxSpatialRank] = {};
  for (int axis = last; axis >= 0; --axis) {
    position[axis] = j % shape.out[axis];
    j /= shape.out[axis];
  }
  int count = 0;
  for (int lane = 0; lane < columns;) {
    const int64_t left_in_row = shape.out[last] - position[last];
    const int length = static_cast<int>(std::min<int64_t>(left_in_row, std::min(columns - lane, longest)));
    segments[count++] = {lane, length, layout.output_offset(position)};
    lane += length;
    position[last] += length;
    for (int axis = last; axis > 0 && position[axis] == shape.out[axis]; --axis) {
      position[axis] = 0;
      ++position[axis - 1];
    }
  }
  return count;
}

}  // namespace sx
