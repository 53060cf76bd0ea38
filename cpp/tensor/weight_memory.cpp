// Slabs of large pages that tensors of weights are cut from.
#include "tensor/weight_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/shape.h"

namespace sx {
namespace {

constexpr size_t kLargePage = size_t{2} << 20, kSlab = size_t{8} << 20;
constexpr size_t kLine = 64;
// Smaller tensors are hardly worth a look-up, and larger ones have pages enough of their own.
constexpr size_t kLeast = size_t{16} << 10, kMost = size_t{4} << 20;

class Slab {
 public:
  Slab() : memory_(static_cast<char*>(std::aligned_alloc(kLargePage, kSlab))) {
#ifdef MADV_HUGEPAGE
    if (memory_ != nullptr) ::madvise(memory_, kSlab, MADV_HUGEPAGE);
#endif
  }
  ~Slab() { std::free(memory_); }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // Null where there is no more room.
  void* take(size_t bytes) {
    const size_t size = (bytes + kLine - 1) / kLine * kLine;
    if (memory_ == nullptr || size > kSlab - taken_) return nullptr;
    taken_ += size;
    return memory_ + taken_ - size;
  }

 private:
  char* memory_;
  size_t taken_ = 0;
};

// Tensors keep their slab; the one that has room lives no longer than they do.
std::shared_ptr<Buffer> allocate(size_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Slab> current;
  if (bytes < kLeast || bytes > kMost) return Buffer::allocate(bytes);
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Slab> slab = current.lock();
  void* data = slab ? slab->take(bytes) : nullptr;
  if (data == nullptr) {
    // What packing other weights has left over would stand beside this.
    trim_buffer_cache();
    slab = std::make_shared<Slab>();
    current = slab;
    data = slab->take(bytes);
  }
  return data != nullptr ? Buffer::wrap(data, bytes, [slab] {}) : Buffer::allocate(bytes);
}

}  // namespace

Tensor weight_tensor(DType dtype, const Shape& shape) {
  const int64_t bytes = checked_mul(shape.size(), static_cast<int64_t>(size_of(dtype)));
  return Tensor(dtype, shape, allocate(static_cast<size_t>(bytes)));
}

}  // namespace sx
