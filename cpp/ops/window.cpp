// HannWindow, HammingWindow, BlackmanWindow: cosine windows; MelWeightMatrix: triangular filters on the mel scale.
#include <cmath>

#include "ops/elements.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr double kPi = 3.14159265358979323846;

DType output_type(const NodeView& node) {
  const DType dtype = dtype_from_onnx(static_cast<int>(node.attr_int("output_datatype")));
  SX_CHECK(node, kNumbers.has(dtype), "output_datatype is ", name_of(dtype), "; a number expected");
  return dtype;
}

// Stores finite values, rounded towards zero in integer types.
void store(Tensor& y, int64_t i, double value) {
  with_number(y.dtype(), [&](auto zero) {
    using T = decltype(zero);
    y.data<T>()[i] = T(static_cast<Arithmetic<T>>(value));
  });
}

Dim size_of_input(const InferContext& c, int i) {
  const auto elements = c.elements(i);
  return elements && elements->size() == 1 ? (*elements)[0] : Dim();
}

// --- windows: a - b cos(2 pi n / N) + c cos(4 pi n / N)

struct Cosines {
  double a, b, c;
};

void infer_window(InferContext& c) {
  const Dim size = size_of_input(c, 0);
  SX_CHECK(c, !size.known() || size.value() >= 0, "size is ", size.str());
  c.out(0, output_type(c), SymShape{size});
}

Kernel make_window(Prepare& p, Cosines cosines) {
  const bool periodic = p.attr_int("periodic") != 0;
  const DType dtype = output_type(p);
  return [periodic, dtype, cosines](Run& run) {
    const int64_t size = run.in(0).scalar_as_int();
    SX_CHECK(run, size >= 0, "size is ", size);
    Tensor& y = run.out(0, dtype, Shape{size});
    const auto period = static_cast<double>(periodic ? size : size - 1);
    for (int64_t i = 0; i < size; ++i) {
      const double turn = 2 * kPi * static_cast<double>(i) / period;
      store(y, i, period == 0 ? 1.0 : cosines.a - cosines.b * std::cos(turn) + cosines.c * std::cos(2 * turn));
    }
  };
}

// --- MelWeightMatrix

void infer_mel(InferContext& c) {
  const Dim bins = floor_div(size_of_input(c, 1), Dim(2)) + Dim(1);
  c.out(0, output_type(c), SymShape{bins, size_of_input(c, 0)});
}

double to_mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }

Kernel make_mel(Prepare& p) {
  const DType dtype = output_type(p);
  return [dtype](Run& run) {
    const int64_t bands = run.in(0).scalar_as_int();
    const int64_t dft_length = run.in(1).scalar_as_int();
    const int64_t sample_rate = run.in(2).scalar_as_int();
    const double low = to_mel(run.in(3).scalar_as_double());
    const double high = to_mel(run.in(4).scalar_as_double());
    SX_CHECK(run, bands >= 0 && bands < (int64_t{1} << 32), "num_mel_bins is ", bands);
    SX_CHECK(run, dft_length >= 0 && dft_length < (int64_t{1} << 40), "dft_length is ", dft_length);
    SX_CHECK(run, sample_rate > 0, "sample_rate is ", sample_rate, "; a positive number expected");
    SX_CHECK(run, std::isfinite(low) && std::isfinite(high), "the edge frequencies are out of range");
    const int64_t bins = dft_length / 2 + 1;
    Tensor& y = run.out(0, dtype, Shape{bins, bands});
    for (int64_t i = 0; i < y.size(); ++i) store(y, i, 0);
    const double step = (high - low) / static_cast<double>(bands + 2);
    std::vector<int64_t> edges;
    for (int64_t i = 0; i < bands + 2; ++i) {
      const double hertz = 700 * (std::pow(10.0, (static_cast<double>(i) * step + low) / 2595) - 1);
      const double bin = std::floor(static_cast<double>(dft_length + 1) * hertz / static_cast<double>(sample_rate));
      SX_CHECK(run, bin >= 0 && bin < static_cast<double>(bins) + (i == bands + 1 ? 1 : 0), "the band edge at ", hertz,
               " Hz lies outside of the spectrum of ", bins, " bins");
      edges.push_back(static_cast<int64_t>(bin));
    }
    for (int64_t band = 0; band < bands; ++band) {
      const int64_t left = edges[static_cast<size_t>(band)];
      const int64_t center = edges[static_cast<size_t>(band + 1)];
      const int64_t right = edges[static_cast<size_t>(band + 2)];
      if (center == left) store(y, center * bands + band, 1);
      for (int64_t j = left; center > left && j <= center; ++j)
        store(y, j * bands + band, static_cast<double>(j - left) / static_cast<double>(center - left));
      for (int64_t j = center; j < right; ++j)
        store(y, j * bands + band, static_cast<double>(right - j) / static_cast<double>(right - center));
    }
  };
}

}  // namespace

void define_window(OpList& ops) {
  const DTypeSet integer = DType::kInt32 | DType::kInt64;
  auto window = [&](const char* name, Cosines cosines) {
    ops.add(OpDef(name)
                .since(17, 17)
                .attr("output_datatype", 1)
                .attr("periodic", 1)
                .in("size", "T1", integer)
                .out("output")
                .infer(infer_window)
                .kernel([cosines](Prepare& p) { return make_window(p, cosines); })
                .zero_gradient());
  };
  window("HannWindow", {0.5, 0.5, 0});
  window("HammingWindow", {25.0 / 46, 21.0 / 46, 0});
  window("BlackmanWindow", {0.42, 0.5, 0.08});
  // The edges of the bands are rounded to bins.
  ops.add(OpDef("MelWeightMatrix")
              .since(17, 17)
              .attr("output_datatype", 1)
              .in("num_mel_bins", "T1", integer)
              .in("dft_length", "T1", integer)
              .in("sample_rate", "T1", integer)
              .in("lower_edge_hertz", "T2", kFloats)
              .in("upper_edge_hertz", "T2", kFloats)
              .out("output")
              .infer(infer_mel)
              .kernel(make_mel)
              .zero_gradient());
}

}  // namespace sx
