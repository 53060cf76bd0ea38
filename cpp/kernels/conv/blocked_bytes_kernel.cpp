// The table of 8-bit channel-blocked convolution kernels by ISA.
#include "kernels/conv/blocked_bytes_kernel.h"

#include <algorithm>

#define SX_SIMD_VNNI
#define SX_SIMD_SOURCE "kernels/conv/blocked_bytes_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(BytesKernel, kBytesKernel)
}  // namespace

const BytesKernel& bytes_kernel(Isa isa) { return for_isa(isa); }

void run_tiles(const BytesKernel& kernel, BytesTile tile, int64_t blocks, int64_t count) {
  const BytesWindow& w = tile.window;
  const int64_t words = ((w.blocks - 1) * w.length + w.last_length) * w.rows * w.columns;
  // Tiles of sizes that differ by one at most.
  for (int64_t tiles = (count + kernel.most - 1) / kernel.most; tiles > 0; --tiles) {
    const int64_t size = (count + tiles - 1) / tiles;
    kernel.tiles[size - 1][blocks - 1](tile);
    count -= size;
    tile.x += size * tile.x_step;
    tile.y += size * kernel.block;
    const int64_t asked = std::min(words, tile.ahead_lines);
    tile.ahead += asked * kWordsOfLine;
    tile.ahead_lines -= asked;
    if (tile.residual) tile.residual += size * kernel.block;
  }
}

}  // namespace sx
