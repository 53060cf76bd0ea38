// Times GEMM and convolution shapes and prints GFLOP/s beside the multiply-add ceiling measured on this machine.
//
// Usage: bench_kernels [gemm|int8|conv|all] [threads]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_int8.h"
#include "kernels/gemm/gemm_kernel.h"

namespace {

using Clock = std::chrono::steady_clock;

// The best time of one call, in seconds, over about a third of a second.
template <typename Call>
double best_seconds(const Call& call) {
  call();
  double best = 1e9, total = 0;
  for (int i = 0; i < 3 || (total < 0.3 && i < 10000); ++i) {
    const auto start = Clock::now();
    call();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

std::vector<float> filled(int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17) * 0.01f - 0.05f;
  return values;
}

// A vector on a cache line, as packed operands want it.
struct Aligned {
  explicit Aligned(int64_t size) : storage(static_cast<size_t>(size) + 16) {}
  float* data() {
    const uintptr_t address = reinterpret_cast<uintptr_t>(storage.data());
    return storage.data() + (64 - address % 64) % 64 / 4;
  }
  std::vector<float> storage;
};

// The microkernel on operands that stay in the first-level cache, on all threads.
double ceiling(int threads) {
  const sx::GemmKernel& kernel = sx::gemm_kernel(sx::active_isa());
  const int64_t k = 128;
  const int repeats = 2000;
  const double seconds = best_seconds([&] {
    sx::parallel_for(threads, 1, [&](int64_t, int64_t) {
      Aligned a(kernel.mr * k), b(kernel.nr * k), c(kernel.mr * kernel.nr);
      const sx::TileTail tail;
      for (int i = 0; i < repeats; ++i) {
        kernel.tiles[kernel.mr - 1][1](k, a.data(), b.data(), kernel.nr, 0, c.data(), kernel.nr, kernel.nr, tail);
      }
    });
  });
  return 2e-9 * static_cast<double>(k * kernel.mr * kernel.nr) * repeats * threads / seconds;
}

void report(const char* name, double flops, double seconds, double top) {
  const double rate = flops / seconds * 1e-9;
  std::printf("%-44s %10.1f us %8.1f GFLOP/s %5.1f%%\n", name, seconds * 1e6, rate, 100 * rate / top);
}

void bench_gemm(int64_t m, int64_t n, int64_t k, bool packed, double top) {
  const std::vector<float> a = filled(m * k), b = filled(k * n);
  std::vector<float> c(static_cast<size_t>(m * n));
  Aligned packed_b(packed ? sx::packed_b_size(k, n) : 0);
  sx::Gemm gemm;
  gemm.m = m;
  gemm.n = n;
  gemm.k = k;
  gemm.a = a.data();
  gemm.lda = k;
  gemm.b = b.data();
  gemm.ldb = n;
  gemm.c = c.data();
  gemm.ldc = n;
  if (packed) {
    sx::pack_b(k, n, b.data(), n, false, packed_b.data());
    gemm.packed_b = packed_b.data();
  }
  char name[80];
  std::snprintf(name, sizeof(name), "gemm %ldx%ldx%ld%s", static_cast<long>(m), static_cast<long>(n),
                static_cast<long>(k), packed ? " packed B" : "");
  report(name, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
         best_seconds([&] { sx::gemm(gemm); }), top);
}

// 8-bit unsigned by signed with packed weights; counted as GOP/s against the f32 ceiling.
void bench_int8(int64_t m, int64_t n, int64_t k, double top) {
  const std::vector<uint8_t> a(static_cast<size_t>(m * k), 3), b(static_cast<size_t>(k * n), 5);
  std::vector<int32_t> c(static_cast<size_t>(m * n));
  Aligned packed(sx::packed_b_int8_size(k, n) / 4 + 1);
  sx::pack_b_int8(k, n, b.data(), n, false, true, packed.data());
  sx::GemmInt8 gemm;
  gemm.m = m;
  gemm.n = n;
  gemm.k = k;
  gemm.a = a.data();
  gemm.lda = k;
  gemm.a_zero = 7;
  gemm.packed_b = packed.data();
  gemm.c = c.data();
  gemm.ldc = n;
  char name[80];
  std::snprintf(name, sizeof(name), "int8 %ldx%ldx%ld packed B", static_cast<long>(m), static_cast<long>(n),
                static_cast<long>(k));
  report(name, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
         best_seconds([&] { sx::gemm_int8(gemm); }), top);
}

// A square image of `size`, `channels` to `filters`, a square window with half of it as padding.
void bench_conv(int64_t channels, int64_t filters, int64_t groups, int64_t size, int64_t window, int64_t stride,
                double top) {
  sx::ConvShape shape;
  shape.channels = channels;
  shape.filters = filters;
  shape.groups = groups;
  for (int axis = 0; axis < 2; ++axis) {
    shape.in[axis] = size;
    shape.kernel[axis] = window;
    shape.stride[axis] = stride;
    shape.pad_begin[axis] = shape.pad_end[axis] = window / 2;
    shape.out[axis] = sx::conv_out_extent(size, window, stride, 1, window / 2 * 2);
  }
  const std::vector<float> x = filled(channels * shape.in_size());
  const std::vector<float> weights = filled(filters * channels / groups * window * window);
  const std::vector<float> bias = filled(filters);
  std::vector<float> y(static_cast<size_t>(filters * shape.out_size()));
  Aligned packed(sx::packed_conv_size(shape));
  sx::pack_conv(shape, weights.data(), packed.data());
  sx::Epilogue epilogue;
  epilogue.row_bias = bias.data();
  epilogue.activation = sx::Activation::kRelu;
  char name[80];
  std::snprintf(name, sizeof(name), "conv %ld->%ld g%ld %ldx%ld %ldx%ld/%ld", static_cast<long>(channels),
                static_cast<long>(filters), static_cast<long>(groups), static_cast<long>(size), static_cast<long>(size),
                static_cast<long>(window), static_cast<long>(window), static_cast<long>(stride));
  report(name, 2.0 * static_cast<double>(weights.size()) * static_cast<double>(shape.out_size()),
         best_seconds([&] { sx::conv(shape, x.data(), packed.data(), y.data(), epilogue); }), top);
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "all";
  const sx::ThreadLimit limit(argc > 2 ? std::atoi(argv[2]) : 0);
  const double top = ceiling(sx::thread_count());
  std::printf("tier %s, %d threads, ceiling %.1f GFLOP/s\n", sx::name_of(sx::active_isa()), sx::thread_count(), top);
  const bool all = std::strcmp(what, "all") == 0;
  if (all || std::strcmp(what, "gemm") == 0) {
    for (int64_t size : {64, 128, 256, 512, 1024, 2048}) {
      bench_gemm(size, size, size, false, top);
      bench_gemm(size, size, size, true, top);
    }
    for (int64_t m : {1, 4, 8, 16, 128}) {
      bench_gemm(m, 3072, 768, true, top);
      bench_gemm(m, 768, 3072, true, top);
      bench_gemm(m, 3072, 768, false, top);
    }
  }
  if (all || std::strcmp(what, "int8") == 0) {
    for (int64_t m : {1, 16, 128, 1024}) {
      bench_int8(m, 3072, 768, top);
      bench_int8(m, 768, 3072, top);
    }
  }
  if (all || std::strcmp(what, "conv") == 0) {
    // ResNet-50.
    bench_conv(3, 64, 1, 224, 7, 2, top);
    for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{64, 56}, {128, 28}, {256, 14}, {512, 7}}) {
      bench_conv(4 * channels, channels, 1, size, 1, 1, top);
      bench_conv(channels, channels, 1, size, 3, 1, top);
      bench_conv(channels, channels, 1, size * 2, 3, 2, top);
      bench_conv(channels, 4 * channels, 1, size, 1, 1, top);
      bench_conv(2 * channels, 4 * channels, 1, size * 2, 1, 2, top);
    }
    // MobileNet.
    bench_conv(32, 32, 32, 112, 3, 1, top);
    bench_conv(96, 96, 96, 112, 3, 2, top);
    bench_conv(144, 144, 144, 56, 3, 1, top);
    bench_conv(384, 384, 384, 14, 3, 1, top);
    bench_conv(960, 960, 960, 7, 3, 1, top);
    bench_conv(120, 120, 120, 28, 5, 1, top);
    bench_conv(16, 96, 1, 112, 1, 1, top);
    // ResNeXt.
    bench_conv(256, 256, 32, 28, 3, 1, top);
  }
  return 0;
}
