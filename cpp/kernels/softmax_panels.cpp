// Softmax into packed panels: the panels of a matrix one after another.
#include "kernels/softmax_panels.h"

#include <algorithm>

#include "kernels/gemm/gemm_kernel.h"

namespace sx {
namespace {
struct SoftmaxPanelsTable {
  // One panel of `rows` rows.
  void (*pack)(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed, float* factors);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/softmax_panels.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(SoftmaxPanelsTable, kSoftmaxPanels)
}  // namespace

void softmax_panels(const SoftmaxPanels& p, Isa isa) {
  const SoftmaxPanelsTable& table = for_isa(isa);
  const int height = gemm_kernel(isa).mr;
  for (int64_t row = 0; row < p.rows; row += height) {
    const int rows = static_cast<int>(std::min<int64_t>(height, p.rows - row));
    table.pack(p.n, rows, p.x + row * p.stride, p.stride, p.sinks ? p.sinks + row : nullptr, p.packed + row * p.n,
               p.factors + row);
  }
}

}  // namespace sx
