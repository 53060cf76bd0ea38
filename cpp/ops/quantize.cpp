// QuantizeLinear: y = saturate(round(x / scale) + zero_point); DequantizeLinear: y = (x - zero_point) * scale.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/quantize.h"
#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kQuantizedIntegers = kNarrowIntegers | DType::kInt8 | DType::kUInt8 | DType::kInt16 | DType::kUInt16;
constexpr DTypeSet kQuantized = kQuantizedIntegers | kFloat8s | kNarrowFloats;
constexpr DTypeSet kReal = kHalfFloats | DType::kFloat32;
constexpr DTypeSet kScales = kReal | DType::kFloat8E8M0;
constexpr int64_t kBlock = 512;

// --- how scales meet the elements

// The elements are walked in segments of `length` contiguous ones. Within a segment the scale is one value, or one for
// each element (`each`).
struct Layout {
  int64_t segments = 0, length = 0;
  bool each = false;
  int64_t outer = 1, extent = 1, inner = 1, blocks = 1, block = 1;  // x is [outer, extent, inner]
  enum class Kind { kTensor, kAxis, kBlocked } kind = Kind::kTensor;

  // Where segment s starts, how long it is, and which scale is its first.
  int64_t start(int64_t s) const {
    if (kind == Kind::kBlocked && inner == 1) return s / blocks * extent + s % blocks * block;
    return s * length;
  }
  int64_t size(int64_t s) const {
    if (kind == Kind::kBlocked && inner == 1) return std::min(block, extent - s % blocks * block);
    return length;
  }
  int64_t scale(int64_t s) const {
    if (kind == Kind::kTensor) return 0;
    if (kind == Kind::kAxis) return inner == 1 ? 0 : s % extent;
    return inner == 1 ? s : (s / extent * blocks + s % extent / block) * inner;
  }
};

Layout layout_of(const Run& run, const NodeView& node, int64_t axis_attribute, int64_t block_size) {
  const Shape& x = run.in(0).shape();
  const Shape& scale = run.in(1).shape();
  Layout layout;
  if (run.has(2))
    SX_CHECK(run, run.in(2).size() == run.in(1).size(), "the zero point has the shape ", run.in(2).shape().str(),
             " and the scale ", scale.str(), "; equal ones expected");
  if (block_size == 0 && scale.size() == 1) {
    layout.segments = 1;
    layout.length = x.size();
    return layout;
  }
  const int axis = node.axis(axis_attribute, x.rank());
  layout.outer = x.size(0, axis);
  layout.extent = x[axis];
  layout.inner = x.size(axis + 1, x.rank());
  const bool last = layout.inner == 1;
  if (block_size == 0) {
    SX_CHECK(run, scale.rank() == 1 && scale[0] == x[axis], "the scale has the shape ", scale.str(), "; one value or [",
             x[axis], "] expected for axis ", axis, " of x of shape ", x.str());
    layout.kind = Layout::Kind::kAxis;
    layout.each = last;
    layout.length = last ? layout.extent : layout.inner;
    layout.segments = last ? layout.outer : layout.outer * layout.extent;
    return layout;
  }
  layout.kind = Layout::Kind::kBlocked;
  layout.block = block_size;
  layout.blocks = layout.extent / block_size + (layout.extent % block_size != 0);
  Shape expected = x;
  expected[axis] = layout.blocks;
  SX_CHECK(run, scale == expected, "the scale has the shape ", scale.str(), "; ", expected.str(),
           " expected for blocks of ", block_size, " along axis ", axis, " of x of shape ", x.str());
  layout.each = !last;
  layout.length = last ? block_size : layout.inner;
  layout.segments = last ? layout.outer * layout.blocks : layout.outer * layout.extent;
  return layout;
}

// The scales as float and the zero points as int32, or null without zero points.
struct Parameters {
  Parameters(const Run& run) {  // NOLINT: a view of the run
    scale_ = run.in(1);
    if (scale_.dtype() != DType::kFloat32) {
      scale_ = Tensor(DType::kFloat32, run.in(1).shape());
      convert_elements(run.in(1).dtype(), DType::kFloat32, run.in(1).raw(), scale_.raw(), scale_.size());
    }
    scale = scale_.data<float>();
    if (!run.has(2)) return;
    const Tensor& given = run.in(2);
    if (is_float(given.dtype())) {
      zero_ = Tensor(DType::kFloat32, given.shape());
      convert_elements(given.dtype(), DType::kFloat32, given.raw(), zero_.raw(), given.size());
      float_zero = zero_.data<float>();
    } else {
      zero_ = Tensor(DType::kInt32, given.shape());
      convert_elements(given.dtype(), DType::kInt32, given.raw(), zero_.raw(), given.size());
      zero = zero_.data<int32_t>();
    }
  }
  const float* scale = nullptr;
  const int32_t* zero = nullptr;
  const float* float_zero = nullptr;

 private:
  Tensor scale_;
  Tensor zero_;
};

// Calls body(first element, count, first scale, step between scales) for parts of at most kBlock elements, in parallel.
template <typename F>
void for_each_part(const Layout& layout, F body) {
  if (layout.length == 0) return;
  // Long segments are cut, short ones are handed out together.
  const int64_t parts = (layout.length + kElementGrain - 1) / kElementGrain;
  const int64_t stride = (layout.length + parts - 1) / parts;
  parallel_for(layout.segments * parts, std::max<int64_t>(1, kElementGrain / 2 / stride),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t segment = item / parts;
                   const int64_t from = item % parts * stride;
                   const int64_t to = std::min(layout.size(segment), from + stride);
                   const int64_t start = layout.start(segment);
                   const int64_t scale = layout.scale(segment);
                   for (int64_t i = from; i < to; i += kBlock)
                     body(start + i, std::min(kBlock, to - i), layout.each ? scale + i : scale,
                          layout.each ? int64_t{1} : int64_t{0});
                 }
               });
}

// --- QuantizeLinear

struct Limits {
  int low = 0, high = 0;
};

Limits limits_of(DType dtype) {
  const int bits = file_bits(dtype);
  return is_signed_integer(dtype) ? Limits{-(1 << (bits - 1)), (1 << (bits - 1)) - 1} : Limits{0, (1 << bits) - 1};
}

// Calls f with a pointer to the storage of an integer type of at most 16 bits.
template <typename F>
void with_storage_of(DType dtype, void* x, F f) {
  if (dtype == DType::kInt16) return f(static_cast<int16_t*>(x));
  if (dtype == DType::kUInt16) return f(static_cast<uint16_t*>(x));
  if (is_signed_integer(dtype)) return f(static_cast<int8_t*>(x));
  f(static_cast<uint8_t*>(x));
}

// Adding it leaves the nearest integer, ties to even, in the low bits of numbers below 2^22.
constexpr float kRounder = 12582912.0f;

// As kernels/quantize.h has it, for a zero point that changes from element to element.
inline int quantize_one(float quotient, int zero, Limits limits) {
  const float low = static_cast<float>(limits.low - zero);
  const float high = static_cast<float>(limits.high - zero);
  float clamped = quotient > low ? quotient : low;
  clamped = clamped < high ? clamped : high;
  return static_cast<int>((clamped + kRounder) - kRounder) + zero;
}

void divide(const float* x, const float* scale, int64_t step, float* y, int64_t n) {
  if (step == 0) generate(y, n, [=, by = *scale](int64_t i) { return x[i] / by; });
  else generate(y, n, [=](int64_t i) { return x[i] / scale[i]; });
}

Kernel make_quantize(Prepare& p) {
  const int64_t axis = p.attr_int("axis");
  const int64_t block_size = p.attr_int("block_size");
  const bool saturate = p.attr_int("saturate") != 0;
  const int64_t precision_attribute = p.attr_int("precision");
  const DType precision = precision_attribute != 0 ? static_cast<DType>(precision_attribute) : p.dtype(1);
  const DType to = p.output_type(0).dtype;
  const Limits limits = is_float(to) ? Limits{} : limits_of(to);
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const Layout layout = layout_of(run, node, axis, block_size);
    const Parameters parameters(run);
    Tensor& y = run.out(0, x.shape());
    for_each_part(layout, [&](int64_t first, int64_t n, int64_t scale, int64_t step) {
      alignas(64) float block[kBlock];
      const float* from = block;
      if (x.dtype() == DType::kFloat32) from = x.data<float>() + first;
      else convert_elements(x.dtype(), DType::kFloat32, element(x, first), block, n);
      void* out = element(y, first);
      const int32_t* zero = parameters.zero ? parameters.zero + scale : nullptr;
      const bool narrow_quotient = kHalfFloats.has(precision);
      QuantizeArray how{parameters.scale[scale], zero ? *zero : 0, limits.low, limits.high};
      if (is_float(to) || step != 0 || narrow_quotient) {
        divide(from, parameters.scale + scale, step, block, n);
        from = block;
        how.scale = 1.0f;
      }
      if (narrow_quotient) {
        uint16_t rounded[kBlock];
        store_floats(precision, block, rounded, n);
        load_floats(precision, rounded, block, n);
      }
      if (!is_float(to)) {
        return with_storage_of(to, out, [&](auto* target) {
          using T = std::remove_pointer_t<decltype(target)>;
          if (step == 0) return quantize(how, from, target, n);
          generate(target, n,
                   [&](int64_t i) { return static_cast<T>(quantize_one(block[i], zero ? zero[i] : 0, limits)); });
        });
      }
      if (parameters.float_zero)
        for (int64_t i = 0; i < n; ++i) block[i] += parameters.float_zero[scale + i * step];
      convert_elements(DType::kFloat32, to, block, out, n, saturate);
    });
  };
}

void check_block_size(const InferContext& c) {
  SX_CHECK(c, c.attr_int("block_size") >= 0, "block_size is ", c.attr_int("block_size"),
           "; a number of elements, or 0, expected");
  SX_CHECK(c, c.attr_int("block_size") == 0 || c.rank(0) < 0 || c.rank(1) < 0 || c.rank(0) == c.rank(1),
           "the scale is ", c.type(1).str(), "; the rank of x: ", c.type(0).str(), " expected for blocks");
}

void infer_quantize(InferContext& c) {
  check_block_size(c);
  const int64_t asked = c.attr_int("output_dtype");
  const int64_t precision = c.attr_int("precision");
  SX_CHECK(c, precision == 0 || precision == 1 || precision == 10 || precision == 16, "precision is ", precision,
           "; 1 (float), 10 (float16) or 16 (bfloat16) expected");
  DType to = asked != 0 ? static_cast<DType>(asked) : DType::kUInt8;
  if (c.has(2)) {
    SX_CHECK(c, asked == 0 || asked == static_cast<int64_t>(c.dtype(2)), "output_dtype is ", asked,
             " but the zero point is ", c.type(2).str());
    to = c.dtype(2);
  }
  SX_CHECK(c, asked >= 0 && asked < kDTypeCount && kQuantized.has(to), "output_dtype is ", asked, "; one of ",
           kQuantized.str(), " expected");
  c.out(0, to, c.type(0).shape);
}

// --- DequantizeLinear

template <typename T>
void dequantize_part(const T* x, const int32_t* zero, const float* scale, int64_t step, float* y, int64_t n) {
  if constexpr (sizeof(T) < sizeof(int32_t)) {
    if (step == 0) return dequantize(x, zero ? *zero : 0, *scale, y, n);
  } else if (zero == nullptr && step == 0) {
    return generate(y, n, [=, by = *scale](int64_t i) { return static_cast<float>(x[i]) * by; });
  }
  // Differences of 32-bit numbers need more than 32 bits.
  using Wide = std::conditional_t<sizeof(T) == 4, int64_t, int32_t>;
  generate(y, n, [=](int64_t i) {
    return static_cast<float>(static_cast<Wide>(x[i]) - (zero ? zero[i * step] : 0)) * scale[i * step];
  });
}

void dequantize_integers(DType dtype, const void* x, const int32_t* zero, const float* scale, int64_t step, float* y,
                         int64_t n) {
  if (dtype == DType::kInt32) return dequantize_part(static_cast<const int32_t*>(x), zero, scale, step, y, n);
  with_storage_of(dtype, const_cast<void*>(x),
                  [&](const auto* from) { dequantize_part(from, zero, scale, step, y, n); });
}

Kernel make_dequantize(Prepare& p) {
  const int64_t axis = p.attr_int("axis");
  const int64_t block_size = p.attr_int("block_size");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const Layout layout = layout_of(run, node, axis, block_size);
    const Parameters parameters(run);
    Tensor& y = run.out(0, x.shape());
    for_each_part(layout, [&](int64_t first, int64_t n, int64_t scale, int64_t step) {
      alignas(64) float block[kBlock];
      float* to = y.dtype() == DType::kFloat32 ? y.data<float>() + first : block;
      if (!is_float(x.dtype())) {
        const int32_t* zero = parameters.zero ? parameters.zero + scale : nullptr;
        dequantize_integers(x.dtype(), element(x, first), zero, parameters.scale + scale, step, to, n);
      } else {
        convert_elements(x.dtype(), DType::kFloat32, element(x, first), to, n);
        for (int64_t i = 0; i < n; ++i) to[i] *= parameters.scale[scale + i * step];
      }
      if (to == block) store_floats(y.dtype(), block, element(y, first), n);
    });
  };
}

void infer_dequantize(InferContext& c) {
  check_block_size(c);
  const int64_t asked = c.attr_int("output_dtype");
  DType to = c.dtype(1) == DType::kFloat8E8M0 ? DType::kFloat32 : c.dtype(1);
  if (asked != 0) to = static_cast<DType>(asked);
  SX_CHECK(c, asked >= 0 && asked < kDTypeCount && kReal.has(to), "output_dtype is ", asked, "; one of ", kReal.str(),
           " expected");
  c.out(0, to, c.type(0).shape);
}

// y = (x - zero) scale: the scale takes the sum of dy (x - zero) over the elements that it scales.
void differentiate_dequantize(GradientContext& c) {
  const Expr x = c.in(0), scale = c.in(1);
  SX_CHECK(c, !c.wants(0) && !c.wants(2), "has no gradient by what is quantized, which moves in steps");
  SX_CHECK(c, scale.rank() >= 0 && x.rank() >= 0, "has no gradient where the ranks of its inputs are unknown");
  const DType dtype = c.grad().dtype();
  Attributes attributes = c.node().attributes;
  attributes["output_dtype"] = static_cast<int64_t>(dtype);
  const Expr g = c.grad() * c.op("DequantizeLinear", {x, c.ones_like(scale), c.in(2)}, attributes);
  const auto other_axes = [&](int axis) {
    std::vector<int64_t> axes;
    for (int i = 0; i < x.rank(); ++i)
      if (i != axis) axes.push_back(i);
    return axes;
  };
  const int64_t block = c.attr_int("block_size");
  Expr sum;
  if (block > 0) {
    const int axis = c.axis(c.attr_int("axis"), x.rank());
    const Expr place = c.op("Div", {c.iota(c.extent(x, axis)), c.ints({block})});
    sum = c.op(
        "ScatterElements",
        {c.cast(c.zeros_like(scale), dtype), c.op("Expand", {c.unsqueeze(place, other_axes(axis)), c.shape(x)}), g},
        {{"axis", static_cast<int64_t>(axis)}, {"reduction", std::string("add")}});
  } else if (scale.type().shape == SymShape{} || scale.type().shape == SymShape{Dim(1)}) {
    sum = c.reshape_like(c.op("ReduceSum", {g}), scale);
  } else {
    sum = c.reduce_sum(g, other_axes(c.axis(c.attr_int("axis"), x.rank())), false);
  }
  c.give(1, c.cast(sum, scale.dtype()));
}

OpDef quantize_linear(const char* domain, int since, int first) {
  OpDef op("QuantizeLinear", domain);
  op.since(since, first)
      .attr("axis", 1)
      .attr("block_size", 0)
      .attr("output_dtype", 0)
      .attr("precision", 0)
      .attr("saturate", 1)
      .in("x", "T1", kReal | DType::kInt32)
      .in("y_scale", "T2", kScales | DType::kInt32)
      .optional_in("y_zero_point", "T3", kQuantized)
      .out("y", "T3", kQuantized)
      .infer(infer_quantize)
      .kernel(make_quantize)
      .zero_gradient();
  return op;
}

OpDef dequantize_linear(const char* domain, int since, int first) {
  OpDef op("DequantizeLinear", domain);
  op.since(since, first)
      .attr("axis", 1)
      .attr("block_size", 0)
      .attr("output_dtype", 0)
      .in("x", "T1", kQuantized | DType::kInt32)
      .in("x_scale", "T2", kScales)
      .optional_in("x_zero_point", "T1", kQuantized | DType::kInt32)
      .out("y", "T3", kReal)
      .infer(infer_dequantize)
      .kernel(make_dequantize)
      .gradient(differentiate_dequantize);
  return op;
}

}  // namespace

void define_quantize(OpList& ops) {
  ops.add(quantize_linear("", 28, 10));
  ops.add(dequantize_linear("", 28, 10));
  ops.add(quantize_linear("com.microsoft", 1, 1));
  ops.add(dequantize_linear("com.microsoft", 1, 1));
}

}  // namespace sx
