// BlockedGroupNorm: GroupNormalization of channel-blocked data with an activation. Only the passes make it.
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "ops/blocked.h"
#include "ops/fused_activation.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kPixels = 2048;  // of one block of channels, that a task scales

// From the means of `per_group` channels of `size` values and their sums of squared differences (in double, as all that
// is added up here).
struct Moments {
  double mean, variance;
};
Moments of_group(const float* means, const float* squares, int64_t per_group, int64_t size) {
  double sum = 0;
  for (int64_t c = 0; c < per_group; ++c) sum += static_cast<double>(means[c]);
  const double mean = sum / static_cast<double>(per_group);
  double total = 0;
  for (int64_t c = 0; c < per_group; ++c) {
    const double off = static_cast<double>(means[c]) - mean;
    total += static_cast<double>(squares[c]) + off * off * static_cast<double>(size);
  }
  return {mean, total / static_cast<double>(per_group * size)};
}

// What the channels of each image are multiplied by and what is added to them, from their moments, which stand there
// before: means in `shift`, sums of squared differences in `scale`.
struct Scaling {
  int64_t groups, channels, padded;
  double epsilon;

  void fill(const float* by, const float* plus, int64_t size, float* scale, float* shift) const {
    const int64_t per_group = channels / groups;
    for (int64_t first = 0; first < channels; first += per_group) {
      const Moments m = of_group(shift + first, scale + first, per_group, size);
      const double inverse = 1 / std::sqrt(m.variance + epsilon);
      for (int64_t c = first; c < first + per_group; ++c) {
        const double factor = inverse * static_cast<double>(by[c]);
        scale[c] = static_cast<float>(factor);
        shift[c] = static_cast<float>(static_cast<double>(plus[c]) - m.mean * factor);
      }
    }
    for (int64_t c = channels; c < padded; ++c) scale[c] = shift[c] = 0.0f;
  }
};

Kernel make_group_norm(Prepare& p) {
  Scaling scaling{p.attr_int("num_groups"), p.attr_int("channels"), 0, static_cast<double>(p.attr_float("epsilon"))};
  SX_CHECK(p, scaling.groups > 0 && scaling.channels > 0 && scaling.channels % scaling.groups == 0, scaling.channels,
           " channels cannot be split into ", scaling.groups, " groups");
  scaling.padded = blocks_of_channels(scaling.channels) * block_of_channels();
  Epilogue epilogue;
  read_fused_activation(p).set(epilogue);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    for (int i = 1; i <= 2; ++i)
      SX_CHECK(run, run.in(i).size() == scaling.channels, i == 1 ? "the scale has " : "the bias has ", run.in(i).size(),
               " elements; ", scaling.channels, " expected");
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    const int64_t planes = x.dim(0) * x.dim(1), block = x.dim(4), size = x.dim(2) * x.dim(3);
    const int64_t values = planes * block;
    auto* scale =
        static_cast<float*>(thread_scratch(ScratchSlot::kOperator, 2 * static_cast<size_t>(values) * sizeof(float)));
    float* shift = scale + values;
    with_blocked_float(x.dtype(), [&](auto type) {
      using T = decltype(type);
      const T* from = x.data<T>();
      T* to = y.data<T>();
      channel_moments(from, planes, size, shift, scale);
      for (int64_t at = 0; at < values; at += scaling.padded)
        scaling.fill(run.in(1).data<float>(), run.in(2).data<float>(), size, scale + at, shift + at);
      const int64_t parts = (size + kPixels - 1) / kPixels;
      parallel_for(planes * parts, std::max<int64_t>(1, kPixels / size), [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t plane = task / parts, first = task % parts * kPixels;
          const int64_t at = (plane * size + first) * block;
          scale_block(from + at, scale + plane * block, shift + plane * block, to + at,
                      std::min(kPixels, size - first) * block, epilogue);
        }
      });
    });
  };
}

}  // namespace

void define_blocked_group_norm(OpList& ops) {
  OpDef& op = ops.add(OpDef("BlockedGroupNorm", "sardonyx")
                          .attr("epsilon", 1e-5f)
                          .required_attr("num_groups", AttrKind::kInt)
                          .required_attr("channels", AttrKind::kInt)
                          .in("X", "", kBlockedFloats)
                          .in("scale", "", DType::kFloat32)
                          .in("bias", "", DType::kFloat32)
                          .out("Y")
                          .in_place({0})
                          .infer(same_as(0))
                          .kernel(make_group_norm));
  add_fused_activation_attrs(op);
}

}  // namespace sx
