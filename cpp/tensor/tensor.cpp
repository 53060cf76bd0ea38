// Buffers with a cache of freed blocks, and contiguous tensors over them.
#include "tensor/tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <utility>

namespace sx {
namespace {

constexpr size_t kAlignment = 64;
// Blocks below this size are left to malloc; the cache exists for the ones that would be mapped and unmapped.
constexpr size_t kCacheFrom = size_t{64} << 10;
constexpr size_t kCacheLimit = size_t{256} << 20;

// Blocks up to this size come from malloc, whose fast path knows no alignment; the word before them is malloc's
// address, for which its own alignment leaves room.
constexpr size_t kSmall = 896;

size_t block_size(size_t bytes) { return (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment; }

void* allocate_small(size_t size) {
  char* base = static_cast<char*>(std::malloc(size + kAlignment));
  if (base == nullptr) return nullptr;
  char* data = base + (kAlignment - reinterpret_cast<uintptr_t>(base) % kAlignment);
  std::memcpy(data - sizeof(base), &base, sizeof(base));
  return data;
}

void free_small(void* data) {
  void* base;
  std::memcpy(&base, static_cast<char*>(data) - sizeof(base), sizeof(base));
  std::free(base);
}

class BlockCache {
 public:
  void* take(size_t bytes) {
    if (bytes < kCacheFrom) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    // A block up to a quarter larger than asked for still counts as a fit.
    auto found = blocks_.lower_bound(bytes);
    if (found == blocks_.end() || found->first > bytes + bytes / 4) return nullptr;
    void* block = found->second;
    held_ -= found->first;
    sizes_[block] = found->first;
    blocks_.erase(found);
    return block;
  }
  bool keep(void* block, size_t bytes) {
    if (bytes < kCacheFrom) return false;
    std::lock_guard<std::mutex> lock(mutex_);
    auto known = sizes_.find(block);
    if (known != sizes_.end()) {
      bytes = known->second;
      sizes_.erase(known);
    }
    if (bytes > kCacheLimit) return false;
    // The smallest blocks are the cheapest to get again.
    for (; held_ + bytes > kCacheLimit; blocks_.erase(blocks_.begin())) {
      held_ -= blocks_.begin()->first;
      std::free(blocks_.begin()->second);
    }
    blocks_.emplace(bytes, block);
    held_ += bytes;
    return true;
  }
  void trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& block : blocks_) std::free(block.second);
    blocks_.clear();
    held_ = 0;
  }

 private:
  std::mutex mutex_;
  std::multimap<size_t, void*> blocks_;
  std::map<void*, size_t> sizes_;  // true sizes of blocks handed out for a smaller request
  size_t held_ = 0;
};

BlockCache& cache() {
  static BlockCache* instance = new BlockCache;  // outlives every static tensor
  return *instance;
}

}  // namespace

// What memory on demand comes from.
struct Buffer::Source {
  explicit Source(std::function<Tensor()> maker) : make(std::move(maker)) {}

  const std::function<Tensor()> make;
  std::mutex mutex;
  Tensor held;  // defined while the elements are in memory
  int loans = 0;
  std::atomic<void*> settled{nullptr};  // the elements, once they are there to stay

  // Called with the mutex held.
  const Tensor& fill() {
    if (!held.defined()) held = make();
    return held;
  }
  void give_back() {
    std::lock_guard<std::mutex> lock(mutex);
    if (--loans == 0 && settled.load() == nullptr) held = Tensor();
  }
};

Buffer::Buffer(Kind kind, void* data, size_t bytes) : kind_(kind), data_(data), bytes_(bytes) {}

void* Buffer::settle() const {
  if (void* data = source_->settled.load(std::memory_order_acquire)) return data;
  std::lock_guard<std::mutex> lock(source_->mutex);
  void* data = source_->fill().raw();
  source_->settled.store(data, std::memory_order_release);
  return data;
}

std::shared_ptr<Buffer> Buffer::allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  SX_REQUIRE(size >= bytes, kInvalidArgument, "a tensor of ", bytes, " bytes is too large");
  void* data = size <= kSmall ? allocate_small(size) : cache().take(size);
  if (data == nullptr && size > kSmall) data = std::aligned_alloc(kAlignment, size);
  SX_REQUIRE(data != nullptr, kRuntimeException, "out of memory: a tensor of ", bytes, " bytes cannot be allocated");
  return std::shared_ptr<Buffer>(new Buffer(Kind::kPlain, data, bytes));
}

std::shared_ptr<Buffer> Buffer::allocate_strings(size_t count) {
  auto* strings = new (std::nothrow) std::string[count + 1];
  SX_REQUIRE(strings != nullptr, kRuntimeException, "out of memory: ", count, " strings cannot be allocated");
  return std::shared_ptr<Buffer>(new Buffer(Kind::kStrings, strings, count * sizeof(std::string)));
}

std::shared_ptr<Buffer> Buffer::wrap(void* data, size_t bytes, std::function<void()> release) {
  std::shared_ptr<Buffer> buffer(new Buffer(Kind::kForeign, data, bytes));
  buffer->release_ = std::move(release);
  return buffer;
}

Buffer::~Buffer() {
  switch (kind_) {
    case Kind::kPlain:
      if (block_size(bytes_) <= kSmall) free_small(data_);
      else if (!cache().keep(data_, block_size(bytes_))) std::free(data_);
      break;
    case Kind::kStrings: delete[] static_cast<std::string*>(data_); break;
    case Kind::kForeign:
      if (release_) release_();
      break;
  }
}

void trim_buffer_cache() { cache().trim(); }

Tensor::Tensor(DType dtype, const Shape& shape) : dtype_(dtype), shape_(shape), size_(shape.size()) {
  const int64_t bytes = checked_mul(size_, static_cast<int64_t>(size_of(dtype)));
  buffer_ = dtype == DType::kString ? Buffer::allocate_strings(static_cast<size_t>(size_))
                                    : Buffer::allocate(static_cast<size_t>(bytes));
  data_ = buffer_->data();
}

Tensor::Tensor(DType dtype, const Shape& shape, std::shared_ptr<Buffer> buffer, size_t offset)
    : dtype_(dtype), shape_(shape), size_(shape.size()), buffer_(std::move(buffer)) {
  const auto bytes = static_cast<size_t>(checked_mul(size_, static_cast<int64_t>(size_of(dtype))));
  SX_REQUIRE(offset <= buffer_->bytes() && bytes <= buffer_->bytes() - offset, kInvalidArgument, "a tensor of ",
             shape.str(), " needs ", bytes, " bytes at offset ", offset, " but its memory has ", buffer_->bytes());
  data_ = static_cast<char*>(buffer_->data()) + offset;
}

Tensor Tensor::on_demand(DType dtype, const Shape& shape, std::function<Tensor()> make, Tensor now) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  tensor.size_ = shape.size();
  tensor.buffer_ = Buffer::wrap(nullptr, tensor.bytes(), {});
  tensor.buffer_->source_ = std::make_shared<Buffer::Source>(std::move(make));
  tensor.buffer_->source_->held = std::move(now);
  return tensor;
}

Tensor Tensor::borrow() const {
  if (buffer_ == nullptr || buffer_->source_ == nullptr) return *this;
  const std::shared_ptr<Buffer::Source> source = buffer_->source_;
  const std::lock_guard<std::mutex> lock(source->mutex);
  void* data = source->fill().raw();
  ++source->loans;
  return Tensor(dtype_, shape_, Buffer::wrap(data, bytes(), [source] { source->give_back(); }));
}

Tensor Tensor::take() const {
  if (buffer_ != nullptr && buffer_->source_ != nullptr) {
    Buffer::Source& source = *buffer_->source_;
    const std::lock_guard<std::mutex> lock(source.mutex);
    if (source.loans == 0 && source.settled.load() == nullptr) {
      source.fill();
      return std::exchange(source.held, Tensor()).reshaped(shape_);
    }
  }
  return borrow();
}

void Tensor::discard(size_t offset, size_t bytes) const {
  SX_ASSERT(offset <= this->bytes() && bytes <= this->bytes() - offset);
  if (buffer_.use_count() != 1 || buffer_->kind_ != Buffer::Kind::kPlain || bytes <= kCacheFrom) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(data_) + offset + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data_) + offset + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Tensor Tensor::reshaped(const Shape& shape) const {
  SX_REQUIRE(shape.size() == size_, kInvalidArgument, "cannot view ", shape_.str(), " as ", shape.str());
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::clone() const {
  Tensor copy(dtype_, shape_);
  if (dtype_ == DType::kString) {
    for (int64_t i = 0; i < size_; ++i) copy.data<std::string>()[i] = data<std::string>()[i];
  } else if (size_ > 0) {
    std::memcpy(copy.data_, borrow().data_, bytes());
  }
  return copy;
}

std::vector<int64_t> Tensor::integers() const {
  std::vector<int64_t> values(static_cast<size_t>(size_));
  auto read = [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(raw());
    for (int64_t i = 0; i < size_; ++i) values[static_cast<size_t>(i)] = static_cast<int64_t>(from[i]);
  };
  switch (dtype_) {
    case DType::kBool:
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2: read(uint8_t{}); break;
    case DType::kInt8:
    case DType::kInt4:
    case DType::kInt2: read(int8_t{}); break;
    case DType::kUInt16: read(uint16_t{}); break;
    case DType::kInt16: read(int16_t{}); break;
    case DType::kUInt32: read(uint32_t{}); break;
    case DType::kInt32: read(int32_t{}); break;
    case DType::kUInt64: read(uint64_t{}); break;
    case DType::kInt64: read(int64_t{}); break;
    default: fail(ErrorKind::kInvalidArgument, "integers expected, found ", name_of(dtype_), shape_.str());
  }
  return values;
}

double Tensor::scalar_as_double() const {
  SX_REQUIRE(size_ == 1, kInvalidArgument, "one element expected, found ", name_of(dtype_), shape_.str());
  switch (dtype_) {
    case DType::kFloat32: return *data<float>();
    case DType::kFloat64: return *data<double>();
    case DType::kFloat16: return static_cast<float>(*data<Float16>());
    case DType::kBFloat16: return static_cast<float>(*data<BFloat16>());
    default: return static_cast<double>(integers()[0]);
  }
}

int64_t Tensor::scalar_as_int() const {
  SX_REQUIRE(size_ == 1, kInvalidArgument, "one element expected, found ", name_of(dtype_), shape_.str());
  return integers()[0];
}

}  // namespace sx
