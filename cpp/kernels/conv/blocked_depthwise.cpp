// Depthwise convolution of channel-blocked data: rows of outputs shared out, and the table of kernels by ISA.
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

void blocked_depthwise(const ConvShape& s, const float* x, const float* packed, const float* residual, float* y,
                       const Epilogue& epilogue, Isa isa) {
  const BlockedDepthwiseKernel& kernel = blocked_depthwise_kernel(isa);
  const FilterTail tail = filter_tail(epilogue, isa);
  const int64_t block = channel_block(isa), blocks = (s.channels + block - 1) / block, taps = s.kernel_size();
  DepthwiseRows common;
  common.shape = &s;
  common.tail = &tail;
  inner_outputs(s, 1, &common.inner_begin, &common.inner_end);
  const int64_t items = s.batch * blocks * s.out[0], work = s.out[1] * taps * block;
  // As many tasks for one thread as for another.
  const int64_t threads = thread_count();
  const int64_t rounds = std::clamp<int64_t>(items * work / kLeastWork / threads, 1, kTasksPerThread);
  const int64_t grain = std::max((items + rounds * threads - 1) / (rounds * threads), kLeastWork / work);
  parallel_for(items, grain, [&](int64_t begin, int64_t end) {
    DepthwiseRows rows = common;
    while (begin < end) {
      const int64_t plane = begin / s.out[0], channels = plane % blocks;
      rows.row_begin = begin % s.out[0];
      rows.row_end = std::min(s.out[0], rows.row_begin + end - begin);
      rows.x = x + plane * s.in_size() * block;
      rows.weights = packed + channels * taps * block;
      rows.bias = epilogue.row_bias ? epilogue.row_bias + channels * block : nullptr;
      rows.y = y + begin * s.out[1] * block;
      rows.residual = residual ? residual + begin * s.out[1] * block : nullptr;
      kernel.rows(rows);
      begin += rows.row_end - rows.row_begin;
    }
  });
}

}  // namespace sx
