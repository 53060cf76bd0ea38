// Depthwise convolution of channel-blocked data: rows of outputs shared out, and the table of f32 kernels by ISA.
#include "kernels/conv/blocked_depthwise.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_tasks.h"

#define SX_SIMD_SOURCE "kernels/conv/blocked_depthwise.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(BlockedDepthwiseKernel, kBlockedDepthwiseKernel)

constexpr int64_t kLeastWork = 50'000;  // multiply-adds worth a task
constexpr int64_t kTasksPerThread = 8;

}  // namespace

const BlockedDepthwiseKernel& blocked_depthwise_kernel(Isa isa) { return for_isa(isa); }

DepthwiseBands<float>::DepthwiseBands(const ConvShape& shape, const float* packed, const Epilogue& epilogue, Isa isa)
    : kernel_(blocked_depthwise_kernel(isa)),
      block_(channel_block(isa)),
      tail_(filter_tail(epilogue, isa)),
      packed_(packed),
      bias_(epilogue.row_bias) {
  rows_.shape = &shape;
  inner_outputs(shape, 1, &rows_.inner_begin, &rows_.inner_end);
}

void DepthwiseBands<float>::run(const DepthwiseBand<float>& band) const {
  DepthwiseRows rows = rows_;
  rows.tail = &tail_;
  rows.x = band.x;
  rows.x_begin = band.x_begin;
  rows.weights = packed_ + band.channels * rows.shape->kernel_size() * block_;
  rows.bias = bias_ ? bias_ + band.channels * block_ : nullptr;
  rows.row_begin = band.row_begin;
  rows.row_end = band.row_end;
  rows.y = band.y;
  rows.residual = band.residual;
  kernel_.rows(rows);
}

template <typename T>
void blocked_depthwise(const ConvShape& s, const T* x, const float* packed, const T* residual, T* y,
                       const Epilogue& epilogue, Isa isa) {
  const DepthwiseBands<T> bands(s, packed, epilogue, isa);
  const int64_t block = channel_block(isa), blocks = (s.channels + block - 1) / block;
  const int64_t items = s.batch * blocks * s.out[0], work = s.out[1] * s.kernel_size() * block;
  // As many tasks for one thread as for another.
  const int64_t threads = thread_count();
  const int64_t rounds = std::clamp<int64_t>(items * work / kLeastWork / threads, 1, kTasksPerThread);
  const int64_t grain = std::max((items + rounds * threads - 1) / (rounds * threads), kLeastWork / work);
  parallel_for(items, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t plane = begin / s.out[0];
      DepthwiseBand<T> band;
      band.channels = plane % blocks;
      band.x = x + plane * s.in_size() * block;
      band.row_begin = begin % s.out[0];
      band.row_end = std::min(s.out[0], band.row_begin + end - begin);
      band.y = y + begin * s.out[1] * block;
      band.residual = residual ? residual + begin * s.out[1] * block : nullptr;
      bands.run(band);
      begin += band.row_end - band.row_begin;
    }
  });
}

template void blocked_depthwise(const ConvShape&, const float*, const float*, const float*, float*, const Epilogue&,
                                Isa);
template void blocked_depthwise(const ConvShape&, const BFloat16*, const float*, const BFloat16*, BFloat16*,
                                const Epilogue&, Isa);

}  // namespace sx
