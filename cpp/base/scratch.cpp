// Per-thread scratch buffers, one for each slot.
#include "base/scratch.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace sx {
namespace {

constexpr size_t kAlignment = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

struct Buffer {
  std::unique_ptr<void, Free> memory;
  size_t bytes = 0;
};

}  // namespace

void* thread_scratch(ScratchSlot slot, size_t bytes) {
  thread_local Buffer buffers[static_cast<size_t>(ScratchSlot::kCount)];
  Buffer& buffer = buffers[static_cast<size_t>(slot)];
  if (bytes > buffer.bytes || !buffer.memory) {
    if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
    const size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
    buffer.memory.reset();
    buffer.bytes = 0;
    buffer.memory.reset(std::aligned_alloc(kAlignment, rounded));
    if (!buffer.memory) throw std::bad_alloc();
    buffer.bytes = rounded;
  }
  return buffer.memory.get();
}

}  // namespace sx
