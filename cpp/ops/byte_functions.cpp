// MapBytes: y = table[x]; QLinearGlobalMean: y = saturate(round((mean(x) - x_zero) * x_scale / y_scale) + y_zero).
// Only the passes make them.
#include <algorithm>

#include "kernels/conv/blocked_bytes.h"
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DTypeSet(DType::kUInt8) | DType::kInt8;

// --- MapBytes

void infer_map(InferContext& c) { c.out(0, c.dtype(1), c.type(0).shape); }

Kernel make_map(Prepare& p) {
  SX_CHECK(p, p.constant(1) != nullptr && p.constant(1)->size() == 256, "needs a constant table of 256 elements");
  return [table = *p.constant(1)](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    const auto* from = static_cast<const uint8_t*>(x.raw());
    auto* to = static_cast<uint8_t*>(y.raw());
    parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
      map_bytes(static_cast<const uint8_t*>(table.raw()), from + begin, to + begin, end - begin);
    });
  };
}

// --- QLinearGlobalMean: of all but the first two axes, or, with `blocked`, of the pixels of channel-blocked data

void infer_global_mean(InferContext& c) {
  SX_CHECK(c, c.rank(0) >= 3, "takes ", c.type(0).str(), "; data of at least three dimensions expected");
  SymShape out = c.shape(0);
  const size_t last = c.attr_int("blocked") != 0 ? out.size() - 1 : out.size();
  for (size_t i = 2; i < last; ++i) out[i] = Dim(1);
  c.out(0, c.dtype(4), out);
}

Kernel make_global_mean(Prepare& p) {
  for (int i = 1; i <= 4; ++i)
    SX_CHECK(p, p.constant(i) != nullptr && p.constant(i)->size() == 1, "needs constant scales and zero points");
  const float scale = *p.constant(1)->data<float>() / *p.constant(3)->data<float>();
  const int64_t x_zero = p.constant(2)->scalar_as_int(), y_zero = p.constant(4)->scalar_as_int();
  const bool blocked = p.attr_int("blocked") != 0;
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int rank = x.rank();
    const int64_t block = blocked ? x.dim(rank - 1) : 1;
    Shape shape = x.shape();
    int64_t pixels = 1;
    for (int i = 2; i < (blocked ? rank - 1 : rank); ++i) {
      pixels *= shape[i];
      shape[i] = 1;
    }
    Tensor& y = run.out(0, shape);
    const bool x_signed = x.dtype() == DType::kInt8, y_signed = y.dtype() == DType::kInt8;
    const int64_t low = y_signed ? -128 : 0, planes = y.size() / block;
    const double step = static_cast<double>(scale) / static_cast<double>(pixels);
    const auto* from = static_cast<const uint8_t*>(x.raw());
    auto* to = static_cast<uint8_t*>(y.raw());
    parallel_for(planes, std::max<int64_t>(1, kElementGrain / (pixels * block + 1)), [&](int64_t begin, int64_t end) {
      int64_t sums[kMostBlock];
      for (int64_t plane = begin; plane < end; ++plane) {
        if (blocked) sum_pixels(from + plane * pixels * block, pixels, sums);
        else sums[0] = sum_bytes(from + plane * pixels, pixels, x_signed);
        for (int64_t c = 0; c < block; ++c) {
          const double mean = static_cast<double>(sums[c] - x_zero * pixels) * step;
          const double rounded = pixels == 0 ? 0.0 : std::nearbyint(std::clamp(mean, -512.0, 512.0));
          to[plane * block + c] =
              static_cast<uint8_t>(std::clamp(static_cast<int64_t>(rounded) + y_zero, low, low + 255));
        }
      }
    });
  };
}

}  // namespace

void define_byte_functions(OpList& ops) {
  ops.add(OpDef("MapBytes", "sardonyx")
              .in("x", "", kBytes)
              .in("table", "", kBytes)
              .out("y", "", kBytes)
              .in_place({0})
              .infer(infer_map)
              .kernel(make_map));
  ops.add(OpDef("QLinearGlobalMean", "sardonyx")
              .attr("blocked", 0)
              .in("x", "T1", kBytes)
              .in("x_scale", "", DType::kFloat32)
              .in("x_zero_point", "T1", kBytes)
              .in("y_scale", "", DType::kFloat32)
              .in("y_zero_point", "T2", kBytes)
              .out("y", "T2", kBytes)
              .infer(infer_global_mean)
              .kernel(make_global_mean));
}

}  // namespace sx
