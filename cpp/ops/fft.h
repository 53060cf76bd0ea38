// Discrete Fourier transforms of any length in the precision of R, float or double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sx {

// The tables for one length; immutable, for any number of threads. The error of a transform is about
// epsilon * log2(length) of the signal's norm, epsilon being that of R.
template <typename R>
class Fft {
 public:
  explicit Fft(int64_t length);
  int64_t length() const { return length_; }
  // How much working memory transform() needs.
  size_t work_bytes(int64_t lines) const;
  // x[k] = sum of x[n] exp(-+2 pi i n k / length) over n, minus for the forward direction, of `lines` sequences side by
  // side: element n of line l is re[n * lines + l], im[n * lines + l]. Nothing is scaled. A line's result is the same
  // for any number of lines. `work` is aligned for double.
  void transform(R* re, R* im, int64_t lines, void* work, bool inverse) const;

 private:
  void mixed_radix(R* re, R* im, int64_t lines, R* work) const;
  void chirp(R* re, R* im, int64_t lines, double* work) const;

  int64_t length_;
  std::vector<int> factors_;
  std::vector<R> cos_, sin_;  // exp(-2 pi i k / length)
  // Bluestein's algorithm, where the length has a large prime factor; always in double precision.
  std::unique_ptr<Fft<double>> padded_;
  std::vector<double> chirp_re_, chirp_im_;        // exp(-pi i k^2 / length)
  std::vector<double> spectrum_re_, spectrum_im_;  // of its conjugate
};

extern template class Fft<float>;
extern template class Fft<double>;

}  // namespace sx
