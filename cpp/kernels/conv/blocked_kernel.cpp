// The table of channel-blocked convolution kernels by ISA.
#include "kernels/conv/blocked_kernel.h"

#define SX_SIMD_SOURCE "kernels/conv/blocked_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(BlockedKernel, kBlockedKernel)
}  // namespace

const BlockedKernel& blocked_kernel(Isa isa) { return for_isa(isa); }

void run_tiles(const BlockedKernel& kernel, BlockedTile tile, int64_t blocks, int64_t count) {
  for (int i = 0; count > 0;) {
    const int size = kernel.sizes[i];
    if (size > count) {
      ++i;
      continue;
    }
    kernel.tiles[i][blocks - 1](tile);
    count -= size;
    tile.x += size * tile.x_step;
    tile.y += size * tile.y_pixel;
    if (tile.residual) tile.residual += size * tile.y_pixel;
  }
}

}  // namespace sx
