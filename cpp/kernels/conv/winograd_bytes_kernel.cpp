// The table of exact 8-bit Winograd kernels by ISA.
#include "kernels/conv/winograd_bytes_kernel.h"

#define SX_SIMD_VNNI
#define SX_SIMD_SOURCE "kernels/conv/winograd_bytes_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(WinogradBytesKernel, kWinogradBytesKernel)
}  // namespace

const WinogradBytesKernel& winograd_bytes_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
