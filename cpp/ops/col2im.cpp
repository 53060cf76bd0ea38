// image[n, c, p] = the sum of the block elements of columns[n, c * block + k, l] that fall on pixel p.
#include <algorithm>
#include <complex>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/registry.h"

namespace sx {
namespace {

Dim product(const std::vector<Dim>& dims) {
  Dim size(1);
  for (const Dim& dim : dims) size = size * dim;
  return size;
}

void infer_col2im(InferContext& c) {
  const auto image = c.elements(1);
  const auto block = c.elements(2);
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 3, "the input is ", c.type(0).str(), "; rank 3 expected");
  if (!image) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape{c.has_shape(0) ? c.shape(0)[0] : Dim(), Dim()};
  if (block && c.has_shape(0)) shape[1] = floor_div(c.shape(0)[1], product(*block));
  shape.insert(shape.end(), image->begin(), image->end());
  c.out(0, c.dtype(0), shape);
}

struct Geometry {
  int rank = 0;
  Shape image, block, windows, strides, dilations, begin;
};

// Adds one channel's columns [block elements, windows] to its image, which holds zeros. The sum of bools is whether
// any is true, that of strings their concatenation.
template <typename T>
void add_columns(const Geometry& g, Arithmetic<T>* image, const T* columns) {
  const int64_t elements = g.block.size();
  const int64_t windows = g.windows.size();
  for (int64_t k = 0; k < elements; ++k) {
    for (int64_t l = 0; l < windows; ++l) {
      int64_t offset = 0;
      int64_t scale = 1;
      int64_t in_block = k;
      int64_t window = l;
      bool inside = true;
      for (int i = g.rank - 1; i >= 0; --i) {
        const int64_t at = window % g.windows[i] * g.strides[i] - g.begin[i] + in_block % g.block[i] * g.dilations[i];
        inside = inside && at >= 0 && at < g.image[i];
        offset += at * scale;
        scale *= g.image[i];
        in_block /= g.block[i];
        window /= g.windows[i];
      }
      if (!inside) continue;
      const auto& value = columns[k * windows + l];
      if constexpr (std::is_same_v<T, bool>) image[offset] = image[offset] || value;
      else if constexpr (std::is_integral_v<T>)
        image[offset] = static_cast<T>(static_cast<uint64_t>(image[offset]) + static_cast<uint64_t>(value));
      else image[offset] += static_cast<Arithmetic<T>>(value);
    }
  }
}

Kernel make_col2im(Prepare& p) {
  const NodeView node(p.node());
  const IntInput image_input(p, 1), block_input(p, 2);
  const auto strides = node.attr_or<std::vector<int64_t>>("strides", {});
  const auto dilations = node.attr_or<std::vector<int64_t>>("dilations", {});
  const auto pads = node.attr_or<std::vector<int64_t>>("pads", {});
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffers[2];
    const std::vector<int64_t>& image = image_input.get(run, buffers[0]);
    const std::vector<int64_t>& block = block_input.get(run, buffers[1]);
    const size_t rank = image.size();
    SX_CHECK(run, x.rank() == 3, "the input has shape ", x.shape().str(), "; rank 3 expected");
    SX_CHECK(run,
             rank > 0 && rank + 2 <= static_cast<size_t>(kMaxRank) && block.size() == rank &&
                 (strides.empty() || strides.size() == rank) && (dilations.empty() || dilations.size() == rank) &&
                 (pads.empty() || pads.size() == 2 * rank),
             "image_shape, block_shape, strides, dilations and pads do not agree in length");
    constexpr int64_t kLimit = int64_t{1} << 40;
    auto sane = [&](const char* what, int64_t value, int64_t low) {
      SX_CHECK(run, value >= low && value < kLimit, what, " has the value ", value);
      return value;
    };
    Geometry g;
    g.rank = static_cast<int>(rank);
    for (size_t i = 0; i < rank; ++i) {
      g.image.push_back(sane("image_shape", image[i], 0));
      g.block.push_back(sane("block_shape", block[i], 1));
      g.strides.push_back(strides.empty() ? 1 : sane("strides", strides[i], 1));
      g.dilations.push_back(dilations.empty() ? 1 : sane("dilations", dilations[i], 1));
      g.begin.push_back(pads.empty() ? 0 : sane("pads", pads[i], 0));
      const int64_t end = pads.empty() ? 0 : sane("pads", pads[rank + i], 0);
      const int64_t span = checked_mul(g.dilations[static_cast<int>(i)], g.block[static_cast<int>(i)] - 1) + 1;
      const int64_t room = g.image[static_cast<int>(i)] + g.begin[static_cast<int>(i)] + end - span;
      g.windows.push_back(room < 0 ? 0 : room / g.strides[static_cast<int>(i)] + 1);
    }
    const int64_t elements = g.block.size();
    SX_CHECK(run, x.dim(1) % elements == 0 && x.dim(2) == g.windows.size(), "the input has shape ", x.shape().str(),
             "; columns of ", elements, " elements for ", g.windows.size(), " windows expected");
    Shape shape{x.dim(0), x.dim(1) / elements};
    for (int64_t extent : g.image) shape.push_back(extent);
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const int64_t pixels = g.image.size();
    const int64_t column = elements * x.dim(2);
    auto add = [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      T* to = y.data<T>();
      parallel_for(shape.size(0, 2), std::max<int64_t>(4096 / std::max<int64_t>(column, 1), 1),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       if constexpr (is_half_type<T>) {
                         auto* sum = static_cast<float*>(
                             thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(pixels) * sizeof(float)));
                         std::fill_n(sum, pixels, 0.0f);
                         add_columns(g, sum, from + i * column);
                         for (int64_t k = 0; k < pixels; ++k) to[i * pixels + k] = T(sum[k]);
                       } else {
                         std::fill_n(to + i * pixels, pixels, T());
                         add_columns(g, to + i * pixels, from + i * column);
                       }
                     }
                   });
    };
    switch (x.dtype()) {
      case DType::kBool: return add(false);
      case DType::kString: return add(std::string());
      case DType::kComplex64: return add(std::complex<float>());
      case DType::kComplex128: return add(std::complex<double>());
      default: return with_number(x.dtype(), add);
    }
  };
}

// Every column element takes the gradient of the pixel on which it fell: along each axis pixel window stride + tap
// dilation, in the padded image.
void differentiate_col2im(GradientContext& c) {
  Expr dy = c.grad();
  const int rank = dy.rank() - 2;
  SX_CHECK(c, rank >= 1, "has no gradient where the rank of its result is unknown");
  const auto axes = static_cast<size_t>(rank);
  const auto strides = c.attr_or<std::vector<int64_t>>("strides", std::vector<int64_t>(axes, 1));
  const auto dilations = c.attr_or<std::vector<int64_t>>("dilations", std::vector<int64_t>(axes, 1));
  const auto pads = c.attr_or<std::vector<int64_t>>("pads", std::vector<int64_t>(2 * axes, 0));
  std::vector<int64_t> padding = {0, 0};
  padding.insert(padding.end(), pads.begin(), pads.begin() + rank);
  padding.insert(padding.end(), {0, 0});
  padding.insert(padding.end(), pads.begin() + rank, pads.end());
  dy = c.op("Pad", {dy, c.ints(padding)});
  for (int i = 0; i < rank; ++i) {
    const auto at = static_cast<size_t>(i);
    const Expr block = c.op("Gather", {c.in(2), c.ints({i})});
    const Expr stride = c.ints({strides[at]}), dilation = c.ints({dilations[at]}), one = c.ints({1});
    // Behind each axis that is done stands another, of its windows.
    const Expr room = c.extent(dy, 2 + 2 * i) - dilation * (block - one) - one;
    const Expr taps = c.unsqueeze(c.iota(block) * dilation, {1});
    const Expr windows = c.unsqueeze(c.iota(c.op("Div", {room, stride}) + one) * stride, {0});
    dy = c.op("Gather", {dy, taps + windows}, {{"axis", int64_t{2 + 2 * i}}});
  }
  std::vector<int64_t> order = {0, 1};
  for (int i = 0; i < rank; ++i) order.push_back(2 + 2 * i);
  for (int i = 0; i < rank; ++i) order.push_back(3 + 2 * i);
  c.give(0, c.reshape_like(c.transpose(dy, order), c.in(0)));
}

}  // namespace

void define_col2im(OpList& ops) {
  ops.add(OpDef("Col2Im")
              .since(18, 18)
              .optional_attr("dilations", AttrKind::kInts)
              .optional_attr("pads", AttrKind::kInts)
              .optional_attr("strides", AttrKind::kInts)
              .in("input", "T", kNumbers | kComplex | DType::kBool | DType::kString)
              .in("image_shape", "", DType::kInt64)
              .in("block_shape", "", DType::kInt64)
              .out("output", "T")
              .infer(infer_col2im)
              .kernel(make_col2im)
              .gradient(differentiate_col2im));
}

}  // namespace sx
