// Bands of rows by parts of filters: few enough that input and weights are read from near memory, and alike in size, so
// that threads finish together.
#include "kernels/conv/blocked_tasks.h"

#include <algorithm>
#include <limits>

namespace sx {
namespace {

constexpr int64_t kBandBytes = 384 << 10;  // input that a task works through again and again

constexpr int64_t kLeastFlatWork = 200'000;  // multiply-adds worth a task
constexpr int64_t kTasksPerThread = 4;
// What a thread does in a nanosecond, more or less: multiply-adds, and bytes that it reads from far memory beside them.
constexpr double kRate = 50.0, kBytesRate = 60.0;
constexpr double kTaskTime = 100.0;  // to begin a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Part i of n of `total` things that come in tiles of `tile`.
struct Part {
  int64_t begin, end;  // tiles
  int64_t size;        // things
};
Part part_of(int64_t total, int64_t tile, int64_t i, int64_t n) {
  const int64_t tiles = ceil_div(total, tile), begin = i * tiles / n, end = (i + 1) * tiles / n;
  return {begin, end, std::min(total, end * tile) - begin * tile};
}

// A cut of each image of a product into bands of pixels by parts of filters. Tasks go from band to band within a part,
// or from part to part within a band.
struct FlatCut {
  int64_t bands = 1, parts = 1;
  bool band_by_band = false;

  int64_t band(int64_t task) const { return band_by_band ? task / parts % bands : task % bands; }
  int64_t part(int64_t task) const { return band_by_band ? task % parts : task / bands % parts; }

  // Until the last thread is done with its share of the tasks.
  double time(const FlatTasks& t, int64_t threads) const {
    const int64_t count = t.batch * bands * parts;
    double longest = 0.0;
    for (int64_t thread = 0; thread < threads; ++thread) {
      double sum = 0.0;
      for (int64_t task = count * thread / threads; task < count * (thread + 1) / threads; ++task) {
        const auto pixels = static_cast<double>(part_of(t.pixels, t.tile_pixels, band(task), bands).size);
        const auto filters = static_cast<double>(part_of(t.filters, t.tile_filters, part(task), parts).size);
        const auto depth = static_cast<double>(t.depth);
        sum += pixels * filters * depth / kRate + 4.0 * (pixels + filters) * depth / kBytesRate + kTaskTime;
      }
      longest = std::max(longest, sum);
    }
    return longest;
  }
};

FlatCut find_cut(const FlatTasks& t, int64_t threads) {
  const int64_t tiles = ceil_div(t.pixels, t.tile_pixels), groups = ceil_div(t.filters, t.tile_filters);
  const int64_t per_band = std::clamp<int64_t>(kBandBytes / 4 / (t.tile_pixels * t.depth), 1, tiles);
  // A tile of few pixels takes as long as a whole one: it waits for weights.
  const int64_t pixels = std::max(t.pixels, t.tile_pixels);
  const double work = static_cast<double>(t.batch * pixels * t.filters) * static_cast<double>(t.depth);
  const auto wanted = static_cast<int64_t>(std::min(static_cast<double>(kTasksPerThread * threads),
                                                    std::max(1.0, work / static_cast<double>(kLeastFlatWork))));
  FlatCut best;
  best.bands = ceil_div(tiles, per_band);
  if (t.batch * best.bands >= wanted) return best;
  const int64_t least = best.bands;
  double shortest = std::numeric_limits<double>::max();
  for (int64_t bands : {least, threads, 2 * threads, kTasksPerThread * threads}) {
    for (int64_t parts : {int64_t{1}, threads, wanted, groups}) {
      for (bool band_by_band : {false, true}) {
        const FlatCut cut{std::clamp(bands, least, tiles), std::min(parts, groups), band_by_band};
        if (t.batch * cut.bands * cut.parts > std::max(2 * wanted, t.batch * least)) continue;
        const double time = cut.time(t, threads);
        if (time < shortest) best = cut, shortest = time;
      }
    }
  }
  return best;
}

// Shapes come again and again, and a search takes microseconds.
FlatCut cut_of(const FlatTasks& t) {
  struct Found {
    FlatTasks tasks;
    int64_t threads;
    FlatCut cut;
  };
  constexpr size_t kFound = 64;
  thread_local Found cache[kFound] = {};
  const int64_t threads = thread_count();
  const auto hash =
      static_cast<uint64_t>(t.pixels) * 961 + static_cast<uint64_t>(t.filters) * 31 + static_cast<uint64_t>(t.depth);
  Found& found = cache[hash * 0x9e3779b97f4a7c15u >> 58];
  const FlatTasks& f = found.tasks;
  if (found.threads != threads || f.batch != t.batch || f.pixels != t.pixels || f.tile_pixels != t.tile_pixels ||
      f.filters != t.filters || f.tile_filters != t.tile_filters || f.depth != t.depth)
    found = {t, threads, find_cut(t, threads)};
  return found.cut;
}

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

void for_each_flat_band(const FlatTasks& t, FunctionRef<void(int64_t, int64_t, int64_t, int64_t, int64_t)> body) {
  const FlatCut cut = cut_of(t);
  parallel_for(t.batch * cut.bands * cut.parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Part band = part_of(t.pixels, t.tile_pixels, cut.band(task), cut.bands);
      const Part part = part_of(t.filters, t.tile_filters, cut.part(task), cut.parts);
      const int64_t first = band.begin * t.tile_pixels;
      body(task / cut.bands / cut.parts, first, first + band.size, part.begin, part.end);
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
