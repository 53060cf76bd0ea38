// Bands of rows by parts of filters: few enough that input and weights are read from near memory.
#include "kernels/conv/blocked_tasks.h"

#include <algorithm>

namespace sx {
namespace {

constexpr int64_t kBandBytes = 384 << 10;  // input that a task works through again and again

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void for_each_band(const ConvShape& s, const BlockedTasks& tasks,
                   FunctionRef<void(int64_t, int64_t, int64_t, int64_t, int64_t)> body) {
  const int64_t rows = tasks.rows, groups = tasks.groups;
  // Of input for a row of outputs; strides of a model may be so large that integers would overflow.
  const double row_bytes = static_cast<double>(tasks.pixel_bytes * tasks.row_length) *
                           static_cast<double>(s.stride[0]) * static_cast<double>(s.stride[1]);
  const auto per_band = static_cast<int64_t>(std::clamp(kBandBytes / row_bytes, 1.0, static_cast<double>(rows)));
  const double work =
      static_cast<double>(s.batch * s.filters * s.channels) * static_cast<double>(s.kernel_size() * s.out_size());
  const auto wanted =
      static_cast<int64_t>(std::min(4.0 * thread_count(), std::max(1.0, work / static_cast<double>(tasks.least_work))));
  // Bands first: a task that has all filters reads its input once.
  int64_t bands = ceil_div(rows, per_band);
  int64_t parts = 1;
  if (s.batch * bands < wanted) {
    const bool heavy = s.filters * s.channels * s.kernel_size() > 64 * rows * tasks.row_length;
    if (heavy) parts = std::min(groups, ceil_div(wanted, s.batch * bands));
    if (s.batch * bands * parts < wanted) bands = std::min(rows, ceil_div(wanted, s.batch * parts));
    if (s.batch * bands * parts < wanted) parts = std::min(groups, ceil_div(wanted, s.batch * bands));
  }
  parallel_for(s.batch * bands * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      // Images outermost: a thread goes on with those that it made.
      const int64_t image = task / parts / bands;
      const int64_t band = task % bands, part = task / bands % parts;
      body(image, band * rows / bands, (band + 1) * rows / bands, part * groups / parts, (part + 1) * groups / parts);
    }
  });
}

void inner_outputs(const ConvShape& shape, int axis, int64_t* begin, int64_t* end) {
  *begin = std::min(shape.out[axis], ceil_div(shape.pad_begin[axis], shape.stride[axis]));
  const int64_t span = shape.dilation[axis] * (shape.kernel[axis] - 1);
  const int64_t last_start = shape.in[axis] + shape.pad_begin[axis] - span - 1;
  *end = last_start < 0 ? *begin : std::clamp(last_start / shape.stride[axis] + 1, *begin, shape.out[axis]);
}

}  // namespace sx
