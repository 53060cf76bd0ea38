// LRN: y = x / (bias + alpha / size * sum of x^2 over the neighbouring channels)^beta.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

struct Window {
  int64_t size;
  double alpha, beta, bias;
};

template <typename T>
void lrn(const T* x, int64_t images, int64_t channels, int64_t n, const Window& window, T* y) {
  const int64_t before = (window.size - 1) / 2;
  const int64_t after = window.size - 1 - before;
  const T alpha = static_cast<T>(window.alpha / static_cast<double>(window.size));
  const T bias = static_cast<T>(window.bias);
  const T beta = static_cast<T>(window.beta);
  constexpr int64_t kStrip = 1024;
  const int64_t strips = (n + kStrip - 1) / kStrip;
  parallel_for(images * channels * strips, std::max<int64_t>(1, 4096 / std::min(n, kStrip)),
               [&](int64_t begin, int64_t end) {
                 T sum[kStrip];
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t plane = item / strips;
                   const int64_t channel = plane % channels;
                   const int64_t from = item % strips * kStrip;
                   const int64_t count = std::min(kStrip, n - from);
                   std::fill(sum, sum + count, T(0));
                   const int64_t first = std::max<int64_t>(0, channel - before);
                   const int64_t last = after < channels - 1 - channel ? channel + after : channels - 1;
                   for (int64_t k = first; k <= last; ++k) {
                     const T* row = x + (plane - channel + k) * n + from;
                     for (int64_t i = 0; i < count; ++i) sum[i] += row[i] * row[i];
                   }
                   const T* in = x + plane * n + from;
                   T* out = y + plane * n + from;
                   if (beta == T(0.75)) {
                     for (int64_t i = 0; i < count; ++i) {
                       const T root = std::sqrt(bias + alpha * sum[i]);
                       out[i] = in[i] / (root * std::sqrt(root));
                     }
                   } else {
                     for (int64_t i = 0; i < count; ++i) out[i] = in[i] / std::pow(bias + alpha * sum[i], beta);
                   }
                 }
               });
}

Kernel make_lrn(Prepare& p) {
  const Window window{p.attr_int("size"), p.attr_float("alpha"), p.attr_float("beta"), p.attr_float("bias")};
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2, "x has the shape ", x.shape().str(), "; images and channels expected first");
    const int64_t n = x.shape().size(2, x.rank());
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    if (x.dtype() == DType::kFloat64) return lrn(x.data<double>(), x.dim(0), x.dim(1), n, window, y.data<double>());
    const FloatIn in(x);
    const FloatOut out(y);
    lrn(in.data(), x.dim(0), x.dim(1), n, window, out.data());
    out.store();
  };
}

void infer_lrn(InferContext& c) {
  SX_CHECK(c, c.attr_int("size") > 0, "size is ", c.attr_int("size"), "; a positive number expected");
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) >= 2, "x is ", c.type(0).str(), "; images and channels expected first");
  c.out(0, c.type(0));
}

// The mean of squares over neighbouring channels is an average pool of one channel.
void differentiate_lrn(GradientContext& c) {
  const Expr x = c.in(0);
  const int64_t size = c.attr_int("size"), before = (size - 1) / 2;
  const Expr plane = c.reshape_to(x * x, {c.extent(x, 0), c.ints({1}), c.extent(x, 1), c.ints({-1})});
  const Expr mean = c.op("AveragePool", {plane},
                         {{"kernel_shape", std::vector<int64_t>{size, 1}},
                          {"pads", std::vector<int64_t>{before, 0, size - 1 - before, 0}},
                          {"count_include_pad", int64_t{1}}});
  const Expr base =
      c.reshape_like(mean, x) * static_cast<double>(c.attr_float("alpha")) + static_cast<double>(c.attr_float("bias"));
  const Expr exponent = c.scalar(-static_cast<double>(c.attr_float("beta")), x.dtype());
  c.give_through({x * c.op("Pow", {base, exponent})});
}

}  // namespace

void define_lrn(OpList& ops) {
  ops.add(OpDef("LRN")
              .since(13)
              .attr("alpha", 1e-4f)
              .attr("beta", 0.75f)
              .attr("bias", 1.0f)
              .required_attr("size", AttrKind::kInt)
              .in("X", "T", kFloats)
              .out("Y", "T")
              .infer(infer_lrn)
              .kernel(make_lrn)
              .gradient(differentiate_lrn));
}

}  // namespace sx
