// Tensors on demand: made when somebody needs them, given back when nobody does.
#include "tensor/tensor.h"

#include <algorithm>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "kernels/gemm/gemm.h"
#include "ops/pack_matrix.h"

namespace sx {
namespace {

constexpr int64_t kSize = 100000;

Tensor counted(int64_t size) {
  Tensor tensor(DType::kFloat32, Shape{size});
  std::iota(tensor.data<float>(), tensor.data<float>() + size, 0.0f);
  return tensor;
}

bool is_counted(const Tensor& tensor) {
  for (int64_t i = 0; i < tensor.size(); ++i)
    if (tensor.data<float>()[i] != static_cast<float>(i)) return false;
  return true;
}

// A tensor on demand that says how often it was made.
Tensor demanded(int& made, Tensor now = {}) {
  const auto make = [&made] {
    ++made;
    return counted(kSize);
  };
  return Tensor::on_demand(DType::kFloat32, Shape{kSize}, make, std::move(now));
}

TEST(on_demand_is_made_when_needed) {
  int made = 0;
  const Tensor tensor = demanded(made);
  const Tensor view = tensor.reshaped(Shape{10, kSize / 10});
  CHECK_EQ(made, 0);
  {
    const Tensor first = tensor.borrow();
    const Tensor second = view.borrow();
    CHECK_EQ(made, 1);
    CHECK_EQ(first.raw(), second.raw());
    CHECK_EQ(second.rank(), 2);
    CHECK(is_counted(first));
  }
  CHECK(is_counted(tensor.borrow()));
  CHECK_EQ(made, 2);
}

TEST(on_demand_stays_once_read) {
  int made = 0;
  const Tensor tensor = demanded(made);
  CHECK(is_counted(tensor));
  const float* data = tensor.data<float>();
  CHECK_EQ(tensor.borrow().data<float>(), data);
  CHECK_EQ(tensor.take().data<float>(), data);
  CHECK(is_counted(tensor));
  CHECK_EQ(made, 1);
}

TEST(on_demand_begins_with_what_there_is) {
  int made = 0;
  const Tensor tensor = demanded(made, counted(kSize));
  CHECK(is_counted(tensor.borrow()));
  CHECK_EQ(made, 0);
  CHECK(is_counted(tensor.clone()));
  CHECK_EQ(made, 1);
}

TEST(taken_tensors_can_be_discarded) {
  int made = 0;
  const Tensor tensor = demanded(made);
  {
    const Tensor taken = tensor.take();
    CHECK(is_counted(taken));
    const Tensor other = tensor.borrow();
    CHECK_EQ(made, 2);
    taken.discard(0, taken.bytes());
    other.discard(0, other.bytes());  // not its own: nothing happens
    CHECK(is_counted(other));
    const Tensor shared = tensor.take();  // somebody else has the elements
    CHECK_EQ(shared.raw(), other.raw());
    shared.discard(0, shared.bytes());
    CHECK(is_counted(other));
  }
  CHECK(is_counted(tensor));
}

TEST(on_demand_passes_errors_on) {
  const auto make = []() -> Tensor { fail(ErrorKind::kFail, "no longer there"); };
  const Tensor tensor = Tensor::on_demand(DType::kFloat32, Shape{4}, make, Tensor());
  CHECK_THROWS(tensor.borrow(), "no longer there");
  CHECK_THROWS(tensor.raw(), "no longer there");
}

TEST(on_demand_from_many_threads) {
  int made = 0;
  const Tensor tensor = demanded(made);
  std::vector<int> good(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < good.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const Tensor mine = t % 2 == 0 ? tensor.borrow() : tensor.take();
        good[t] += is_counted(mine);
        if (t == 7 && i == 10) good[t] += is_counted(tensor) - 1;
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (int count : good) CHECK_EQ(count, 20);
}

TEST(matrices_are_packed_in_pieces) {
  // Large enough for several pieces; the same as packed at once from memory that stays.
  for (const bool trans : {false, true}) {
    const Shape shape{5000, 1201};
    const auto make = [&] { return counted(shape.size()).reshaped(shape); };
    const Tensor whole = make();
    const Tensor packed =
        pack_matrix(Tensor::on_demand(DType::kFloat32, shape, make, Tensor()), trans, Precision::kF32);
    const int64_t k = shape[trans ? 1 : 0], n = shape[trans ? 0 : 1];
    const Tensor expected(DType::kFloat32, Shape{packed_b_size(k, n)});
    pack_b(k, n, whole.data<float>(), shape[1], trans, expected.data<float>());
    pack_matrix(whole, trans, Precision::kF32);
    CHECK(is_counted(whole));
    CHECK_EQ(packed.bytes(), expected.bytes());
    const float *a = packed.data<float>(), *b = expected.data<float>();
    CHECK(std::equal(a, a + packed.size(), b));
  }
}

}  // namespace
}  // namespace sx
