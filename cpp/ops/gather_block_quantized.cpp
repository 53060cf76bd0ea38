// com.microsoft's GatherBlockQuantized: y = x[.., indices, ..] where x = (code - zero) scale, with one scale and zero
// for each block along an axis.
#include <algorithm>

#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/elements.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kFloatCodes = kFloat8s | DType::kFloat4E2M1;
constexpr DTypeSet kCodes = kFloatCodes | DType::kInt4 | DType::kUInt4 | DType::kUInt8;
constexpr int64_t kPart = 256;

enum Input { kData, kIndices, kScales, kZeros };

struct Spec {
  explicit Spec(const NodeView& node, DType dtype)
      : gather_axis(node.attr_int("gather_axis")),
        quantize_axis(node.attr_int("quantize_axis")),
        block(node.attr_int("block_size")),
        floats(kFloatCodes.has(dtype)) {
    const int64_t bits = node.attr_int("bits");
    SX_CHECK(node, (block >= 16 && (block & (block - 1)) == 0) || (floats && block == 0), "block_size is ", block,
             "; a power of two from 16 on expected");
    SX_CHECK(node, floats || bits == 4 || (dtype == DType::kUInt8 && (bits == 2 || bits == 8)), "bits is ", bits,
             " for data of type ", name_of(dtype), "; ", dtype == DType::kUInt8 ? "2, 4 or 8" : "4", " expected");
    if (dtype == DType::kUInt8) code_bits = static_cast<int>(bits);
    packed = code_bits == 0 ? 1 : 8 / code_bits;
  }
  // What stands for nothing: the zero of codes that have no zero points.
  float center() const { return code_bits == 0 ? 0.0f : static_cast<float>(1 << (code_bits - 1)); }

  int64_t gather_axis, quantize_axis, block;
  bool floats;
  int code_bits = 0;   // of uint8 data; 0: one code for each element
  int64_t packed = 1;  // codes in an element of the last axis
};

// Axes and the logical shape of the data; the same for shapes of numbers and of symbols.
struct Axes {
  int gather, quantize;
};
Axes axes_of(const NodeView& node, const Spec& spec, int rank) {
  SX_CHECK(node, rank >= 1, "data is a scalar; rank 1 or more expected");
  const Axes axes{node.axis(spec.gather_axis, rank), node.axis(spec.quantize_axis, rank)};
  if (spec.code_bits != 0)
    SX_CHECK(node, axes.gather == 0 && (axes.quantize != 0 || spec.packed == 1), "gathers on axis ", axes.gather,
             " data of type u8 quantized along axis ", axes.quantize, "; axis 0 and another one expected");
  return axes;
}

void infer_gather(InferContext& c) {
  const Spec spec(c, c.dtype(kData));
  SX_CHECK(c, !spec.floats || !c.has(kZeros), "has zero points for ", c.type(kData).str(), "; none expected");
  if (c.has_shape(kData)) axes_of(c, spec, c.rank(kData));
  if (!c.has_shape(kData) || !c.has_shape(kIndices)) return c.out(0, c.dtype(kScales), std::nullopt);
  const int axis = axes_of(c, spec, c.rank(kData)).gather;
  SymShape shape = c.shape(kData);
  if (spec.packed > 1) shape.back() = shape.back() * Dim(spec.packed);
  shape.erase(shape.begin() + axis);
  shape.insert(shape.begin() + axis, c.shape(kIndices).begin(), c.shape(kIndices).end());
  c.out(0, c.dtype(kScales), shape);
}

// The data as [outer, extent, inner] around the gather axis, and where the scale of an element stands.
class Source {
 public:
  Source(const Run& run, const NodeView& node, const Spec& spec)
      : spec_(spec),
        data_(run.in(kData)),
        scales_(run.in(kScales)),
        zeros_(run.has(kZeros) ? &run.in(kZeros) : nullptr) {
    shape_ = data_.shape();
    const Axes axes = axes_of(node, spec, shape_.rank());
    const int last = shape_.rank() - 1;
    shape_[last] = checked_mul(shape_[last], spec.packed);
    axis = axes.gather;
    extent = shape_[axis];
    inner = shape_.size(axis + 1, shape_.rank());
    length_ = shape_[axes.quantize];
    behind_ = shape_.size(axes.quantize + 1, shape_.rank());
    block_ = spec.block == 0 ? std::max<int64_t>(length_, 1) : spec.block;
    blocks_ = length_ / block_ + (length_ % block_ != 0);
    Shape expected = shape_;
    expected[axes.quantize] = blocks_;
    const Shape& given = scales_.shape();
    bool fits = given.rank() == expected.rank();
    for (int i = 0; fits && i < given.rank(); ++i)
      fits = given[i] == expected[i] || (spec.floats && given[i] == 1 && i != axes.quantize);
    SX_CHECK(run, fits, "scales has shape ", given.str(), "; ", expected.str(), " expected for data of shape ",
             data_.shape().str(), " in blocks of ", spec.block, " along axis ", axes.quantize);
    broadcast_ = given != expected;
    scale_strides_ = strides_of(given);
    quantize_axis_ = axes.quantize;
    if (zeros_ == nullptr) return;
    Shape zeros = expected;
    zeros_row_ = expected[last];
    zeros[last] = (expected[last] + spec.packed - 1) / spec.packed;
    SX_CHECK(run, zeros_->shape() == zeros, "zero_points has shape ", zeros_->shape().str(), "; ", zeros.str(),
             " expected");
  }

  const Shape& shape() const { return shape_; }

  // y[i] = element `first + i` of the dequantized data, for n elements.
  void read(int64_t first, int64_t n, void* y) const {
    const DType to = scales_.dtype();
    while (n > 0) {
      // A part of one run of scales: a block where the axis is the last, else the elements behind an index of the axis.
      const int64_t before = first / behind_ / length_, at = first / behind_ % length_, behind = first % behind_;
      const int64_t step = behind_ == 1 ? 0 : 1;
      const int64_t room = step == 0 ? std::min(block_ - at % block_, length_ - at) : behind_ - behind;
      const int64_t count = std::min({n, room, kPart});
      const int64_t scale = (before * blocks_ + at / block_) * behind_ + behind;
      float codes[kPart], scales[kPart];
      load_codes(first, count, codes);
      if (broadcast_) {
        for (int64_t i = 0; i < count; ++i) load(scales_, broadcast_scale(first + i), 1, scales + i);
      } else {
        load(scales_, scale, step == 0 ? 1 : count, scales);
      }
      if (zeros_ == nullptr) {
        for (int64_t i = 0; i < count; ++i) codes[i] -= spec_.center();
      } else if (step == 0) {
        const float zero = zero_at(scale);
        for (int64_t i = 0; i < count; ++i) codes[i] -= zero;
      } else {
        for (int64_t i = 0; i < count; ++i) codes[i] -= zero_at(scale + i);
      }
      const int64_t scale_step = broadcast_ ? 1 : step;
      for (int64_t i = 0; i < count; ++i) codes[i] *= scales[i * scale_step];
      convert_elements(DType::kFloat32, to, codes, y, count);
      y = static_cast<char*>(y) + count * static_cast<int64_t>(size_of(to));
      first += count;
      n -= count;
    }
  }

  int axis = 0;
  int64_t extent = 0, inner = 0;

 private:
  static void load(const Tensor& from, int64_t first, int64_t n, float* to) {
    convert_elements(from.dtype(), DType::kFloat32, element(from, first), to, n);
  }
  int code_at(const Tensor& from, int64_t byte, int64_t place) const {
    return from.data<uint8_t>()[byte] >> (place * spec_.code_bits) & ((1 << spec_.code_bits) - 1);
  }
  void load_codes(int64_t first, int64_t n, float* to) const {
    if (spec_.packed == 1) return load(data_, first, n, to);
    for (int64_t i = 0; i < n; ++i)
      to[i] = static_cast<float>(code_at(data_, (first + i) / spec_.packed, (first + i) % spec_.packed));
  }
  // Zero points are packed row by row of the last axis.
  float zero_at(int64_t i) const {
    float zero;
    if (spec_.packed == 1) {
      load(*zeros_, i, 1, &zero);
      return zero;
    }
    const int64_t bytes = (zeros_row_ + spec_.packed - 1) / spec_.packed;
    const int64_t column = i % zeros_row_;
    return static_cast<float>(code_at(*zeros_, i / zeros_row_ * bytes + column / spec_.packed, column % spec_.packed));
  }
  int64_t broadcast_scale(int64_t i) const {
    int64_t at = 0;
    for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
      int64_t index = i % shape_[axis];
      i /= shape_[axis];
      if (axis == quantize_axis_) index /= block_;
      if (scales_.dim(axis) != 1) at += index * scale_strides_[axis];
    }
    return at;
  }

  Spec spec_;
  const Tensor& data_;
  const Tensor& scales_;
  const Tensor* zeros_;
  Shape shape_, scale_strides_;
  bool broadcast_ = false;
  int quantize_axis_ = 0;
  int64_t length_ = 0, behind_ = 0, block_ = 0, blocks_ = 0, zeros_row_ = 0;
};

Kernel make_gather(Prepare& p) {
  const NodeView node(p.node());
  return [node, spec = Spec(p, p.dtype(kData))](Run& run) {
    const Source source(run, node, spec);
    const Tensor& picked = run.in(kIndices);
    Shape shape(source.shape().begin(), source.shape().begin() + source.axis);
    for (int64_t dim : picked.shape()) shape.push_back(dim);
    for (int i = source.axis + 1; i < source.shape().rank(); ++i) shape.push_back(source.shape()[i]);
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const bool wide = picked.dtype() == DType::kInt64;
    const int64_t inner = source.inner, count = picked.size(), extent = source.extent;
    const auto bytes = static_cast<size_t>(inner) * size_of(y.dtype());
    parallel_for(y.size() / inner, std::max<int64_t>(1, kElementGrain / inner), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row % count;
        const int64_t index = wide ? picked.data<int64_t>()[at] : picked.data<int32_t>()[at];
        // An index out of range gives zeros.
        if (index < -extent || index >= extent) {
          std::memset(element(y, row * inner), 0, bytes);
          continue;
        }
        const int64_t from = row / count * extent + (index < 0 ? index + extent : index);
        source.read(from * inner, inner, element(y, row * inner));
      }
    });
  };
}

}  // namespace

void define_gather_block_quantized(OpList& ops) {
  ops.add(OpDef("GatherBlockQuantized", "com.microsoft")
              .attr("bits", 4)
              .attr("block_size", 128)
              .attr("gather_axis", 0)
              .attr("quantize_axis", 1)
              .in("data", "T1", kCodes)
              .in("indices", "Tind", DType::kInt32 | DType::kInt64)
              .in("scales", "T2", kHalfFloats | DType::kFloat32)
              .optional_in("zero_points", "T1", kCodes)
              .out("output", "T2")
              .infer(infer_gather)
              .kernel(make_gather)
              .no_gradient("the table is quantized"));
}

}  // namespace sx
