// Broadcasting plans, tiles and half-precision blocks for elementwise operators.
#include "ops/elementwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/unary.h"

namespace sx {

void load_floats(DType dtype, const void* x, float* y, int64_t n) {
  if (dtype == DType::kFloat16) return convert(static_cast<const Float16*>(x), y, n);
  if (dtype == DType::kBFloat16) return convert(static_cast<const BFloat16*>(x), y, n);
  SX_ASSERT(dtype == DType::kFloat32);
  if (n > 0) std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float));
}

void store_floats(DType dtype, const float* x, void* y, int64_t n) {
  if (dtype == DType::kFloat16) return convert(x, static_cast<Float16*>(y), n);
  if (dtype == DType::kBFloat16) return convert(x, static_cast<BFloat16*>(y), n);
  SX_ASSERT(dtype == DType::kFloat32);
  if (n > 0) std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float));
}

void map_floats(const Tensor& x, Tensor& y, int64_t grain, FunctionRef<void(const float*, float*, int64_t)> f32,
                FunctionRef<void(const double*, double*, int64_t)> f64) {
  parallel_for(x.size(), grain, [&](int64_t begin, int64_t end) {
    if (x.dtype() == DType::kFloat32) {
      f32(x.data<float>() + begin, y.data<float>() + begin, end - begin);
    } else if (x.dtype() == DType::kFloat64) {
      f64(x.data<double>() + begin, y.data<double>() + begin, end - begin);
    } else {
      alignas(64) float block[kHalfBlock];
      for (int64_t i = begin; i < end; i += kHalfBlock) {
        const int64_t n = std::min(kHalfBlock, end - i);
        load_floats(x.dtype(), element(x, i), block, n);
        f32(block, block, n);
        store_floats(y.dtype(), block, element(y, i), n);
      }
    }
  });
}

Broadcast plan_broadcast(const Run& run, std::initializer_list<const Shape*> shapes, const Shape* at_least) {
  Broadcast plan;
  const Shape& first = **shapes.begin();
  const auto equals_first = [&](const Shape* shape) { return *shape == first; };
  if (at_least == nullptr && std::all_of(shapes.begin(), shapes.end(), equals_first)) {
    plan.shape = first;
    plan.size = first.size();
    plan.inputs = static_cast<int>(shapes.size());
    plan.rank = 1;
    plan.extent[0] = plan.size;
    for (int i = 0; i < plan.inputs; ++i) plan.stride[i][0] = 1;
    return plan;
  }
  int rank = at_least ? at_least->rank() : 0;
  for (const Shape* shape : shapes) rank = std::max(rank, shape->rank());
  plan.shape = Shape::filled(rank, 1);
  auto widen = [&](const Shape& shape) {
    const int lead = rank - shape.rank();
    for (int i = 0; i < shape.rank(); ++i) {
      int64_t& to = plan.shape[lead + i];
      if (shape[i] == to || shape[i] == 1) continue;
      SX_CHECK(run, to == 1, "the shapes ", plan.shape.str(), " and ", shape.str(), " do not broadcast: ", to,
               " against ", shape[i]);
      to = shape[i];
    }
  };
  if (at_least) widen(*at_least);
  for (const Shape* shape : shapes) widen(*shape);
  plan.size = plan.shape.size();
  plan.inputs = static_cast<int>(shapes.size());
  int64_t strides[Broadcast::kMaxInputs][kMaxRank] = {};
  int k = 0;
  for (const Shape* shape : shapes) {
    const int lead = rank - shape->rank();
    int64_t stride = 1;
    for (int i = shape->rank() - 1; i >= 0; --i) {
      strides[k][lead + i] = (*shape)[i] == 1 ? 0 : stride;
      stride *= (*shape)[i];
    }
    ++k;
  }
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t extent = plan.shape[axis];
    if (extent == 1) continue;
    const int last = plan.rank - 1;
    bool merge = plan.rank > 0;
    for (int i = 0; i < plan.inputs && merge; ++i) merge = plan.stride[i][last] == strides[i][axis] * extent;
    const int to = merge ? last : plan.rank++;
    plan.extent[to] = merge ? plan.extent[to] * extent : extent;
    for (int i = 0; i < plan.inputs; ++i) plan.stride[i][to] = strides[i][axis];
  }
  if (plan.rank == 0) {
    plan.rank = 1;
    plan.extent[0] = plan.size;  // 0 or 1
    for (int i = 0; i < plan.inputs; ++i) plan.stride[i][0] = 1;
  }
  return plan;
}

Shape broadcast_inputs(const Run& run) {
  Shape shape = run.in(0).shape();
  for (int i = 1; i < run.inputs(); ++i) shape = plan_broadcast(run, {&shape, &run.in(i).shape()}).shape;
  return shape;
}

void for_each_tile(const Broadcast& plan, int64_t grain, FunctionRef<void(const Tile&)> body) {
  const int last = plan.rank - 1;
  const int64_t n = plan.extent[last];
  const int64_t rows = last > 0 ? plan.extent[last - 1] : 1;
  parallel_for(plan.size, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      Tile tile;
      const int64_t column = begin % n;
      int64_t row = begin / n;
      if (column != 0 || end - begin < n) {
        tile.rows = 1;
        tile.n = std::min(n - column, end - begin);
      } else {
        tile.rows = std::min((end - begin) / n, rows - row % rows);
        tile.n = n;
      }
      tile.out = begin;
      for (int i = 0; i < plan.inputs; ++i) {
        tile.scalar[i] = plan.stride[i][last] == 0;
        tile.row[i] = last > 0 ? plan.stride[i][last - 1] : 0;
        tile.at[i] = tile.scalar[i] ? 0 : column;
      }
      for (int axis = last - 1; axis >= 0 && row > 0; --axis) {
        const int64_t index = row % plan.extent[axis];
        row /= plan.extent[axis];
        for (int i = 0; i < plan.inputs; ++i) tile.at[i] += index * plan.stride[i][axis];
      }
      body(tile);
      begin += tile.rows * tile.n;
    }
  });
}

void run_binary(const Broadcast& plan, const Tensor& a, const Tensor& b, Tensor& y, int64_t grain, BinaryLoop loop) {
  for_each_tile(plan, grain, [&](const Tile& tile) { loop(a.raw(), b.raw(), y.raw(), tile); });
}

void run_binary_half(const Broadcast& plan, const Tensor& a, const Tensor& b, Tensor& y, int64_t grain,
                     BinaryLoop loop) {
  const bool to_half = y.dtype() != DType::kBool;
  for_each_tile(plan, grain, [&](const Tile& tile) {
    alignas(64) float from[2][kHalfBlock];
    alignas(64) float result[kHalfBlock];
    const Tensor* inputs[2] = {&a, &b};
    for (int64_t r = 0; r < tile.rows; ++r) {
      for (int64_t i = 0; i < tile.n; i += kHalfBlock) {
        Tile part;
        part.rows = 1;
        part.n = std::min(kHalfBlock, tile.n - i);
        for (int k = 0; k < 2; ++k) {
          part.scalar[k] = tile.scalar[k];
          const int64_t at = tile.at[k] + r * tile.row[k] + (tile.scalar[k] ? 0 : i);
          load_floats(inputs[k]->dtype(), element(*inputs[k], at), from[k], tile.scalar[k] ? 1 : part.n);
        }
        void* to = element(y, tile.out + r * tile.n + i);
        loop(from[0], from[1], to_half ? result : to, part);
        if (to_half) store_floats(y.dtype(), result, to, part.n);
      }
    }
  });
}

void drop_consumed_inputs(UpgradeContext& c) { c.take<std::vector<int64_t>>("consumed_inputs", {}); }

void upgrade_legacy_broadcast(UpgradeContext& c) {
  drop_consumed_inputs(c);
  const bool broadcasts = c.take<int64_t>("broadcast", 0) != 0;
  const bool has_axis = c.has("axis");
  int64_t axis = c.take<int64_t>("axis", 0);
  if (!broadcasts || !has_axis || !c.has_input(1)) return;
  const int a = c.input(0).type.rank();
  const int b = c.input(1).type.rank();
  SX_REQUIRE(a >= 0 && b >= 0, kInvalidGraph, label(c.draft()), " broadcasts along axis ", axis,
             " as before opset 7, which needs the ranks of its inputs; export the model with opset 7 or later");
  if (axis < 0) axis += a;
  SX_REQUIRE(axis >= 0 && axis <= a - b, kInvalidGraph, label(c.draft()), " cannot place ", c.input(1).type.str(),
             " at axis ", axis, " of ", c.input(0).type.str());
  std::vector<int64_t> axes;
  for (int64_t i = b; i < a - axis; ++i) axes.push_back(i);
  if (!axes.empty()) c.set_input(1, c.emit("Unsqueeze", {c.input_id(1), c.constant(Tensor::vector(axes))}));
}

void note_elements(InferContext& c, DType dtype, std::vector<Dim> elements) {
  if (dtype == DType::kInt32) {
    for (Dim& element : elements)
      if (element.known() && (element.value() < INT32_MIN || element.value() > INT32_MAX)) element = Dim();
  }
  c.out_elements(0, std::move(elements));
}

InferFn infer_elementwise(Dim (*f)(const Dim&, const Dim&)) {
  return [f](InferContext& c) {
    broadcast_like(0)(c);
    auto result = c.elements(0);
    if (!result) return;
    bool any = c.inputs() == 1;
    for (int i = 1; i < c.inputs(); ++i) {
      const auto other = c.elements(i);
      if (!other || (other->size() != result->size() && other->size() != 1 && result->size() != 1)) return;
      const size_t n = other->size() == 1 ? result->size() : other->size();
      std::vector<Dim> next;
      for (size_t k = 0; k < n; ++k) {
        next.push_back(f((*result)[result->size() == 1 ? 0 : k], (*other)[other->size() == 1 ? 0 : k]));
        any = any || !next.back().unknown();
      }
      result = std::move(next);
    }
    if (any) note_elements(c, c.dtype(0), std::move(*result));
  };
}

}  // namespace sx
