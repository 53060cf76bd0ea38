// The weights of recurrent operators, packed, and the products with them.
#include "kernels/gemm/gemm.h"
#include "ops/float_io.h"
#include "ops/matmul.h"
#include "ops/pack_matrix.h"
#include "ops/recurrent.h"

namespace sx {
namespace {

constexpr int64_t kFloatsPerLine = 16;

int64_t line_up(int64_t floats) { return checked_add(floats, kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine; }

int64_t packed_size(int64_t k, int64_t columns, Precision precision) {
  return line_up(packed_b_size(k, columns, active_isa(), precision));
}

// Matrices [directions, gates * hidden, k] packed direction by direction and part by part.
Tensor pack_weights(const Tensor& weights, const std::vector<int>& parts, int gates, Precision allowed, bool constant) {
  const int64_t k = weights.dim(2);
  const int64_t hidden = weights.dim(1) / gates;
  const FloatIn from(weights);
  const Precision precision =
      constant ? kept_precision(from.data(), weights.size(), allowed) : changing_precision(allowed);
  int64_t step = 0;
  for (int part : parts) step = checked_add(step, packed_size(k, part * hidden, precision));
  const Tensor packed = packed_memory(checked_mul(weights.dim(0), step), precision);
  float* to = packed_words(packed);
  const float* matrix = from.data();
  for (int64_t d = 0; d < weights.dim(0); ++d)
    for (int part : parts) {
      pack_b(k, part * hidden, matrix, k, true, to, active_isa(), precision);
      matrix += part * hidden * k;
      to += packed_size(k, part * hidden, precision);
    }
  return packed;
}

const float* packed_part(const Tensor& packed, const std::vector<int>& parts, int64_t k, int64_t hidden, int direction,
                         int part) {
  const Precision precision = packed_precision(packed);
  int64_t step = 0, skip = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t size = packed_size(k, parts[i] * hidden, precision);
    if (static_cast<int>(i) < part) skip += size;
    step += size;
  }
  return packed_words(packed) + direction * step + skip;
}

class FloatProducts : public RecurrentProducts<float> {
 public:
  FloatProducts(const RecurrentSizes& sizes, const std::vector<int>& parts, Tensor w, Tensor r)
      : sizes_(sizes), parts_(parts), whole_{sizes.gates}, w_(std::move(w)), r_(std::move(r)) {}

  void project(int direction, const RecurrentRows& rows, const float* x, const float* bias, float* y) const override {
    Gemm g;
    g.m = rows.count(), g.n = sizes_.width(), g.k = sizes_.inputs;
    g.a = rows.of(x, sizes_.inputs), g.lda = sizes_.inputs;
    g.packed_b = packed_part(w_, whole_, sizes_.inputs, sizes_.hidden, direction, 0);
    g.c = y, g.ldc = g.n;
    g.precision = packed_precision(w_);
    g.epilogue.column_bias = bias;
    gemm(g);
  }

  void recur(int direction, int part, int64_t t, int64_t rows, const float* h, const float* addend,
             int64_t addend_stride, float* y, int64_t y_stride) const override {
    Gemm g;
    g.m = rows, g.n = parts_[static_cast<size_t>(part)] * sizes_.hidden, g.k = sizes_.hidden;
    g.a = h, g.lda = sizes_.hidden;
    g.packed_b = packed_part(r_, parts_, sizes_.hidden, sizes_.hidden, direction, part);
    g.c = y, g.ldc = y_stride;
    g.precision = packed_precision(r_);
    g.epilogue.residual = addend;
    g.epilogue.residual_stride = addend_stride;
    g.last_columns_first = t % 2 != 0;
    gemm(g);
  }

 private:
  const RecurrentSizes& sizes_;
  const std::vector<int>& parts_;
  std::vector<int> whole_;
  Tensor w_, r_;
};

class DoubleProducts : public RecurrentProducts<double> {
 public:
  DoubleProducts(const RecurrentSizes& sizes, const std::vector<int>& parts, const double* w, const double* r)
      : sizes_(sizes), parts_(parts), w_(w), r_(r) {}

  void project(int direction, const RecurrentRows& rows, const double* x, const double* bias,
               double* y) const override {
    const int64_t n = sizes_.width();
    multiply(rows.of(x, sizes_.inputs), w_ + direction * n * sizes_.inputs, rows.count(), n, sizes_.inputs, bias, 0, y,
             n);
  }

  void recur(int direction, int part, int64_t, int64_t rows, const double* h, const double* addend,
             int64_t addend_stride, double* y, int64_t y_stride) const override {
    int64_t skip = 0;
    for (int i = 0; i < part; ++i) skip += parts_[static_cast<size_t>(i)] * sizes_.hidden;
    multiply(h, r_ + (direction * sizes_.width() + skip) * sizes_.hidden, rows,
             parts_[static_cast<size_t>(part)] * sizes_.hidden, sizes_.hidden, addend, addend_stride, y, y_stride);
  }

 private:
  static void multiply(const double* a, const double* b, int64_t m, int64_t n, int64_t k, const double* addend,
                       int64_t addend_stride, double* y, int64_t y_stride) {
    sx::multiply(DenseProduct<double>{m, n, k, a, k, b, k, true, y, y_stride});
    for (int64_t i = 0; i < m && addend != nullptr; ++i)
      for (int64_t j = 0; j < n; ++j) y[i * y_stride + j] += addend[i * addend_stride + j];
  }

  const RecurrentSizes& sizes_;
  const std::vector<int>& parts_;
  const double* w_;
  const double* r_;
};

void check_weights(const Run& run, const RecurrentSizes& s) {
  const Shape w{s.directions, s.width(), s.inputs};
  const Shape r{s.directions, s.width(), s.hidden};
  SX_CHECK(run, run.in(1).shape() == w, "W is ", run.in(1).shape().str(), "; ", w.str(), " expected");
  SX_CHECK(run, run.in(2).shape() == r, "R is ", run.in(2).shape().str(), "; ", r.str(), " expected");
}

}  // namespace

WeightCache::WeightCache(Prepare& p, std::vector<int> parts) : parts_(std::move(parts)), allowed_(p.precision()) {
  int gates = 0;
  for (int part : parts_) gates += part;
  const auto packable = [&](int i) {
    const Tensor* weights = p.constant(i);
    return weights != nullptr && weights->dtype() != DType::kFloat64 && weights->rank() == 3 &&
           weights->dim(1) % gates == 0;
  };
  const auto packed = [&](int i, const std::vector<int>& cut) {
    return pack_weights(p.constant(i)->borrow(), cut, gates, allowed_, true);
  };
  if (packable(1)) w_ = p.shared("w", [&] { return packed(1, {gates}); });
  if (packable(2)) r_ = p.shared("r", [&] { return packed(2, parts_); });
}

std::unique_ptr<RecurrentProducts<float>> WeightCache::floats(const Run& run, const RecurrentSizes& sizes) const {
  check_weights(run, sizes);
  const auto packed = [&](const Tensor& known, int i, const std::vector<int>& parts) {
    return known.defined() ? known : pack_weights(run.in(i), parts, sizes.gates, allowed_, false);
  };
  return std::make_unique<FloatProducts>(sizes, parts_, packed(w_, 1, {sizes.gates}), packed(r_, 2, parts_));
}

std::unique_ptr<RecurrentProducts<double>> WeightCache::doubles(const Run& run, const RecurrentSizes& sizes) const {
  check_weights(run, sizes);
  return std::make_unique<DoubleProducts>(sizes, parts_, run.in(1).data<double>(), run.in(2).data<double>());
}

}  // namespace sx
