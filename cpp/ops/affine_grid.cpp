// grid[n, p] = theta[n] * (p, 1) for every pixel p of an image of the given size, in coordinates from -1 to 1.
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_affine_grid(InferContext& c) {
  const auto size = c.elements(1);
  if (!size) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, size->size() == 4 || size->size() == 5, "size has ", size->size(),
           " extents; 4 (NCHW) or 5 (NCDHW) expected");
  SymShape shape{(*size)[0]};
  shape.insert(shape.end(), size->begin() + 2, size->end());
  shape.emplace_back(static_cast<int64_t>(size->size()) - 2);
  c.out(0, c.dtype(0), shape);
}

double coordinate(int64_t i, int64_t extent, bool align_corners) {
  const auto at = static_cast<double>(i);
  const auto n = static_cast<double>(extent);
  if (align_corners) return extent == 1 ? 0 : -1 + at * 2 / (n - 1);
  return (2 * at + 1) / n - 1;
}

Kernel make_affine_grid(Prepare& p) {
  const bool align_corners = p.attr_int("align_corners") != 0;
  const IntInput size_input(p, 1);
  return [align_corners, size_input](Run& run) {
    const Tensor& theta = run.in(0);
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& size = size_input.get(run, buffer);
    SX_CHECK(run, size.size() == 4 || size.size() == 5, "size has ", size.size(),
             " extents; 4 (NCHW) or 5 (NCDHW) expected");
    const int axes = static_cast<int>(size.size()) - 2;
    for (int64_t extent : size) SX_CHECK(run, extent >= 0, "size has the negative extent ", extent);
    const Shape expected{size[0], axes, axes + 1};
    SX_CHECK(run, theta.shape() == expected, "theta has shape ", theta.shape().str(), "; ", expected.str(),
             " expected");
    Shape shape{size[0]};
    for (int i = 0; i < axes; ++i) shape.push_back(size[static_cast<size_t>(i + 2)]);
    shape.push_back(axes);
    Tensor& y = run.out(0, shape);
    const int64_t points = shape.size(1, axes + 1);
    with_number(theta.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (!std::is_integral_v<T>) {
        const T* matrices = theta.data<T>();
        T* to = y.data<T>();
        parallel_for(size[0] * points, 4096, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            double position[3];  // x, y, z
            int64_t rest = i % points;
            for (int k = 0; k < axes; ++k) {
              const int64_t extent = shape[axes - k];
              position[k] = coordinate(rest % extent, extent, align_corners);
              rest /= extent;
            }
            for (int row = 0; row < axes; ++row) {
              const T* factors = matrices + (i / points * axes + row) * (axes + 1);
              double sum = static_cast<double>(static_cast<Arithmetic<T>>(factors[axes]));
              for (int k = 0; k < axes; ++k)
                sum += static_cast<double>(static_cast<Arithmetic<T>>(factors[k])) * position[k];
              to[i * axes + row] = T(static_cast<Arithmetic<T>>(sum));
            }
          }
        });
      }
    });
  };
}

// grid = theta (p, 1): dtheta is the sum over pixels of dgrid (p, 1)', and the identity as theta gives the p.
void differentiate_affine_grid(GradientContext& c) {
  const DType dtype = c.grad().dtype();
  const int64_t axes = c.grad().rank() - 2;
  SX_CHECK(c, axes == 2 || axes == 3, "has no gradient where the rank of its result is unknown");
  std::vector<double> identity(static_cast<size_t>(axes * (axes + 1)), 0.0);
  for (int64_t i = 0; i < axes; ++i) identity[static_cast<size_t>(i * (axes + 2))] = 1;
  const Expr theta = c.cast(c.constant(Tensor::of<double>(Shape{1, axes, axes + 1}, identity)), dtype);
  const Expr rest = c.op("Slice", {c.in(1), c.ints({1}), c.ints({axes + 2})});
  const Expr places = c.op("AffineGrid", {theta, c.concat({c.ints({1}), rest}, 0)}, c.node().attributes);
  const Expr p = c.reshape(places, {-1, axes});
  const Expr ones = c.op("Expand", {c.scalar(1, dtype), c.concat({c.extent(p, 0), c.ints({1})}, 0)});
  c.give(0, c.op("MatMul", {c.swap_last(c.reshape(c.grad(), {0, -1, axes})), c.concat({p, ones}, 1)}));
}

}  // namespace

void define_affine_grid(OpList& ops) {
  ops.add(OpDef("AffineGrid")
              .since(20, 20)
              .attr("align_corners", 0)
              .in("theta", "T1", kFloats)
              .in("size", "", DType::kInt64)
              .out("grid", "T1")
              .infer(infer_affine_grid)
              .kernel(make_affine_grid)
              .gradient(differentiate_affine_grid));
}

}  // namespace sx
