// Shared machinery of elementwise operators: half precision in blocks, and broadcasting over collapsed dimensions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/thread_pool.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/upgrade.h"

namespace sx {

// Elements that a chunk of cheap elementwise work should hold at least, so that it outweighs being handed out.
constexpr int64_t kElementGrain = 32768;
// Half-precision data goes through blocks of this many floats, which stay in the first-level cache.
constexpr int64_t kHalfBlock = 1024;

// y[i] = x[i] as float for x of f32, f16 or bf16, and back with rounding to nearest even. `x` points at the first
// element.
void load_floats(DType dtype, const void* x, float* y, int64_t n);
void store_floats(DType dtype, const float* x, void* y, int64_t n);
// The address of element `index`.
inline const void* element(const Tensor& x, int64_t index) {
  return static_cast<const char*>(x.raw()) + static_cast<size_t>(index) * size_of(x.dtype());
}
inline void* element(Tensor& x, int64_t index) {
  return static_cast<char*>(x.raw()) + static_cast<size_t>(index) * size_of(x.dtype());
}

// y = f(x) for tensors of one of kFloats: f32 directly, f16 and bf16 as float in blocks, f64 by its own function. x and
// y may share memory. `grain` is the number of elements worth a chunk.
void map_floats(const Tensor& x, Tensor& y, int64_t grain, FunctionRef<void(const float*, float*, int64_t)> f32,
                FunctionRef<void(const double*, double*, int64_t)> f64);

// y[i] = f(i) for i in [0, n), in groups that the compiler turns into vectors: f must not depend on y beyond element i.
template <typename T, typename F>
inline void generate(T* y, int64_t n, F f) {
  int64_t i = 0;
  if constexpr (std::is_trivially_copyable_v<T>) {
    constexpr int kLanes = 16;
    for (; i + kLanes <= n; i += kLanes) {
      T group[kLanes];
      for (int k = 0; k < kLanes; ++k) group[k] = f(i + k);
      std::memcpy(y + i, group, sizeof(group));
    }
  }
  for (; i < n; ++i) y[i] = f(i);
}

// How inputs of different shapes meet: dimensions that every input walks alike are merged.
struct Broadcast {
  static constexpr int kMaxInputs = 3;
  Shape shape;  // of the result
  int64_t size = 0;
  int inputs = 0;
  int rank = 0;  // of the merged dimensions, at least 1
  int64_t extent[kMaxRank] = {};
  int64_t stride[kMaxInputs][kMaxRank] = {};  // in elements; 0 where the input repeats; the last one is 0 or 1
};
// The broadcast of the shapes of inputs [first, first + count), extended to `at_least` where that is set. Fails in the
// node's name where they do not agree.
Broadcast plan_broadcast(const Run& run, std::initializer_list<const Shape*> shapes, const Shape* at_least = nullptr);
// The NumPy broadcast of all inputs' shapes.
Shape broadcast_inputs(const Run& run);

// A part of the result: `rows` rows of n contiguous elements from element `out` on. Input k starts at element at[k],
// moves by row[k] between rows, and by 1 within a row, or not at all where scalar[k].
struct Tile {
  int64_t rows = 0, n = 0, out = 0;
  int64_t at[Broadcast::kMaxInputs] = {};
  int64_t row[Broadcast::kMaxInputs] = {};
  bool scalar[Broadcast::kMaxInputs] = {};
};
// Calls `body` for tiles that cover the result, in parallel.
void for_each_tile(const Broadcast& plan, int64_t grain, FunctionRef<void(const Tile&)> body);

// y = f(a, b) over one tile; the pointers are those of whole arrays.
using BinaryLoop = void (*)(const void* a, const void* b, void* y, const Tile& tile);

template <typename In, typename Out, typename F>
void binary_tile(const void* a_all, const void* b_all, void* y_all, const Tile& tile, F f) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const In* a = static_cast<const In*>(a_all) + tile.at[0] + r * tile.row[0];
    const In* b = static_cast<const In*>(b_all) + tile.at[1] + r * tile.row[1];
    Out* y = static_cast<Out*>(y_all) + tile.out + r * tile.n;
    if (tile.scalar[0] && tile.scalar[1]) {
      const Out x = f(*a, *b);
      generate(y, tile.n, [&](int64_t) { return x; });
    } else if (tile.scalar[0]) {
      const In x = *a;
      generate(y, tile.n, [=](int64_t i) { return static_cast<Out>(f(x, b[i])); });
    } else if (tile.scalar[1]) {
      const In x = *b;
      generate(y, tile.n, [=](int64_t i) { return static_cast<Out>(f(a[i], x)); });
    } else {
      generate(y, tile.n, [=](int64_t i) { return static_cast<Out>(f(a[i], b[i])); });
    }
  }
}

// y = loop(a, b) over the plan, for tensors whose elements the loop takes as they are.
void run_binary(const Broadcast& plan, const Tensor& a, const Tensor& b, Tensor& y, int64_t grain, BinaryLoop loop);
// The same for f16 and bf16 inputs with a loop over float; y has the inputs' type, or is bool.
void run_binary_half(const Broadcast& plan, const Tensor& a, const Tensor& b, Tensor& y, int64_t grain,
                     BinaryLoop loop);

// Calls f(T()) with the C++ type of an integer or f32/f64 dtype.
template <typename F>
void with_integer(DType dtype, F f) {
  switch (dtype) {
    case DType::kInt8: return f(int8_t());
    case DType::kInt16: return f(int16_t());
    case DType::kInt32: return f(int32_t());
    case DType::kInt64: return f(int64_t());
    case DType::kUInt8: return f(uint8_t());
    case DType::kUInt16: return f(uint16_t());
    case DType::kUInt32: return f(uint32_t());
    case DType::kUInt64: return f(uint64_t());
    default: assertion_failed("integer dtype", __FILE__, __LINE__);
  }
}
// Calls f(U()) with the unsigned type of the dtype's size (1, 2, 4 or 8 bytes).
template <typename F>
void with_unsigned(DType dtype, F f) {
  switch (size_of(dtype)) {
    case 1: return f(uint8_t());
    case 2: return f(uint16_t());
    case 4: return f(uint32_t());
    case 8: return f(uint64_t());
    default: assertion_failed("element of 1, 2, 4 or 8 bytes", __FILE__, __LINE__);
  }
}

// Opset 1 named inputs that may be overwritten; that means nothing here.
void drop_consumed_inputs(UpgradeContext& c);
// Before opset 7, attributes `broadcast` and `axis` said where B stands within A's dimensions.
void upgrade_legacy_broadcast(UpgradeContext& c);

// Notes the elements of output 0, but for those that wrap around in the output's type `dtype`.
void note_elements(InferContext& c, DType dtype, std::vector<Dim> elements);
// Output 0 has the broadcast shape and dtype of the inputs; the elements of integer vectors go through `f`.
InferFn infer_elementwise(Dim (*f)(const Dim&, const Dim&));

}  // namespace sx
