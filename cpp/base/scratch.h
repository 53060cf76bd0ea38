// Thread-local scratch memory for kernels: grows to the largest request and is then reused, so a steady run allocates
// nothing.
#pragma once

#include <cstddef>

namespace sx {

// At least `bytes` of memory aligned to 64, owned by the calling thread, valid until its next request for the same
// slot. Slots let nested users (a convolution around a GEMM) hold theirs at the same time.
enum class ScratchSlot { kPackA, kPackB, kTile, kImage, kOperator, kOperator2, kOperator3, kCount };
void* thread_scratch(ScratchSlot slot, size_t bytes);

}  // namespace sx
