// Turns pairs of channels of every head by an angle that depends on the position: y = x cos + rotate(x) sin.
#include <algorithm>

#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/rotary.h"

namespace sx {

Expr turned(const Expr& x, const Expr& cosine, const Expr& sine, bool interleaved) {
  Emitter& e = x.emitter();
  const Expr cosines = e.unsqueeze(cosine, {2}), sines = e.unsqueeze(sine, {2});
  const Expr half = e.extent(cosines, 3), both = half + half;
  const auto channels = [&](const Expr& begin, const Expr& end, int64_t step) {
    return e.op("Slice", {x, begin, end, e.ints({3}), e.ints({step})});
  };
  const Expr real = interleaved ? channels(e.ints({0}), both, 2) : channels(e.ints({0}), half, 1);
  const Expr imaginary = interleaved ? channels(e.ints({1}), both, 2) : channels(half, both, 1);
  std::vector<Expr> parts = {real * cosines - imaginary * sines, real * sines + imaginary * cosines};
  const Expr rest = channels(both, e.ints({INT64_MAX}), 1);
  if (!interleaved) return e.concat({parts[0], parts[1], rest}, 3);
  for (Expr& part : parts) part = e.unsqueeze(part, {4});
  return e.concat({e.reshape(e.concat(parts, 4), {0, 0, 0, -1}), rest}, 3);
}

namespace {

// Inputs by place.
enum : int { kX, kCos, kSin, kPositions };

struct RotarySpec {
  int64_t heads, turned;
  bool interleaved;
  explicit RotarySpec(const NodeView& node)
      : heads(node.attr_or<int64_t>("num_heads", 0)),
        turned(node.attr_int("rotary_embedding_dim")),
        interleaved(node.attr_int("interleaved") != 0) {
    SX_CHECK(node, turned >= 0 && turned % 2 == 0, "attribute 'rotary_embedding_dim' is ", turned,
             "; an even number expected");
    SX_CHECK(node, heads >= 0, "attribute 'num_heads' is ", heads);
  }
};

// X as [batch, positions, heads, size] with any strides between them.
struct Layout {
  int64_t batch, positions, heads, size;
  int64_t batch_step, position_step, head_step;
};

Layout layout_of(const Run& run, const RotarySpec& spec) {
  const Shape& x = run.in(kX).shape();
  SX_CHECK(run, x.rank() == 3 || x.rank() == 4, "X is ", x.str(), "; 3 or 4 axes expected");
  if (x.rank() == 4) return {x[0], x[2], x[1], x[3], x[1] * x[2] * x[3], x[3], x[2] * x[3]};
  SX_CHECK(run, spec.heads > 0 && x[2] % spec.heads == 0, "X is ", x.str(), ", which num_heads = ", spec.heads,
           " cannot share");
  const int64_t size = x[2] / spec.heads;
  return {x[0], x[1], spec.heads, size, x[1] * x[2], x[2], size};
}

Kernel make(Prepare& p) {
  return [spec = RotarySpec(p)](Run& run) {
    const Layout s = layout_of(run, spec);
    const int64_t turned = spec.turned == 0 ? s.size : spec.turned;
    const int64_t half = turned / 2;
    SX_CHECK(run, turned <= s.size && turned % 2 == 0, "turns ", turned, " of ", s.size,
             " channels; an even number of them expected");
    const Tensor& cosines = run.in(kCos);
    SX_CHECK(run, cosines.shape() == run.in(kSin).shape() && cosines.rank() >= 1 && cosines.shape().back() == half,
             "the caches are ", cosines.shape().str(), " and ", run.in(kSin).shape().str(), "; ", half,
             " values for each position expected");
    const int64_t* positions = nullptr;
    if (run.has(kPositions)) {
      const Tensor& ids = run.in(kPositions);
      SX_CHECK(run, cosines.rank() == 2 && ids.shape() == Shape({s.batch, s.positions}), "position_ids are ",
               ids.shape().str(), " and the caches ", cosines.shape().str(), "; [", s.batch, ",", s.positions,
               "] and two axes expected");
      positions = ids.data<int64_t>();
      for (int64_t i = 0; i < ids.size(); ++i)
        SX_CHECK(run, positions[i] >= 0 && positions[i] < cosines.dim(0), "position_ids hold ", positions[i], "; 0..",
                 cosines.dim(0) - 1, " expected");
    } else {
      SX_CHECK(run, cosines.shape() == Shape({s.batch, s.positions, half}), "the caches are ", cosines.shape().str(),
               "; [", s.batch, ",", s.positions, ",", half, "] expected");
    }
    Tensor& y = run.out(0, run.in(kX).shape());
    const FloatIn x(run.in(kX)), cosine(cosines), sine(run.in(kSin));
    const FloatOut out(y);
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, s.heads * s.size));
    parallel_for(s.batch * s.positions, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t row = positions == nullptr ? i : positions[i];
        const float* c = cosine.data() + row * half;
        const float* d = sine.data() + row * half;
        for (int64_t head = 0; head < s.heads; ++head) {
          const int64_t at = i / s.positions * s.batch_step + i % s.positions * s.position_step + head * s.head_step;
          turn_head(x.data() + at, out.data() + at, s.size, c, d, half, spec.interleaved);
        }
      }
    });
    out.store();
  };
}

void differentiate_rotary(GradientContext& c) {
  const RotarySpec spec(c);
  const Expr x = c.in(kX);
  SX_CHECK(c, x.rank() == 3 || x.rank() == 4, "has no gradient where the rank of its input is unknown");
  const auto angles = [&](size_t i) {
    return c.in(kPositions) ? c.op("Gather", {c.in(i), c.in(kPositions)}) : c.in(i);
  };
  const bool by_head = x.rank() == 4;
  const Expr rows = by_head ? c.transpose(x, {0, 2, 1, 3}) : c.reshape(x, {0, 0, spec.heads, -1});
  const Expr y = turned(rows, angles(kCos), angles(kSin), spec.interleaved);
  c.give_through({by_head ? c.transpose(y, {0, 2, 1, 3}) : c.reshape_like(y, x)});
}

}  // namespace

void define_rotary_embedding(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  ops.add(OpDef("RotaryEmbedding")
              .since(23, 23)
              .attr("interleaved", 0)
              .optional_attr("num_heads", AttrKind::kInt)
              .attr("rotary_embedding_dim", 0)
              .in("X", "T", kTypes)
              .in("cos_cache", "T", kTypes)
              .in("sin_cache", "T", kTypes)
              .optional_in("position_ids", "M", DType::kInt64)
              .out("Y", "T")
              .infer(same_as(0))
              .kernel(make)
              .gradient(differentiate_rotary));
}

}  // namespace sx
