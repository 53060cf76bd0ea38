// The gradient of GridSample, through the samples as weighted sums of gathered elements.
#include "ops/grid_sample.h"

namespace sx {
namespace {

// What one axis contributes to the samples of all positions: places i64[batch, positions] and weights.
struct Tap {
  Expr place, weight;
};

class Sampler {
 public:
  Sampler(GradientContext& c, const SampleSettings& s) : c_(c), s_(s), dtype_(c.in(1).dtype()) {}

  Expr run(const Expr& x, const Expr& grid, int axes) {
    // Grids count the last axis first.
    std::vector<std::vector<Tap>> taps;
    for (int k = 0; k < axes; ++k) {
      const Expr position = c_.op("Gather", {grid, c_.constant(Tensor::scalar<int64_t>(k))}, {{"axis", int64_t{2}}});
      taps.push_back(axis_taps(position, c_.extent(x, axes + 1 - k)));
    }
    const Expr flat = c_.reshape(x, {0, 0, -1});
    std::vector<Tap> all = taps[0];
    Expr stride = c_.extent(x, axes + 1);
    for (int k = 1; k < axes; ++k) {
      std::vector<Tap> next;
      for (const Tap& outer : taps[static_cast<size_t>(k)])
        for (const Tap& inner : all)
          next.push_back({inner.place + outer.place * stride, product(inner.weight, outer.weight)});
      stride = stride * c_.extent(x, axes + 1 - k);
      all = std::move(next);
    }
    Expr sum;
    for (const Tap& tap : all) {
      const Expr wide = c_.concat({c_.extents(x, 0, 2), c_.extent(tap.place, 1)}, 0);
      const Expr places = c_.op("Expand", {c_.unsqueeze(tap.place, {1}), wide});
      Expr part = c_.op("GatherElements", {flat, places}, {{"axis", int64_t{2}}});
      if (tap.weight) part = part * c_.cast(c_.unsqueeze(tap.weight, {1}), x.dtype());
      sum = sum ? sum + part : part;
    }
    return sum;
  }

 private:
  Expr number(double value) { return c_.scalar(value, dtype_); }
  static Expr product(const Expr& a, const Expr& b) { return a && b ? a * b : a ? a : b; }

  Expr reflect(const Expr& x, const Expr& low, const Expr& high) {
    const Expr range = high - low;
    const Expr wide = c_.op("Greater", {range, number(0)});
    const Expr turn = c_.where(wide, range, number(1));
    const Expr below = c_.op("Less", {x, low});
    const Expr distance = c_.where(below, low - x, x - high);
    const Expr turns = c_.op("Floor", {distance / turn});
    const Expr rest = distance - turns * turn;
    const Expr odd = c_.op("Greater", {turns - c_.op("Floor", {turns * 0.5}) * 2.0, number(0.5)});
    const Expr reflected = c_.where(c_.op("Xor", {below, odd}), low + rest, high - rest);
    const Expr inside = c_.op("And", {c_.op("GreaterOrEqual", {x, low}), c_.op("LessOrEqual", {x, high})});
    return c_.where(wide, c_.where(inside, x, reflected), low);
  }

  std::vector<Tap> axis_taps(const Expr& normalized, const Expr& extent) {
    const Expr n = c_.cast(extent, dtype_);
    const Expr last = n - 1.0;
    const Expr low = s_.align_corners ? number(0) : number(-0.5);
    const Expr high = s_.align_corners ? last : last + 0.5;
    Expr x = s_.align_corners ? (normalized + 1.0) * 0.5 * last : ((normalized + 1.0) * n - 1.0) * 0.5;
    if (s_.mode == SampleMode::kNearest) x = c_.op("Round", {x});
    if (s_.padding == SamplePadding::kBorder && s_.mode != SampleMode::kCubic)
      x = c_.op("Min", {c_.op("Max", {x, number(0)}), last});
    if (s_.padding == SamplePadding::kReflection) x = reflect(x, low, high);
    const Expr base = c_.op("Floor", {x});
    const auto tap = [&](int shift, const Expr& weight) {
      Expr place = base + static_cast<double>(shift);
      Expr share = weight;
      if (s_.padding == SamplePadding::kZeros) {
        const Expr inside =
            c_.op("And", {c_.op("GreaterOrEqual", {place, number(0)}), c_.op("LessOrEqual", {place, last})});
        share = product(weight, c_.cast(inside, dtype_));
      }
      // Cut off, not rounded.
      if (s_.padding == SamplePadding::kReflection) place = reflect(place, low, high);
      place = c_.op("Min", {c_.op("Max", {place, number(0)}), last});
      return Tap{c_.cast(place, DType::kInt64), share};
    };
    if (s_.mode == SampleMode::kNearest) return {tap(0, Expr())};
    const Expr part = x - base;
    if (s_.mode == SampleMode::kLinear) return {tap(0, 1.0 - part), tap(1, part)};
    constexpr double kA = -0.75;
    const auto near = [&](const Expr& d) { return ((d * (kA + 2)) - (kA + 3)) * d * d + 1.0; };
    const auto far = [&](const Expr& d) { return ((d * kA - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
    return {tap(-1, far(part + 1.0)), tap(0, near(part)), tap(1, near(1.0 - part)), tap(2, far(2.0 - part))};
  }

  GradientContext& c_;
  const SampleSettings& s_;
  DType dtype_;
};

}  // namespace

void differentiate_grid_sample(GradientContext& c) {
  const Expr x = c.in(0), grid = c.in(1);
  const int axes = x.rank() - 2;
  SX_CHECK(c, axes >= 1 && grid.rank() == x.rank(), "has no gradient where the ranks of its inputs are unknown");
  const SampleSettings settings = sample_settings(c);
  const Expr lines = c.reshape(grid, {0, -1, axes});
  c.give_through({c.reshape_like(Sampler(c, settings).run(x, lines, axes), c.out())});
}

}  // namespace sx
