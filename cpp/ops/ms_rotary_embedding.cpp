// Rotary position embedding of com.microsoft: y = x cos + rotate(x) sin with caches of angles for every position.
#include <algorithm>

#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/rotary.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kX, kPositions, kCos, kSin };

struct Spec {
  int64_t heads, turned;
  bool interleaved, packed;
  explicit Spec(const NodeView& node)
      : heads(node.attr_int("num_heads")),
        turned(node.attr_int("rotary_embedding_dim")),
        interleaved(node.attr_int("interleaved") != 0),
        packed(node.attr_int("is_packed_batching") != 0) {
    SX_CHECK(node, heads >= 0 && turned >= 0 && turned % 2 == 0,
             "attributes 'num_heads' and 'rotary_embedding_dim' are ", heads, " and ", turned,
             "; at least 0, and the second even, expected");
    SX_CHECK(node, turned == 0 || heads > 0, "attribute 'rotary_embedding_dim' needs 'num_heads'");
  }
};

void infer(InferContext& c) {
  const Spec spec(c);
  SX_CHECK(c, !c.has_shape(kX) || c.rank(kX) == 3 || c.rank(kX) == 4, "the input is ", c.type(kX).str(),
           "; 3 or 4 axes expected");
  for (int i : {kCos, kSin})
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 2, "a cache is ", c.type(i).str(), "; two axes expected");
  c.out(0, c.type(kX));
}

Kernel make(Prepare& p) {
  return [spec = Spec(p)](Run& run) {
    const Shape& shape = run.in(kX).shape();
    const Shape& caches = run.in(kCos).shape();
    SX_CHECK(run, shape.rank() == 3 || shape.rank() == 4, "the input is ", shape.str(), "; 3 or 4 axes expected");
    SX_CHECK(run, caches.rank() == 2 && caches == run.in(kSin).shape(), "cos_cache and sin_cache are ", caches.str(),
             " and ", run.in(kSin).shape().str(), "; two axes, the same in both, expected");
    const bool by_head = shape.rank() == 4;
    const int64_t batch = shape[0], rows = by_head ? shape[2] : shape[1], half = caches[1];
    int64_t heads, size;
    if (by_head) {
      heads = shape[1], size = shape[3];
    } else {
      const int64_t given = spec.heads > 0 ? spec.heads : shape[2] / std::max<int64_t>(1, 2 * half);
      heads = std::max<int64_t>(1, given), size = shape[2] / heads;
      SX_CHECK(run, heads * size == shape[2], "the input is ", shape.str(), ", which ", heads, " heads cannot share");
    }
    const int64_t turned = spec.turned > 0 ? spec.turned : size;
    SX_CHECK(run, turned <= size && turned == 2 * half, "the caches are ", caches.str(), ", but ", turned, " of ", size,
             " channels are to be turned; half as many columns expected");
    const Tensor& ids = run.in(kPositions);
    const int64_t* positions = ids.data<int64_t>();
    const bool offset = ids.size() == 1 && ids.rank() <= 1;
    SX_CHECK(run, offset || ids.shape() == Shape({batch, rows}), "position_ids are ", ids.shape().str(),
             "; one value or [", batch, ",", rows, "] expected");
    SX_CHECK(run, spec.packed || rows <= caches[0], "there are ", rows, " positions, but the caches are ",
             caches.str());
    for (int64_t i = 0; i < ids.size(); ++i)
      SX_CHECK(run, positions[i] >= 0 && positions[i] <= caches[0] - (offset ? rows : 1), "position_ids hold ",
               positions[i], offset ? join(", the first of ", rows, " positions") : "", ", but the caches are ",
               caches.str());
    const FloatIn x(run.in(kX)), cosine(run.in(kCos)), sine(run.in(kSin));
    const FloatOut y(run.out(0, shape));
    const int64_t head_step = by_head ? rows * size : size, row_step = by_head ? size : heads * size;
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, heads * size));
    parallel_for(batch * rows, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t b = i / rows, row = i % rows;
        const int64_t angle = (offset ? positions[0] + row : positions[i]) * half;
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t at = b * rows * heads * size + h * head_step + row * row_step;
          turn_head(x.data() + at, y.data() + at, size, cosine.data() + angle, sine.data() + angle, half,
                    spec.interleaved);
        }
      }
    });
    y.store();
  };
}

// One position is that of the first row.
void differentiate_rotary(GradientContext& c) {
  const Spec spec(c);
  const Expr x = c.in(kX);
  SX_CHECK(c, x.rank() == 3 || x.rank() == 4, "has no gradient where the rank of its input is unknown");
  const bool by_head = x.rank() == 4;
  SX_CHECK(c, by_head || spec.heads > 0, "has no gradient where the attribute 'num_heads' does not tell the heads");
  const Expr rows = by_head ? c.transpose(x, {0, 2, 1, 3}) : c.reshape(x, {0, 0, spec.heads, -1});
  Expr positions = c.in(kPositions);
  SX_CHECK(c, positions.rank() >= 0, "has no gradient where the rank of its positions is unknown");
  if (positions.rank() == 1) positions = c.unsqueeze(positions + c.iota(c.extent(rows, 1)), {0});
  const auto angles = [&](size_t i) { return c.op("Gather", {c.in(i), positions}); };
  const Expr y = turned(rows, angles(kCos), angles(kSin), spec.interleaved);
  c.give_through({by_head ? c.transpose(y, {0, 2, 1, 3}) : c.reshape_like(y, x)});
}

}  // namespace

void define_ms_rotary_embedding(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  // Runtimes ignore 'scale'.
  ops.add(OpDef("RotaryEmbedding", "com.microsoft")
              .attr("interleaved", 0)
              .attr("is_packed_batching", 0)
              .attr("num_heads", 0)
              .attr("rotary_embedding_dim", 0)
              .attr("scale", 1.0f)
              .in("input", "T", kTypes)
              .in("position_ids", "M", DType::kInt64)
              .in("cos_cache", "T", kTypes)
              .in("sin_cache", "T", kTypes)
              .out("output", "T")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_rotary));
}

}  // namespace sx
