// Tensors of weights: side by side, apart from each other, and gone together.
#include "tensor/weight_memory.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"

namespace sx {
namespace {

TEST(weight_memory_holds_what_is_written) {
  const std::vector<int64_t> sizes = {1, 1000, 16384, 100001, 3 << 20, 65536, 4 << 20, 5 << 20, 40000, 3 << 20, 0};
  for (int round = 0; round < 3; ++round) {
    std::vector<Tensor> tensors;
    for (const int64_t size : sizes) {
      Tensor tensor = weight_tensor(DType::kUInt8, Shape{size});
      CHECK(tensor.bytes() == static_cast<size_t>(size));
      CHECK(reinterpret_cast<uintptr_t>(tensor.raw()) % 64 == 0);
      std::memset(tensor.raw(), static_cast<int>(tensors.size()) + round, tensor.bytes());
      tensors.push_back(std::move(tensor));
    }
    // Those that stay are left alone where others go and new ones come.
    for (size_t i = 1; i < tensors.size(); i += 2) tensors[i] = Tensor();
    const Tensor fresh = weight_tensor(DType::kInt32, Shape{50000});
    std::memset(fresh.raw(), 0xff, fresh.bytes());
    for (size_t i = 0; i < tensors.size(); i += 2)
      for (int64_t k = 0; k < sizes[i]; ++k) CHECK(tensors[i].data<uint8_t>()[k] == static_cast<int>(i) + round);
  }
}

}  // namespace
}  // namespace sx
