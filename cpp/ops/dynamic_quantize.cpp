// DynamicQuantizeLinear: x as u8 with the scale and zero point that its least and greatest element ask for.
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "kernels/quantize.h"
#include "kernels/rows.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kRow = 4096;

float extreme(Reduction kind, const float* x, int64_t n) {
  const int64_t rows = n / kRow;
  float* found =
      static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(rows + 2) * sizeof(float)));
  // The range always holds zero.
  int64_t count = 0;
  found[count++] = 0.0f;
  if (rows > 0) reduce_rows(kind, x, rows, kRow, found + count);
  count += rows;
  if (n % kRow != 0) reduce_rows(kind, x + rows * kRow, 1, n % kRow, found + count++);
  float result = 0;
  reduce_rows(kind, found, 1, count, &result);
  return result;
}

Kernel make_dynamic_quantize(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const float low = extreme(Reduction::kMin, x.data<float>(), x.size());
    const float high = extreme(Reduction::kMax, x.data<float>(), x.size());
    const float scale = low == high ? 1.0f : (high - low) / 255.0f;
    const float zero = std::nearbyint(std::min(255.0f, std::max(0.0f, -low / scale)));
    uint8_t* y = run.out(0, x.shape()).data<uint8_t>();
    if (run.wants(1)) *run.out(1, Shape{}).data<float>() = scale;
    if (run.wants(2)) *run.out(2, Shape{}).data<uint8_t>() = static_cast<uint8_t>(zero);
    const float* from = x.data<float>();
    const QuantizeArray how{scale, static_cast<int>(zero), 0, 255};
    parallel_for(x.size(), kElementGrain,
                 [&](int64_t begin, int64_t end) { quantize(how, from + begin, y + begin, end - begin); });
  };
}

void infer_dynamic_quantize(InferContext& c) {
  c.out(0, DType::kUInt8, c.type(0).shape);
  c.out(1, DType::kFloat32, SymShape{});
  c.out(2, DType::kUInt8, SymShape{});
}

// Of the scale alone, which is the width of the range that holds zero over 255.
void differentiate_dynamic_quantize(GradientContext& c) {
  const Expr zero = c.scalar(0, c.in(0).dtype());
  const auto bound = [&](const char* reduce, const char* join) {
    return c.op(join, {zero, c.op(reduce, {c.in(0)}, {{"keepdims", int64_t{0}}})});
  };
  const Expr width = bound("ReduceMax", "Max") - bound("ReduceMin", "Min");
  const Expr one = c.scalar(1, c.in(0).dtype());
  c.give_through({Expr(), c.where(c.op("Equal", {width, zero}), one, width / 255.0)});
}

}  // namespace

void define_dynamic_quantize(OpList& ops) {
  ops.add(OpDef("DynamicQuantizeLinear")
              .since(11, 11)
              .in("x", "T1", DType::kFloat32)
              .out("y", "T2", DType::kUInt8)
              .out("y_scale", "", DType::kFloat32)
              .out("y_zero_point", "T2", DType::kUInt8)
              .infer(infer_dynamic_quantize)
              .kernel(make_dynamic_quantize)
              .gradient(differentiate_dynamic_quantize));
}

}  // namespace sx
