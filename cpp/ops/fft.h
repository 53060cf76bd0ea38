// Discrete Fourier transforms of any length, in double precision.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

namespace sx {

using Complex = std::complex<double>;

// The tables for one length; immutable, for any number of threads.
class Fft {
 public:
  explicit Fft(int64_t length);
  int64_t length() const { return length_; }
  // How many elements of working memory transform() needs.
  int64_t work_size() const;
  // x[k] = sum of x[n] exp(-+2 pi i n k / length) over n, minus for the forward direction; nothing is scaled.
  void transform(Complex* x, Complex* work, bool inverse) const;

 private:
  void mixed_radix(Complex* x, Complex* work) const;
  void chirp(Complex* x, Complex* work) const;

  int64_t length_;
  std::vector<int> factors_;
  std::vector<Complex> roots_;   // exp(-2 pi i k / length)
  std::unique_ptr<Fft> padded_;  // set where the length has a large prime factor: Bluestein's algorithm
  std::vector<Complex> chirp_;   // exp(-pi i k^2 / length)
  std::vector<Complex> chirp_spectrum_;
};

}  // namespace sx
