// Times kernels and sets each time beside its roofline: operations and bytes at the ceilings measured on this machine.
//
// Usage: bench_kernels [gemm|int8|conv|blocked|rows ...] [--threads N] [--json | --markdown]
#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_int8.h"
#include "kernels/gemm/gemm_int8_kernel.h"
#include "kernels/gemm/gemm_kernel.h"
#include "kernels/rows.h"
#include "kernels/unary.h"

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

// The most that the machine does: multiply-adds on operands in the first-level cache, and bytes read a second from
// arrays of the sizes beside them. All on all threads.
struct Ceilings {
  double f32 = 0, int8 = 0;  // operations a second
  std::vector<std::pair<double, double>> bandwidth;

  // Bytes a second for a problem of that many bytes.
  double bandwidth_for(double bytes) const {
    for (const auto& [size, rate] : bandwidth)
      if (bytes <= size) return rate;
    return bandwidth.back().second;
  }
};

double f32_ceiling(int threads) {
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
  return 2.0 * static_cast<double>(k * kernel.mr * kernel.nr) * repeats * threads / seconds;
}

double int8_ceiling(int threads) {
  const sx::GemmInt8Kernel& kernel = sx::gemm_int8_kernel(sx::active_isa());
  const int64_t units = 128;
  const int repeats = 2000;
  const double seconds = best_seconds([&] {
    sx::parallel_for(threads, 1, [&](int64_t, int64_t) {
      std::vector<int32_t> a(static_cast<size_t>(kernel.mr * units)), b(static_cast<size_t>(kernel.nr * units)),
          sums(static_cast<size_t>(kernel.mr * kernel.nr));
      sx::Int8Operands operands;
      operands.units = units;
      operands.a = reinterpret_cast<const uint8_t*>(a.data());
      operands.a_step = 4 * units;
      operands.b = b.data();
      for (int i = 0; i < repeats; ++i) kernel.tiles[kernel.mr - 1][1](operands, false, sums.data());
    });
  });
  return 2.0 * static_cast<double>(units * kernel.group * kernel.mr * kernel.nr) * repeats * threads / seconds;
}

double read_bandwidth(int64_t bytes) {
  const std::vector<float> x = filled(bytes / 4);
  const int64_t rows = 64, n = static_cast<int64_t>(x.size()) / rows;
  std::vector<float> y(rows);
  const double seconds = best_seconds([&] { sx::reduce_rows(sx::Reduction::kMax, x.data(), rows, n, y.data()); });
  return static_cast<double>(rows * n * 4) / seconds;
}

Ceilings measured_ceilings() {
  Ceilings found;
  found.f32 = f32_ceiling(sx::thread_count());
  found.int8 = int8_ceiling(sx::thread_count());
  for (int64_t bytes : {int64_t{512} << 10, int64_t{8} << 20, int64_t{256} << 20})
    found.bandwidth.emplace_back(static_cast<double>(bytes), read_bandwidth(bytes));
  return found;
}

struct Result {
  std::string name;
  double operations, bytes, seconds, roofline;  // what there is to do, the time it took, the least that it could take
};

std::vector<Result> results;
Ceilings ceilings;

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);
  va_end(arguments);
  return buffer;
}

// `bytes` counts every operand once.
void report(const std::string& name, double operations, double bytes, double seconds, double operation_ceiling) {
  const double roofline = std::max(operations / operation_ceiling, bytes / ceilings.bandwidth_for(bytes));
  results.push_back({name, operations, bytes, seconds, roofline});
  std::fprintf(stderr, "\r%-60s", name.c_str());
}

void bench_gemm(int64_t m, int64_t n, int64_t k, bool packed) {
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
  report(text("gemm %ldx%ldx%ld%s", static_cast<long>(m), static_cast<long>(n), static_cast<long>(k),
              packed ? " packed B" : ""),
         2.0 * static_cast<double>(m * n * k), 4.0 * static_cast<double>(m * k + k * n + m * n),
         best_seconds([&] { sx::gemm(gemm); }), ceilings.f32);
}

// 8-bit unsigned by signed with packed weights.
void bench_int8(int64_t m, int64_t n, int64_t k) {
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
  report(text("int8 %ldx%ldx%ld packed B", static_cast<long>(m), static_cast<long>(n), static_cast<long>(k)),
         2.0 * static_cast<double>(m * n * k), static_cast<double>(m * k + k * n + 4 * m * n),
         best_seconds([&] { sx::gemm_int8(gemm); }), ceilings.int8);
}

// A square image of `size`, `channels` to `filters`, a square window with half of it as padding.
sx::ConvShape conv_shape(int64_t channels, int64_t filters, int64_t groups, int64_t size, int64_t window,
                         int64_t stride) {
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
  return shape;
}

// In plain layout, or in blocks of channels. Winograd counts the operations of the direct sum, so it may be faster than
// the roofline.
void bench_conv(const sx::ConvShape& shape, bool blocked) {
  const int64_t block = sx::channel_block();
  const auto padded = [&](int64_t channels) { return blocked ? (channels + block - 1) / block * block : channels; };
  const int64_t inputs = shape.channels * shape.in_size(), outputs = shape.filters * shape.out_size();
  const std::vector<float> x = filled(padded(shape.channels) * shape.in_size());
  const std::vector<float> weights = filled(shape.filters * shape.channels / shape.groups * shape.kernel_size());
  const std::vector<float> bias = filled(padded(shape.filters));
  std::vector<float> y(static_cast<size_t>(padded(shape.filters) * shape.out_size()));
  const sx::BlockedMethod method = sx::blocked_method(shape, shape.channels < block);
  Aligned packed(blocked ? sx::packed_blocked_size(shape, method) : sx::packed_conv_size(shape));
  if (blocked) sx::pack_blocked(shape, method, sx::Precision::kF32, weights.data(), packed.data());
  else sx::pack_conv(shape, weights.data(), packed.data());
  sx::Epilogue epilogue;
  epilogue.row_bias = bias.data();
  epilogue.activation = sx::Activation::kRelu;
  const double seconds = best_seconds([&] {
    if (blocked) sx::blocked_conv<float>(shape, method, x.data(), packed.data(), nullptr, y.data(), epilogue);
    else sx::conv(shape, x.data(), packed.data(), y.data(), epilogue);
  });
  report(text("%s %ld->%ld g%ld %ldx%ld %ldx%ld/%ld", blocked ? sx::name_of(method) : "conv",
              static_cast<long>(shape.channels), static_cast<long>(shape.filters), static_cast<long>(shape.groups),
              static_cast<long>(shape.in[0]), static_cast<long>(shape.in[0]), static_cast<long>(shape.kernel[0]),
              static_cast<long>(shape.kernel[0]), static_cast<long>(shape.stride[0])),
         2.0 * static_cast<double>(weights.size()) * static_cast<double>(shape.out_size()),
         4.0 * static_cast<double>(inputs + static_cast<int64_t>(weights.size()) + outputs), seconds, ceilings.f32);
}

void bench_convs(bool blocked) {
  const auto bench = [&](int64_t channels, int64_t filters, int64_t groups, int64_t size, int64_t window,
                         int64_t stride) {
    bench_conv(conv_shape(channels, filters, groups, size, window, stride), blocked);
  };
  // ResNet-50.
  bench(3, 64, 1, 224, 7, 2);
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{64, 56}, {128, 28}, {256, 14}, {512, 7}}) {
    bench(4 * channels, channels, 1, size, 1, 1);
    bench(channels, channels, 1, size, 3, 1);
    bench(channels, channels, 1, size * 2, 3, 2);
    bench(channels, 4 * channels, 1, size, 1, 1);
    bench(2 * channels, 4 * channels, 1, size * 2, 1, 2);
  }
  // MobileNet.
  bench(32, 32, 32, 112, 3, 1);
  bench(96, 96, 96, 112, 3, 2);
  bench(144, 144, 144, 56, 3, 1);
  bench(384, 384, 384, 14, 3, 1);
  bench(960, 960, 960, 7, 3, 1);
  bench(120, 120, 120, 28, 5, 1);
  bench(16, 96, 1, 112, 1, 1);
  // ResNeXt.
  if (!blocked) bench(256, 256, 32, 28, 3, 1);
}

// Functions and rows count no operations: their roofline is that of the bytes.
void bench_rows(int64_t rows, int64_t n) {
  const std::vector<float> x = filled(rows * n), scale = filled(n);
  std::vector<float> y(x.size());
  const double bytes = 8.0 * static_cast<double>(rows * n);
  const auto bench = [&](const char* name, auto&& call) {
    report(text("%s %ldx%ld", name, static_cast<long>(rows), static_cast<long>(n)), 0, bytes, best_seconds(call),
           ceilings.f32);
  };
  for (const auto& [name, kind] : {std::pair<const char*, sx::Activation>{"relu", sx::Activation::kRelu},
                                   {"exp", sx::Activation::kExp},
                                   {"tanh", sx::Activation::kTanh},
                                   {"erf", sx::Activation::kErf},
                                   {"gelu", sx::Activation::kGelu}})
    bench(name, [&, of = kind] { sx::apply(of, x.data(), y.data(), rows * n); });
  sx::SoftmaxRows softmax;
  softmax.rows = rows;
  softmax.n = n;
  softmax.x = x.data();
  softmax.y = y.data();
  bench("softmax", [&] { sx::softmax_rows(softmax); });
  sx::NormRows norm;
  norm.rows = rows;
  norm.n = n;
  norm.x = x.data();
  norm.y = y.data();
  norm.scale = norm.bias = scale.data();
  bench("layer norm", [&] { sx::normalize_rows(norm); });
}

void print_text() {
  std::printf("tier %s, %d threads; ceilings: f32 %.1f, int8 %.1f GOP/s", sx::name_of(sx::active_isa()),
              sx::thread_count(), ceilings.f32 * 1e-9, ceilings.int8 * 1e-9);
  for (const auto& [bytes, rate] : ceilings.bandwidth)
    std::printf(", %.0f GB/s of %.1f MiB", rate * 1e-9, bytes / (1 << 20));
  std::printf("\n%-44s %10s %10s %10s %8s\n", "", "us", "roofline", "GOP/s", "reached");
  for (const Result& r : results)
    std::printf("%-44s %10.1f %10.1f %10.1f %7.1f%%\n", r.name.c_str(), r.seconds * 1e6, r.roofline * 1e6,
                r.operations / r.seconds * 1e-9, 100 * r.roofline / r.seconds);
}

void print_markdown() {
  std::printf("## Kernels\n\n%s kernels on %d threads. Ceilings: %.1f GFLOP/s in f32, %.1f GOP/s in 8 bits; ",
              sx::name_of(sx::active_isa()), sx::thread_count(), ceilings.f32 * 1e-9, ceilings.int8 * 1e-9);
  std::printf("bytes read:");
  for (const auto& [bytes, rate] : ceilings.bandwidth)
    std::printf(" %.0f GB/s of %.1f MiB;", rate * 1e-9, bytes / (1 << 20));
  std::printf(" the roofline is the longer of operations and bytes at these rates.\n\n");
  std::printf("| kernel | us | roofline, us | GOP/s | reached |\n|---|---|---|---|---|\n");
  for (const Result& r : results)
    std::printf("| %s | %.1f | %.1f | %.1f | %.0f%% |\n", r.name.c_str(), r.seconds * 1e6, r.roofline * 1e6,
                r.operations / r.seconds * 1e-9, 100 * r.roofline / r.seconds);
}

void print_json() {
  std::printf("{\"tier\": \"%s\", \"threads\": %d, \"ceilings\": {\"f32\": %.6g, \"int8\": %.6g, \"bandwidth\": [",
              sx::name_of(sx::active_isa()), sx::thread_count(), ceilings.f32, ceilings.int8);
  const char* comma = "";
  for (const auto& [bytes, rate] : ceilings.bandwidth) {
    std::printf("%s{\"bytes\": %.0f, \"bytes_a_second\": %.6g}", comma, bytes, rate);
    comma = ", ";
  }
  std::printf("]},\n \"rows\": [");
  comma = "\n";
  for (const Result& r : results) {
    std::printf(
        "%s  {\"kernel\": \"%s\", \"operations\": %.0f, \"bytes\": %.0f, \"seconds\": %.6g, \"roofline\": %.6g}", comma,
        r.name.c_str(), r.operations, r.bytes, r.seconds, r.roofline);
    comma = ",\n";
  }
  std::printf("\n ]}\n");
}

int usage() {
  std::fprintf(stderr,
               "Times kernels and sets each time beside its roofline.\n\n"
               "usage: bench_kernels [gemm|int8|conv|blocked|rows ...] [--threads N] [--json | --markdown]\n\n"
               "examples:\n  bench_kernels\n  bench_kernels blocked gemm --threads 1\n  bench_kernels --markdown\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> families;
  int threads = 0;
  void (*print)() = print_text;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--threads" && i + 1 < argc) threads = std::atoi(argv[++i]);
    else if (argument == "--json") print = print_json;
    else if (argument == "--markdown") print = print_markdown;
    else if (argument == "gemm" || argument == "int8" || argument == "conv" || argument == "blocked" ||
             argument == "rows")
      families.push_back(argument);
    else return usage();
  }
  const auto wanted = [&](const char* family) {
    return families.empty() || std::find(families.begin(), families.end(), family) != families.end();
  };
  const sx::ThreadLimit limit(threads);
  ceilings = measured_ceilings();
  if (wanted("gemm")) {
    for (int64_t size : {64, 128, 256, 512, 1024, 2048}) {
      bench_gemm(size, size, size, false);
      bench_gemm(size, size, size, true);
    }
    for (int64_t m : {1, 4, 8, 16, 128}) {
      bench_gemm(m, 3072, 768, true);
      bench_gemm(m, 768, 3072, true);
      bench_gemm(m, 3072, 768, false);
    }
  }
  if (wanted("int8")) {
    for (int64_t m : {1, 16, 128, 1024}) {
      bench_int8(m, 3072, 768);
      bench_int8(m, 768, 3072);
    }
  }
  if (wanted("blocked")) bench_convs(true);
  if (wanted("conv")) bench_convs(false);
  if (wanted("rows")) {
    bench_rows(128, 768);
    bench_rows(4096, 4096);
  }
  std::fprintf(stderr, "\r%-60s\r", "");
  print();
  return 0;
}
