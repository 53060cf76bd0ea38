// Stockham's mixed-radix transform, and Bluestein's for lengths with a large prime factor.
#include "ops/fft.h"

#include <algorithm>
#include <cmath>

#include "base/shape.h"

namespace sx {
namespace {

constexpr int kLargestRadix = 31;
constexpr double kPi = 3.14159265358979323846;

Complex root(int64_t k, int64_t n) {
  const double angle = -2 * kPi * static_cast<double>(k) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

// std::complex's own product checks for NaN.
Complex times(Complex a, Complex b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

Fft::Fft(int64_t length) : length_(length) {
  SX_REQUIRE(length > 0 && length < (int64_t{1} << 40), kInvalidArgument, "a Fourier transform of length ", length,
             " is not possible");
  int64_t rest = length;
  for (int radix : {4, 2, 3, 5}) {
    for (; rest % radix == 0; rest /= radix) factors_.push_back(radix);
  }
  for (int radix = 7; radix <= kLargestRadix; radix += 2) {
    for (; rest % radix == 0; rest /= radix) factors_.push_back(radix);
  }
  if (rest == 1) {
    for (int64_t k = 0; k < length; ++k) roots_.push_back(root(k, length));
    return;
  }
  int64_t padded = 1;
  while (padded < 2 * length - 1) padded *= 2;
  padded_ = std::make_unique<Fft>(padded);
  int64_t square = 0;  // k^2 modulo 2 * length, so that the angle stays exact
  for (int64_t k = 0; k < length; ++k) {
    chirp_.push_back(root(square, 2 * length));
    square = (square + 2 * k + 1) % (2 * length);
  }
  chirp_spectrum_.assign(static_cast<size_t>(padded), Complex());
  for (int64_t k = 0; k < length; ++k) {
    const Complex value = std::conj(chirp_[static_cast<size_t>(k)]);
    chirp_spectrum_[static_cast<size_t>(k)] = value;
    if (k > 0) chirp_spectrum_[static_cast<size_t>(padded - k)] = value;
  }
  std::vector<Complex> work(static_cast<size_t>(padded_->work_size()));
  padded_->transform(chirp_spectrum_.data(), work.data(), false);
}

int64_t Fft::work_size() const { return padded_ ? padded_->length() + padded_->work_size() : length_; }

void Fft::mixed_radix(Complex* x, Complex* work) const {
  Complex* from = x;
  Complex* to = work;
  int64_t n = length_;
  int64_t stride = 1;
  for (int radix : factors_) {
    const int64_t m = n / radix;
    const int64_t turn = length_ / n;  // the step in roots_ for exp(-2 pi i / n)
    const int64_t small_turn = length_ / radix;
    for (int64_t q = 0; q < m; ++q) {
      for (int64_t k = 0; k < stride; ++k) {
        const Complex* a = from + k + stride * q;
        Complex* b = to + k + stride * radix * q;
        const int64_t gap = stride * m;
        if (radix == 2) {
          b[0] = a[0] + a[gap];
          b[stride] = times(a[0] - a[gap], roots_[static_cast<size_t>(q * turn)]);
        } else if (radix == 4) {
          const Complex even = a[0] + a[2 * gap], odd = a[gap] + a[3 * gap];
          const Complex even_difference = a[0] - a[2 * gap], odd_difference = a[gap] - a[3 * gap];
          const Complex turned(odd_difference.imag(), -odd_difference.real());
          b[0] = even + odd;
          b[stride] = times(even_difference + turned, roots_[static_cast<size_t>(q * turn)]);
          b[2 * stride] = times(even - odd, roots_[static_cast<size_t>(2 * q * turn)]);
          b[3 * stride] = times(even_difference - turned, roots_[static_cast<size_t>(3 * q * turn)]);
        } else {
          for (int r = 0; r < radix; ++r) {
            Complex sum = a[0];
            for (int j = 1; j < radix; ++j)
              sum += times(a[gap * j], roots_[static_cast<size_t>(j * r % radix * small_turn)]);
            b[stride * r] = times(sum, roots_[static_cast<size_t>(q * r * turn)]);
          }
        }
      }
    }
    n = m;
    stride *= radix;
    std::swap(from, to);
  }
  if (from != x) std::copy(from, from + length_, x);
}

// The transform as a convolution with a chirp: k * n = (k^2 + n^2 - (k - n)^2) / 2.
void Fft::chirp(Complex* x, Complex* work) const {
  const int64_t padded = padded_->length();
  Complex* product = work;
  for (int64_t k = 0; k < length_; ++k) product[k] = times(x[k], chirp_[static_cast<size_t>(k)]);
  std::fill(product + length_, product + padded, Complex());
  padded_->transform(product, work + padded, false);
  for (int64_t k = 0; k < padded; ++k) product[k] = times(product[k], chirp_spectrum_[static_cast<size_t>(k)]);
  padded_->transform(product, work + padded, true);
  const double scale = 1.0 / static_cast<double>(padded);
  for (int64_t k = 0; k < length_; ++k) x[k] = times(product[k], chirp_[static_cast<size_t>(k)]) * scale;
}

void Fft::transform(Complex* x, Complex* work, bool inverse) const {
  auto conjugate = [&] {
    for (int64_t k = 0; inverse && k < length_; ++k) x[k] = std::conj(x[k]);
  };
  conjugate();
  if (padded_) chirp(x, work);
  else mixed_radix(x, work);
  conjugate();
}

}  // namespace sx
