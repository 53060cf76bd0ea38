// DFT: y[k] = sum of x[n] exp(-2 pi i n k / N) along an axis, and its inverse; STFT: the DFT of windowed frames of a
// signal.
#include <algorithm>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/fft.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

// A single integer where it is known, else unknown.
Dim known_integer(const InferContext& c, int i) {
  const auto elements = c.has(i) ? c.elements(i) : std::nullopt;
  return elements && elements->size() == 1 ? (*elements)[0] : Dim();
}

Dim half(const Dim& length) { return floor_div(length, Dim(2)) + Dim(1); }

// The axis to transform: neither the last one, which holds real and imaginary part, nor out of range.
int signal_axis(const NodeView& node, int64_t given, int rank) {
  const int axis = node.axis(given, rank);
  SX_CHECK(node, axis != rank - 1, "axis ", given, " is the last one, which holds real and imaginary parts");
  return axis;
}

void infer_dft(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, c.rank(0) >= 2, "the input is ", c.type(0).str(), "; rank 2 or more expected");
  const bool inverse = c.attr_int("inverse") != 0, onesided = c.attr_int("onesided") != 0;
  SymShape shape = c.shape(0);
  SX_CHECK(c, !shape.back().known() || shape.back().value() == 1 || shape.back().value() == 2, "the input is ",
           c.type(0).str(), "; a last axis of 1 (real) or 2 (complex) expected");
  shape.back() = Dim(inverse && onesided ? 1 : 2);
  const Dim given = c.has(2) ? known_integer(c, 2) : Dim(-2);
  if (!given.known()) {
    for (size_t i = 0; i + 1 < shape.size(); ++i) shape[i] = Dim();
    return c.out(0, c.dtype(0), shape);
  }
  Dim& extent = shape[static_cast<size_t>(signal_axis(c, given.value(), c.rank(0)))];
  Dim length = extent;
  if (c.has(1)) length = known_integer(c, 1);
  else if (inverse && onesided) length = (extent - Dim(1)) * Dim(2);
  extent = onesided && !inverse ? half(length) : length;
  c.out(0, c.dtype(0), shape);
}

// The tables for a length: those of the plan where the length was known, else new ones. Large ones wait for the run,
// which first checks the length and takes the memory of its result.
constexpr int64_t kLongestPrepared = int64_t{1} << 22;

template <typename R>
class FftCache {
 public:
  void prepare(int64_t length) {
    if (length > 0 && length <= kLongestPrepared) known_ = std::make_shared<const Fft<R>>(length);
  }
  std::shared_ptr<const Fft<R>> get(int64_t length) const {
    return known_ && known_->length() == length ? known_ : std::make_shared<const Fft<R>>(length);
  }

 private:
  std::shared_ptr<const Fft<R>> known_;
};

// How the elements of one line lie in memory: `stride` values apart, `parts` (1 or 2) values each.
struct LineLayout {
  int64_t stride;
  int64_t parts;
  int64_t length;  // elements that there are; missing ones are zero
};

template <typename R>
struct Transform {
  std::shared_ptr<const Fft<R>> fft;
  bool inverse = false;
  bool hermitian = false;  // the input is the first half of a spectrum of a real signal
  const R* window = nullptr;
};

template <typename R, typename T>
R number(T x) {
  return static_cast<R>(static_cast<Arithmetic<T>>(x));
}

// So many lines are transformed side by side that the vector units have work and the cache holds them.
int64_t lines_at_once(int64_t length) { return std::clamp<int64_t>(8192 / length, 1, 16); }

// Gives spectra the symmetry of those of real signals: element n - i is the conjugate of element i.
template <typename R>
void mirror(R* re, R* im, int64_t n, int64_t lines) {
  std::fill(im, im + lines, R{0});
  if (n % 2 == 0) std::fill(im + n / 2 * lines, im + (n / 2 + 1) * lines, R{0});
  for (int64_t i = n / 2 + 1; i < n; ++i) {
    for (int64_t l = 0; l < lines; ++l) {
      re[i * lines + l] = re[(n - i) * lines + l];
      im[i * lines + l] = -im[(n - i) * lines + l];
    }
  }
}

// Transforms lines [begin, end); line i begins at from(i) and goes to to(i).
template <typename R, typename T, typename From, typename To>
void transform_lines(const Transform<R>& t, int64_t begin, int64_t end, From from, LineLayout in, To to,
                     LineLayout out) {
  const int64_t n = t.fft->length();
  const int64_t present = std::min(in.length, t.hermitian ? n / 2 + 1 : n);
  const R scale = t.inverse ? static_cast<R>(1.0 / static_cast<double>(n)) : R{1};
  for (int64_t first = begin; first < end; first += lines_at_once(n)) {
    const int64_t lines = std::min(lines_at_once(n), end - first);
    const auto count = static_cast<size_t>(n * lines);
    R* re = static_cast<R*>(thread_scratch(ScratchSlot::kOperator, 2 * count * sizeof(R)));
    R* im = re + count;
    void* work = thread_scratch(ScratchSlot::kOperator3, t.fft->work_bytes(lines));
    std::fill(re, re + 2 * count, R{0});
    for (int64_t l = 0; l < lines; ++l) {
      const T* line = from(first + l);
      for (int64_t i = 0; i < present; ++i) {
        const T* element = line + i * in.stride;
        const R weight = t.window != nullptr ? t.window[i] : R{1};
        re[i * lines + l] = number<R>(element[0]) * weight;
        if (in.parts == 2) im[i * lines + l] = number<R>(element[1]) * weight;
      }
    }
    if (t.hermitian) mirror(re, im, n, lines);
    t.fft->transform(re, im, lines, work, t.inverse);
    // The spectrum of a real signal is as symmetric as it should be, whatever the rounding.
    if (in.parts == 1) mirror(re, im, n, lines);
    for (int64_t l = 0; l < lines; ++l) {
      T* line = to(first + l);
      for (int64_t i = 0; i < out.length; ++i) {
        T* element = line + i * out.stride;
        element[0] = T(static_cast<Arithmetic<T>>(re[i * lines + l] * scale));
        if (out.parts == 2) element[1] = T(static_cast<Arithmetic<T>>(im[i * lines + l] * scale));
      }
    }
  }
}

// So many lines are worth a task: at least 2048 elements, and as many as go side by side.
int64_t line_grain(int64_t length) { return std::max(2048 / length, lines_at_once(length)); }

// Elements of f64 are transformed as such, narrower ones in f32.
template <typename T, typename R>
constexpr bool computed_in = !std::is_integral_v<T> && std::is_same_v<T, double> == std::is_same_v<R, double>;

template <typename R>
Kernel make_dft_in(Prepare& p) {
  const NodeView node(p.node());
  const bool inverse = node.attr_int("inverse") != 0, onesided = node.attr_int("onesided") != 0;
  FftCache<R> cache;
  if (p.constant(1)) cache.prepare(p.constant(1)->scalar_as_int());
  else if (p.shape(0) && !p.has(1) && !p.has(2) && p.shape(0)->rank() >= 2 && !(inverse && onesided))
    cache.prepare((*p.shape(0))[p.shape(0)->rank() - 2]);
  return [node, inverse, onesided, cache](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2 && (x.shape().back() == 1 || x.shape().back() == 2), "the input has shape ",
             x.shape().str(), "; a last axis of 1 (real) or 2 (complex) expected");
    const int axis = signal_axis(node, run.has(2) ? run.in(2).scalar_as_int() : -2, x.rank());
    const int64_t extent = x.dim(axis);
    const int64_t length = run.has(1) ? run.in(1).scalar_as_int() : inverse && onesided ? 2 * (extent - 1) : extent;
    SX_CHECK(run, length > 0, "the transform has length ", length);
    Shape shape = x.shape();
    shape[axis] = onesided && !inverse ? length / 2 + 1 : length;
    shape[x.rank() - 1] = inverse && onesided ? 1 : 2;
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    Transform<R> transform;
    transform.fft = cache.get(length);
    transform.inverse = inverse;
    transform.hermitian = inverse && onesided;
    const int64_t inner = x.shape().size(axis + 1, x.rank() - 1);
    const LineLayout in{inner * x.shape().back(), x.shape().back(), extent};
    const LineLayout out{inner * shape.back(), shape.back(), shape[axis]};
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (computed_in<T, R>) {
        const T* begin_x = x.data<T>();
        T* begin_y = y.data<T>();
        parallel_for(shape.size(0, axis) * inner, line_grain(length), [&](int64_t begin, int64_t end) {
          transform_lines<R, T>(
              transform, begin, end,
              [&](int64_t i) { return begin_x + i / inner * extent * in.stride + i % inner * in.parts; }, in,
              [&](int64_t i) { return begin_y + i / inner * out.length * out.stride + i % inner * out.parts; }, out);
        });
      }
    });
  };
}

Kernel make_dft(Prepare& p) { return p.dtype(0) == DType::kFloat64 ? make_dft_in<double>(p) : make_dft_in<float>(p); }

void infer_stft(InferContext& c) {
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 3, "the signal is ", c.type(0).str(), "; rank 3 expected");
  const Dim step = known_integer(c, 1);
  Dim length;
  if (c.has(3)) length = known_integer(c, 3);
  else if (c.has(2)) length = c.has_shape(2) && c.rank(2) == 1 ? c.shape(2)[0] : Dim();
  else if (c.has_shape(0)) length = c.shape(0)[1];
  SX_CHECK(c, !step.known() || step.value() > 0, "frame_step is ", step.str());
  const Dim signal = c.has_shape(0) ? c.shape(0)[1] : Dim();
  const Dim frames = floor_div(signal - length, step) + Dim(1);
  c.out(0, c.dtype(0),
        SymShape{c.has_shape(0) ? c.shape(0)[0] : Dim(), frames.known() && frames.value() < 0 ? Dim() : frames,
                 c.attr_int("onesided") != 0 ? half(length) : length, Dim(2)});
}

template <typename R>
Kernel make_stft_in(Prepare& p) {
  const bool onesided = p.attr_int("onesided") != 0;
  FftCache<R> cache;
  if (p.constant(3)) cache.prepare(p.constant(3)->scalar_as_int());
  else if (!p.has(3) && p.has(2) && p.shape(2) && p.shape(2)->rank() == 1) cache.prepare((*p.shape(2))[0]);
  return [onesided, cache](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() == 3 && (x.dim(2) == 1 || x.dim(2) == 2), "the signal has shape ", x.shape().str(),
             "; [B,L,1] or [B,L,2] expected");
    const int64_t step = run.in(1).scalar_as_int();
    const int64_t length = run.has(3) ? run.in(3).scalar_as_int() : run.has(2) ? run.in(2).size() : x.dim(1);
    SX_CHECK(run, step > 0, "frame_step is ", step, "; a positive number expected");
    SX_CHECK(run, length > 0 && length <= x.dim(1), "frame_length is ", length, " for a signal of ", x.dim(1),
             " samples");
    SX_CHECK(run, !run.has(2) || run.in(2).size() == length, "the window has shape ",
             run.has(2) ? run.in(2).shape().str() : "", " for frames of ", length);
    const int64_t frames = (x.dim(1) - length) / step + 1;
    const int64_t bins = onesided ? length / 2 + 1 : length;
    Tensor& y = run.out(0, Shape{x.dim(0), frames, bins, 2});
    if (y.size() == 0) return;
    Transform<R> transform;
    transform.fft = cache.get(length);
    const LineLayout in{x.dim(2), x.dim(2), length};
    const LineLayout out{2, 2, bins};
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (computed_in<T, R>) {
        if (run.has(2)) {
          auto* window =
              static_cast<R*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(length) * sizeof(R)));
          for (int64_t i = 0; i < length; ++i) window[i] = number<R>(run.in(2).data<T>()[i]);
          transform.window = window;
        }
        const T* begin_x = x.data<T>();
        T* begin_y = y.data<T>();
        parallel_for(x.dim(0) * frames, line_grain(length), [&](int64_t begin, int64_t end) {
          transform_lines<R, T>(
              transform, begin, end,
              [&](int64_t i) { return begin_x + (i / frames * x.dim(1) + i % frames * step) * x.dim(2); }, in,
              [&](int64_t i) { return begin_y + i * bins * 2; }, out);
        });
      }
    });
  };
}

Kernel make_stft(Prepare& p) {
  return p.dtype(0) == DType::kFloat64 ? make_stft_in<double>(p) : make_stft_in<float>(p);
}

// DFT-17 names the axis in an attribute and counts from axis 1.
void axis_to_input(UpgradeContext& c) {
  if (c.draft().inputs.size() < 2) c.draft().inputs.resize(2, kNone);
  c.set_input(2, c.constant(Tensor::scalar(c.take<int64_t>("axis", 1))));
}

// --- gradients

// The axis, which must be known.
int64_t known_axis(GradientContext& c) {
  SX_CHECK(c, c.grad().rank() >= 2, "has no gradient where the rank of its input is unknown");
  if (!c.in(2)) return c.grad().rank() - 2;
  const Tensor& given = c.in(2).facts().constant;
  SX_CHECK(c, given.defined(), "has no gradient where its axis is computed; a constant expected");
  return signal_axis(c, given.scalar_as_int(), c.grad().rank());
}

// The gradient of a transform is the transform in the other direction, whose scale is undone, cut or filled up with
// zeros where the signal was. Of the half of a real signal's spectrum everything but its ends stands for two.
void differentiate_dft(GradientContext& c) {
  const Expr x = c.in(0);
  const int64_t axis = known_axis(c);
  const bool inverse = c.attr_int("inverse") != 0, onesided = c.attr_int("onesided") != 0;
  const DType dtype = c.grad().dtype();
  const Expr one = c.ints({1}), two = c.ints({2});
  Expr length = c.extent(x, axis);
  if (inverse && onesided) length = (length - one) * two;
  if (c.in(1)) length = c.reshape(c.cast(c.in(1), DType::kInt64), {1});
  const Expr n = c.cast(length, dtype);
  const Expr along = c.constant(Tensor::scalar(axis));
  Expr dx;
  if (inverse && onesided) {
    dx = c.op("DFT", {c.grad(), length, along}, {{"onesided", int64_t{1}}});
    const Expr i = c.iota(c.op("Div", {length, two}) + one);
    const Expr end = c.op("Or", {c.op("Equal", {i, c.ints({0})}), c.op("Equal", {i * two, length})});
    std::vector<int64_t> behind;
    for (int64_t k = axis + 1; k < c.grad().rank(); ++k) behind.push_back(k - axis);
    dx = dx * c.unsqueeze((2.0 - c.cast(end, dtype)) / n, behind);
  } else {
    dx = c.op("DFT", {c.grad(), length, along}, {{"inverse", static_cast<int64_t>(!inverse)}});
    dx = inverse ? dx / n : dx * n;
  }
  // A real signal has no imaginary part, and one that a length was given for was cut or filled up.
  const Expr last = c.ints({c.grad().rank() - 1});
  dx = c.op("Slice", {dx, c.ints({0}), c.extent(x, x.rank() - 1), last});
  if (c.in(1)) {
    const Expr there = c.extent(x, axis);
    const Expr missing = c.op("Max", {there - c.extent(dx, axis), c.ints({0})});
    dx = c.op("Pad", {dx, c.concat({c.ints({0}), missing}, 0), Expr(), c.ints({axis})});
    dx = c.op("Slice", {dx, c.ints({0}), there, c.ints({axis})});
  }
  c.give(0, dx);
}

// The frames gathered from the signal, times the window, transformed.
void differentiate_stft(GradientContext& c) {
  const Expr x = c.in(0);
  const Expr length = c.in(3)   ? c.reshape(c.cast(c.in(3), DType::kInt64), {1})
                      : c.in(2) ? c.extent(c.in(2), 0)
                                : c.extent(x, 1);
  const Expr step = c.reshape(c.cast(c.in(1), DType::kInt64), {1});
  const Expr starts = c.iota(c.extent(c.grad(), 1)) * step;
  const Expr places = c.unsqueeze(starts, {1}) + c.unsqueeze(c.iota(length), {0});
  Expr frames = c.op("Gather", {x, places}, {{"axis", int64_t{1}}});
  if (c.in(2)) frames = frames * c.unsqueeze(c.in(2), {1});
  const Expr axis = c.constant(Tensor::scalar<int64_t>(2));
  c.give_through({c.op("DFT", {frames, Expr(), axis}, {{"onesided", c.attr_int("onesided")}})});
}

}  // namespace

void define_dft(OpList& ops) {
  const DTypeSet length = DType::kInt32 | DType::kInt64;
  ops.add(OpDef("DFT")
              .since(20, 17)
              .attr("inverse", 0)
              .attr("onesided", 0)
              .in("input", "T1", kFloats)
              .optional_in("dft_length", "T2", length)
              .optional_in("axis", "", DType::kInt64)
              .out("output", "T1")
              .infer(infer_dft)
              .kernel(make_dft)
              .gradient(differentiate_dft)
              .upgrade(20, axis_to_input));
  ops.add(OpDef("STFT")
              .since(17, 17)
              .attr("onesided", 1)
              .in("signal", "T1", kFloats)
              .in("frame_step", "T2", length)
              .optional_in("window", "T1", kFloats)
              .optional_in("frame_length", "T2", length)
              .out("output", "T1")
              .infer(infer_stft)
              .kernel(make_stft)
              .gradient(differentiate_stft));
}

}  // namespace sx
