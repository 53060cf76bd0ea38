// DynamicQuantizeLinear: x as u8 with the scale and zero point that its least and greatest element ask for.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/quantize.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

Kernel make_dynamic_quantize(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const ArrayRange range = range_with_zero(x.data<float>(), x.size());
    const float low = range.low, high = range.has_nan ? std::numeric_limits<float>::quiet_NaN() : range.high;
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
