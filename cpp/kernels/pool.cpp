// The table of row joins by ISA.
#include "kernels/pool.h"

#define SX_SIMD_SOURCE "kernels/pool.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(PoolKernel, kPoolKernel)
}  // namespace

const PoolKernel& pool_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
