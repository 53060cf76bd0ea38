// The kernels for stacked data in bf16, which one tier has.
#include "base/error.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/stacked_kernel.h"

#define SX_SIMD_BF16
#define SX_SIMD_SOURCE "kernels/conv/stacked_bf16_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {

const StackedBf16Kernel& stacked_bf16_kernel(Isa isa) {
  SX_ASSERT(has_bf16_blocks(isa));
#if defined(__x86_64__)
  return bf16::kStackedBf16Kernel;
#else
  assertion_failed("has_bf16_blocks(isa)", __FILE__, __LINE__);
#endif
}

}  // namespace sx
