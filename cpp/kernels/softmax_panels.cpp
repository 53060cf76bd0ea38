// Softmax into packed panels: the panels of a matrix one after another.
#include "kernels/softmax_panels.h"

#include <algorithm>

#include "base/float_types.h"
#include "kernels/gemm/gemm_kernel.h"

namespace sx {
namespace {
struct SoftmaxPanelsTable {
  // One panel of `rows` rows: f32, or as the bf16 kernel takes it.
  void (*pack)(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed, float* factors);
  void (*pack_bf16)(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed,
                    float* factors);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_BF16
#define SX_SIMD_SOURCE "kernels/softmax_panels.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(SoftmaxPanelsTable, kSoftmaxPanels)
}  // namespace

void softmax_panels(const SoftmaxPanels& p, Isa isa) {
  const SoftmaxPanelsTable& table = for_isa(isa);
  const GemmKernel& kernel = gemm_kernel(isa, p.precision);
  const int height = kernel.mr;
  const int64_t words = (p.n + kernel.step - 1) / kernel.step * kernel.a_words;
  const auto pack = p.precision == Precision::kBf16 ? table.pack_bf16 : table.pack;
  for (int64_t row = 0; row < p.rows; row += height) {
    const int rows = static_cast<int>(std::min<int64_t>(height, p.rows - row));
    pack(p.n, rows, p.x + row * p.stride, p.stride, p.sinks ? p.sinks + row : nullptr, p.packed + row * words,
         p.factors + row);
  }
}

}  // namespace sx
