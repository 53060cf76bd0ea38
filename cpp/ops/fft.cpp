// Stockham's mixed-radix transform (decimation in frequency), and Bluestein's for lengths with a large prime factor.
#include "ops/fft.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace sx {
namespace {

constexpr int kLargestRadix = 31;
constexpr double kPi = 3.14159265358979323846;

double cos_of(int64_t k, int64_t n) { return std::cos(2 * kPi * static_cast<double>(k) / static_cast<double>(n)); }
double sin_of(int64_t k, int64_t n) { return std::sin(2 * kPi * static_cast<double>(k) / static_cast<double>(n)); }

// One butterfly of `radix` inputs for `count` neighbours: input j lies `in_gap` * j behind `ar` and `ai`, output r
// `out_gap` * r behind `br` and `bi`, which is multiplied by (wr[r], wi[r]).
template <typename R>
struct Butterfly {
  const R *ar, *ai;
  R *br, *bi;
  int64_t in_gap, out_gap, count;
  const R *wr, *wi;
};

template <typename R>
void store(R* __restrict br, R* __restrict bi, int64_t at, R re, R im, R wr, R wi) {
  br[at] = re * wr - im * wi;
  bi[at] = re * wi + im * wr;
}

template <typename R>
void radix2(const Butterfly<R>& b) {
  const R* __restrict ar = b.ar, * __restrict ai = b.ai;
  R* __restrict br = b.br, * __restrict bi = b.bi;
  const int64_t in = b.in_gap, out = b.out_gap;
  const R wr = b.wr[1], wi = b.wi[1];
  for (int64_t k = 0; k < b.count; ++k) {
    const R re = ar[k] - ar[k + in], im = ai[k] - ai[k + in];
    br[k] = ar[k] + ar[k + in];
    bi[k] = ai[k] + ai[k + in];
    br[k + out] = re * wr - im * wi;
    bi[k + out] = re * wi + im * wr;
  }
}

template <typename R>
void radix4(const Butterfly<R>& b) {
  const R* __restrict ar = b.ar, * __restrict ai = b.ai;
  R* __restrict br = b.br, * __restrict bi = b.bi;
  const int64_t in = b.in_gap, out = b.out_gap;
  const R w1r = b.wr[1], w1i = b.wi[1], w2r = b.wr[2], w2i = b.wi[2], w3r = b.wr[3], w3i = b.wi[3];
  for (int64_t k = 0; k < b.count; ++k) {
    const R even_r = ar[k] + ar[k + 2 * in], even_i = ai[k] + ai[k + 2 * in];
    const R apart_r = ar[k] - ar[k + 2 * in], apart_i = ai[k] - ai[k + 2 * in];
    const R odd_r = ar[k + in] + ar[k + 3 * in], odd_i = ai[k + in] + ai[k + 3 * in];
    const R turned_r = ai[k + in] - ai[k + 3 * in], turned_i = ar[k + 3 * in] - ar[k + in];
    br[k] = even_r + odd_r;
    bi[k] = even_i + odd_i;
    const R x1r = apart_r + turned_r, x1i = apart_i + turned_i;
    const R x2r = even_r - odd_r, x2i = even_i - odd_i;
    const R x3r = apart_r - turned_r, x3i = apart_i - turned_i;
    br[k + out] = x1r * w1r - x1i * w1i;
    bi[k + out] = x1r * w1i + x1i * w1r;
    br[k + 2 * out] = x2r * w2r - x2i * w2i;
    bi[k + 2 * out] = x2r * w2i + x2i * w2r;
    br[k + 3 * out] = x3r * w3r - x3i * w3i;
    bi[k + 3 * out] = x3r * w3i + x3i * w3r;
  }
}

// Odd radices add and subtract inputs in pairs j, radix - j: output r and radix - r share their products.
template <typename R>
void radix3(const Butterfly<R>& b) {
  const R* __restrict ar = b.ar, * __restrict ai = b.ai;
  R* __restrict br = b.br, * __restrict bi = b.bi;
  const int64_t in = b.in_gap, out = b.out_gap;
  const R w1r = b.wr[1], w1i = b.wi[1], w2r = b.wr[2], w2i = b.wi[2];
  const R c = static_cast<R>(-0.5), s = static_cast<R>(sin_of(1, 3));
  for (int64_t k = 0; k < b.count; ++k) {
    const R sum_r = ar[k + in] + ar[k + 2 * in], sum_i = ai[k + in] + ai[k + 2 * in];
    const R gap_r = ar[k + in] - ar[k + 2 * in], gap_i = ai[k + in] - ai[k + 2 * in];
    const R mid_r = ar[k] + c * sum_r, mid_i = ai[k] + c * sum_i;
    const R turned_r = s * gap_i, turned_i = -(s * gap_r);
    br[k] = ar[k] + sum_r;
    bi[k] = ai[k] + sum_i;
    const R x1r = mid_r + turned_r, x1i = mid_i + turned_i;
    const R x2r = mid_r - turned_r, x2i = mid_i - turned_i;
    br[k + out] = x1r * w1r - x1i * w1i;
    bi[k + out] = x1r * w1i + x1i * w1r;
    br[k + 2 * out] = x2r * w2r - x2i * w2i;
    bi[k + 2 * out] = x2r * w2i + x2i * w2r;
  }
}

template <typename R>
void radix5(const Butterfly<R>& b) {
  const R* __restrict ar = b.ar, * __restrict ai = b.ai;
  R* __restrict br = b.br, * __restrict bi = b.bi;
  const int64_t in = b.in_gap, out = b.out_gap;
  const R c1 = static_cast<R>(cos_of(1, 5)), c2 = static_cast<R>(cos_of(2, 5));
  const R s1 = static_cast<R>(sin_of(1, 5)), s2 = static_cast<R>(sin_of(2, 5));
  const R w1r = b.wr[1], w1i = b.wi[1], w2r = b.wr[2], w2i = b.wi[2];
  const R w3r = b.wr[3], w3i = b.wi[3], w4r = b.wr[4], w4i = b.wi[4];
  for (int64_t k = 0; k < b.count; ++k) {
    const R sum1_r = ar[k + in] + ar[k + 4 * in], sum1_i = ai[k + in] + ai[k + 4 * in];
    const R gap1_r = ar[k + in] - ar[k + 4 * in], gap1_i = ai[k + in] - ai[k + 4 * in];
    const R sum2_r = ar[k + 2 * in] + ar[k + 3 * in], sum2_i = ai[k + 2 * in] + ai[k + 3 * in];
    const R gap2_r = ar[k + 2 * in] - ar[k + 3 * in], gap2_i = ai[k + 2 * in] - ai[k + 3 * in];
    const R mid1_r = ar[k] + c1 * sum1_r + c2 * sum2_r, mid1_i = ai[k] + c1 * sum1_i + c2 * sum2_i;
    const R mid2_r = ar[k] + c2 * sum1_r + c1 * sum2_r, mid2_i = ai[k] + c2 * sum1_i + c1 * sum2_i;
    const R turned1_r = s1 * gap1_i + s2 * gap2_i, turned1_i = -(s1 * gap1_r + s2 * gap2_r);
    const R turned2_r = s2 * gap1_i - s1 * gap2_i, turned2_i = -(s2 * gap1_r - s1 * gap2_r);
    br[k] = ar[k] + sum1_r + sum2_r;
    bi[k] = ai[k] + sum1_i + sum2_i;
    const R x1r = mid1_r + turned1_r, x1i = mid1_i + turned1_i;
    const R x2r = mid2_r + turned2_r, x2i = mid2_i + turned2_i;
    const R x3r = mid2_r - turned2_r, x3i = mid2_i - turned2_i;
    const R x4r = mid1_r - turned1_r, x4i = mid1_i - turned1_i;
    br[k + out] = x1r * w1r - x1i * w1i;
    bi[k + out] = x1r * w1i + x1i * w1r;
    br[k + 2 * out] = x2r * w2r - x2i * w2i;
    bi[k + 2 * out] = x2r * w2i + x2i * w2r;
    br[k + 3 * out] = x3r * w3r - x3i * w3i;
    bi[k + 3 * out] = x3r * w3i + x3i * w3r;
    br[k + 4 * out] = x4r * w4r - x4i * w4i;
    bi[k + 4 * out] = x4r * w4i + x4i * w4r;
  }
}

template <typename R>
void odd_radix(const Butterfly<R>& b, int radix) {
  const int pairs = radix / 2;
  R c[kLargestRadix], s[kLargestRadix];
  for (int j = 0; j < radix; ++j) {
    c[j] = static_cast<R>(cos_of(j, radix));
    s[j] = static_cast<R>(sin_of(j, radix));
  }
  for (int64_t k = 0; k < b.count; ++k) {
    R sum_r[kLargestRadix], sum_i[kLargestRadix], gap_r[kLargestRadix], gap_i[kLargestRadix];
    R total_r = b.ar[k], total_i = b.ai[k];
    for (int j = 1; j <= pairs; ++j) {
      const int64_t near = k + b.in_gap * j, far = k + b.in_gap * (radix - j);
      sum_r[j] = b.ar[near] + b.ar[far];
      sum_i[j] = b.ai[near] + b.ai[far];
      gap_r[j] = b.ar[near] - b.ar[far];
      gap_i[j] = b.ai[near] - b.ai[far];
      total_r += sum_r[j];
      total_i += sum_i[j];
    }
    b.br[k] = total_r;
    b.bi[k] = total_i;
    for (int r = 1; r <= pairs; ++r) {
      R mid_r = b.ar[k], mid_i = b.ai[k], turned_r = 0, turned_i = 0;
      for (int j = 1; j <= pairs; ++j) {
        const int angle = j * r % radix;
        mid_r += c[angle] * sum_r[j];
        mid_i += c[angle] * sum_i[j];
        turned_r += s[angle] * gap_i[j];
        turned_i -= s[angle] * gap_r[j];
      }
      const int mirror = radix - r;
      store(b.br, b.bi, k + b.out_gap * r, mid_r + turned_r, mid_i + turned_i, b.wr[r], b.wi[r]);
      store(b.br, b.bi, k + b.out_gap * mirror, mid_r - turned_r, mid_i - turned_i, b.wr[mirror], b.wi[mirror]);
    }
  }
}

template <typename R>
void run_butterfly(const Butterfly<R>& b, int radix) {
  switch (radix) {
    case 2: return radix2(b);
    case 3: return radix3(b);
    case 4: return radix4(b);
    case 5: return radix5(b);
    default: return odd_radix(b, radix);
  }
}

}  // namespace

template <typename R>
Fft<R>::Fft(int64_t length) : length_(length) {
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
    for (int64_t k = 0; k < length; ++k) {
      cos_.push_back(static_cast<R>(cos_of(k, length)));
      sin_.push_back(static_cast<R>(-sin_of(k, length)));
    }
    return;
  }
  int64_t padded = 1;
  while (padded < 2 * length - 1) padded *= 2;
  padded_ = std::make_unique<Fft<double>>(padded);
  int64_t square = 0;  // k^2 modulo 2 * length, so that the angle stays exact
  for (int64_t k = 0; k < length; ++k) {
    chirp_re_.push_back(cos_of(square, 2 * length));
    chirp_im_.push_back(-sin_of(square, 2 * length));
    square = (square + 2 * k + 1) % (2 * length);
  }
  spectrum_re_.assign(static_cast<size_t>(padded), 0);
  spectrum_im_.assign(static_cast<size_t>(padded), 0);
  for (int64_t k = 0; k < length; ++k) {
    for (int64_t at : {k, k == 0 ? k : padded - k}) {
      spectrum_re_[static_cast<size_t>(at)] = chirp_re_[static_cast<size_t>(k)];
      spectrum_im_[static_cast<size_t>(at)] = -chirp_im_[static_cast<size_t>(k)];
    }
  }
  std::vector<double> work(padded_->work_bytes(1) / sizeof(double));
  padded_->transform(spectrum_re_.data(), spectrum_im_.data(), 1, work.data(), false);
}

template <typename R>
size_t Fft<R>::work_bytes(int64_t lines) const {
  const auto pair = [&](int64_t length) { return 2 * static_cast<size_t>(length) * static_cast<size_t>(lines); };
  return padded_ ? pair(padded_->length()) * sizeof(double) + padded_->work_bytes(lines) : pair(length_) * sizeof(R);
}

template <typename R>
void Fft<R>::mixed_radix(R* re, R* im, int64_t lines, R* work) const {
  const R* from_re = re;
  const R* from_im = im;
  R* to_re = work;
  R* to_im = work + length_ * lines;
  R* spare_re = re;
  R* spare_im = im;
  int64_t n = length_;
  int64_t stride = lines;
  for (int radix : factors_) {
    const int64_t m = n / radix;
    const int64_t turn = length_ / n;  // the step in the roots for exp(-2 pi i / n)
    for (int64_t q = 0; q < m; ++q) {
      R wr[kLargestRadix], wi[kLargestRadix];
      for (int r = 0; r < radix; ++r) {
        wr[r] = cos_[static_cast<size_t>(q * r * turn)];
        wi[r] = sin_[static_cast<size_t>(q * r * turn)];
      }
      run_butterfly(Butterfly<R>{from_re + stride * q, from_im + stride * q, to_re + stride * radix * q,
                                 to_im + stride * radix * q, stride * m, stride, stride, wr, wi},
                    radix);
    }
    n = m;
    stride *= radix;
    from_re = to_re;
    from_im = to_im;
    std::swap(to_re, spare_re);
    std::swap(to_im, spare_im);
  }
  if (from_re == re) return;
  std::copy(from_re, from_re + length_ * lines, re);
  std::copy(from_im, from_im + length_ * lines, im);
}

// The transform as a convolution with a chirp: k * n = (k^2 + n^2 - (k - n)^2) / 2.
template <typename R>
void Fft<R>::chirp(R* re, R* im, int64_t lines, double* work) const {
  const int64_t padded = padded_->length();
  double* product_re = work;
  double* product_im = work + padded * lines;
  double* inner = work + 2 * padded * lines;
  std::fill(product_re, inner, 0.0);
  for (int64_t k = 0; k < length_; ++k) {
    const double c = chirp_re_[static_cast<size_t>(k)], s = chirp_im_[static_cast<size_t>(k)];
    for (int64_t at = k * lines; at < (k + 1) * lines; ++at) {
      product_re[at] = re[at] * c - im[at] * s;
      product_im[at] = re[at] * s + im[at] * c;
    }
  }
  padded_->transform(product_re, product_im, lines, inner, false);
  for (int64_t k = 0; k < padded; ++k) {
    const double c = spectrum_re_[static_cast<size_t>(k)], s = spectrum_im_[static_cast<size_t>(k)];
    for (int64_t at = k * lines; at < (k + 1) * lines; ++at) {
      const double x = product_re[at], y = product_im[at];
      product_re[at] = x * c - y * s;
      product_im[at] = x * s + y * c;
    }
  }
  padded_->transform(product_re, product_im, lines, inner, true);
  const double scale = 1.0 / static_cast<double>(padded);
  for (int64_t k = 0; k < length_; ++k) {
    const double c = chirp_re_[static_cast<size_t>(k)] * scale, s = chirp_im_[static_cast<size_t>(k)] * scale;
    for (int64_t at = k * lines; at < (k + 1) * lines; ++at) {
      re[at] = static_cast<R>(product_re[at] * c - product_im[at] * s);
      im[at] = static_cast<R>(product_re[at] * s + product_im[at] * c);
    }
  }
}

template <typename R>
void Fft<R>::transform(R* re, R* im, int64_t lines, void* work, bool inverse) const {
  // With real and imaginary parts exchanged on both sides, the forward transform is the inverse one.
  if (inverse) std::swap(re, im);
  if (padded_) chirp(re, im, lines, static_cast<double*>(work));
  else mixed_radix(re, im, lines, static_cast<R*>(work));
}

template class Fft<float>;
template class Fft<double>;

}  // namespace sx
