// StackedBatchNorm: y = relu((x - mean) / sqrt(var + epsilon) * scale + bias + residual) with the statistics of the
// batch, on stacked data (ops/stacked.cpp), and its gradient. Only the passes make them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/stacked_kernel.h"
#include "ops/blocked.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// [blocks, pixels, block], the last block filled up.
struct Extents {
  int64_t channels, pixels;
};

Extents extents_of(const Run& run, const Shape& x, int64_t channels) {
  SX_CHECK(run, x.rank() == 5 && x[0] == blocks_of_channels(channels), "normalizes ", channels,
           " channels of data of shape ", x.str());
  return {channels, x[1] * x[2] * x[3]};
}

// Calls body(first channel, number of channels, first element) for every block in parallel.
template <typename Body>
void each_block(const Extents& e, Body body) {
  const int64_t block = block_of_channels();
  parallel_for(blocks_of_channels(e.channels), std::max<int64_t>(1, 16384 / (e.pixels * block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; ++b)
                   body(b * block, std::min(block, e.channels - b * block), b * e.pixels * block);
               });
}

void infer_norm(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5, "normalizes ", c.type(0).str(), "; stacked data expected");
  c.out(0, c.type(0));
  for (int i = 1; i <= 2; ++i) c.out(i, c.type(i + 2));
}

Kernel make_norm(Prepare& p) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const bool relu = p.attr_int("relu") != 0;
  const float low = relu ? 0.0f : -kInfinity, high = kInfinity;
  const double epsilon = p.attr_float("epsilon"), momentum = p.attr_float("momentum");
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const Extents e = extents_of(run, x.shape(), run.in(1).size());
    for (int i = 2; i <= 4; ++i)
      SX_CHECK(run, run.in(i).size() == e.channels, "input ", i, " has the shape ", run.in(i).shape().str(), "; [",
               e.channels, "] expected");
    Tensor& y = run.out(0, x.shape());
    float* next[2] = {};
    for (int i = 0; i < 2; ++i)
      if (run.wants(i + 1)) next[i] = run.out(i + 1, Shape{e.channels}).data<float>();
    SX_CHECK(run, !run.has(5) || run.in(5).shape() == x.shape(), "the residual is ", run.in(5).shape().str(), "; ",
             x.shape().str(), " expected");
    const float* residual = run.has(5) ? run.in(5).data<float>() : nullptr;
    const auto count = static_cast<double>(e.pixels);
    const int64_t size = e.pixels * block_of_channels();
    each_block(e, [&](int64_t first, int64_t channels, int64_t at) {
      float mean[kMaxBlock], squares[kMaxBlock], factor[kMaxBlock] = {}, shift[kMaxBlock] = {};
      blocked_kernel(active_isa()).moments(x.data<float>() + at, e.pixels, mean, squares);
      for (int64_t i = 0; i < channels; ++i) {
        const int64_t c = first + i;
        const double variance = squares[i] / count;
        const double by = run.in(1).data<float>()[c] / std::sqrt(variance + epsilon);
        factor[i] = static_cast<float>(by);
        shift[i] = static_cast<float>(run.in(2).data<float>()[c] - mean[i] * by);
        const double found[2] = {mean[i], variance};
        for (int k = 0; k < 2; ++k)
          if (next[k])
            next[k][c] = static_cast<float>(run.in(3 + k).data<float>()[c] * momentum + found[k] * (1 - momentum));
      }
      float* to = y.data<float>() + at;
      stacked_kernel().scale_add(x.data<float>() + at, factor, shift, residual ? residual + at : nullptr, low, high,
                                 size, to);
    });
  };
}

// With s = 1 / sqrt(var + epsilon): dx = scale s (dy - mean(dy) - (x - mean) s^2 mean(dy (x - mean))).
Kernel make_norm_gradient(Prepare& p) {
  const double epsilon = p.attr_float("epsilon");
  return [epsilon](Run& run) {
    const Tensor &dy = run.in(0), &x = run.in(1), &scale = run.in(2);
    const Extents e = extents_of(run, x.shape(), scale.size());
    SX_CHECK(run, dy.shape() == x.shape() && (!run.has(3) || run.in(3).shape() == x.shape()), "the gradient is ",
             dy.shape().str(), "; ", x.shape().str(), " expected");
    Tensor& dx = run.out(0, x.shape());
    float* sums[2] = {};
    for (int i = 0; i < 2; ++i)
      if (run.wants(i + 1)) sums[i] = run.out(i + 1, Shape{e.channels}).data<float>();
    const float* mask = run.has(3) ? run.in(3).data<float>() : nullptr;
    const StackedKernel& kernel = stacked_kernel();
    const auto count = static_cast<double>(e.pixels);
    each_block(e, [&](int64_t first, int64_t channels, int64_t at) {
      float mean[kMaxBlock], squares[kMaxBlock], sum[kMaxBlock], products[kMaxBlock];
      float by_dy[kMaxBlock] = {}, by_x[kMaxBlock] = {}, shift[kMaxBlock] = {};
      const float* data = x.data<float>() + at;
      const float* masked = mask ? mask + at : nullptr;
      blocked_kernel(active_isa()).moments(data, e.pixels, mean, squares);
      kernel.norm_sums(dy.data<float>() + at, masked, data, mean, e.pixels, sum, products);
      for (int64_t i = 0; i < channels; ++i) {
        const double s = 1 / std::sqrt(squares[i] / count + epsilon);
        const double by = scale.data<float>()[first + i] * s;
        by_dy[i] = static_cast<float>(by);
        by_x[i] = static_cast<float>(-by * s * s * products[i] / count);
        shift[i] = static_cast<float>(-by * sum[i] / count);
        if (sums[0]) sums[0][first + i] = static_cast<float>(products[i] * s);
        if (sums[1]) sums[1][first + i] = sum[i];
      }
      kernel.norm_gradient(dy.data<float>() + at, masked, data, mean, by_dy, by_x, shift, e.pixels,
                           dx.data<float>() + at);
    });
  };
}

}  // namespace

void define_stacked_norm(OpList& ops) {
  constexpr DTypeSet kF32 = DType::kFloat32;
  ops.add(OpDef("StackedBatchNorm", "sardonyx")
              .attr("epsilon", 1e-5f)
              .attr("momentum", 0.9f)
              .attr("relu", 0)
              .in("X", "", kF32)
              .in("scale", "", kF32)
              .in("B", "", kF32)
              .in("input_mean", "", kF32)
              .in("input_var", "", kF32)
              .optional_in("residual", "", kF32)
              .out("Y")
              .optional_out("running_mean")
              .optional_out("running_var")
              .in_place({5})
              .infer(infer_norm)
              .kernel(make_norm));
  ops.add(OpDef("StackedBatchNormGradient", "sardonyx")
              .attr("epsilon", 1e-5f)
              .in("dY", "", kF32)
              .in("X", "", kF32)
              .in("scale", "", kF32)
              .optional_in("mask", "", kF32)
              .out("dX")
              .optional_out("dscale")
              .optional_out("dB")
              .in_place({0})
              .infer([](InferContext& c) {
                c.out(0, c.type(1));
                for (int i = 1; i <= 2; ++i) c.out(i, c.type(2));
              })
              .kernel(make_norm_gradient));
}

}  // namespace sx
