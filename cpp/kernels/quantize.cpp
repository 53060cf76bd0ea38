// The table of quantization functions by ISA.
#include "kernels/quantize.h"

#include <algorithm>

#include "base/thread_pool.h"

namespace sx {
namespace {
template <typename T>
struct QuantizePair {
  void (*quantize)(const QuantizeArray& how, const float* x, T* y, int64_t n);
  void (*dequantize)(const T* x, int zero, float scale, float* y, int64_t n);
};
struct QuantizeTable {
  QuantizePair<int8_t> int8;
  QuantizePair<uint8_t> uint8;
  QuantizePair<int16_t> int16;
  QuantizePair<uint16_t> uint16;
  void (*widen)(const float* x, int64_t n, ArrayRange& range);
  void (*combine_int8)(const CombineArrays& how, const int8_t* a, const int8_t* b, int8_t* y, int64_t n);
  void (*combine_uint8)(const CombineArrays& how, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/quantize.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(QuantizeTable, kQuantize)
}  // namespace

#define SX_QUANTIZE(T, row)                                                           \
  void quantize(const QuantizeArray& how, const float* x, T* y, int64_t n, Isa isa) { \
    for_isa(isa).row.quantize(how, x, y, n);                                          \
  }                                                                                   \
  void dequantize(const T* x, int zero, float scale, float* y, int64_t n, Isa isa) {  \
    for_isa(isa).row.dequantize(x, zero, scale, y, n);                                \
  }
SX_QUANTIZE(int8_t, int8)
SX_QUANTIZE(uint8_t, uint8)
SX_QUANTIZE(int16_t, int16)
SX_QUANTIZE(uint16_t, uint16)
#undef SX_QUANTIZE

ArrayRange range_with_zero(const float* x, int64_t n, Isa isa) {
  constexpr int64_t kMostParts = 64, kLeastPart = 32768;
  const auto widen = for_isa(isa).widen;
  const int64_t parts = std::clamp<int64_t>(n / kLeastPart, 1, kMostParts);
  ArrayRange found[kMostParts];
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t from = n / parts * part, to = part + 1 == parts ? n : n / parts * (part + 1);
      widen(x + from, to - from, found[part]);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    found[0].low = std::min(found[0].low, found[part].low);
    found[0].high = std::max(found[0].high, found[part].high);
    found[0].has_nan = found[0].has_nan || found[part].has_nan;
  }
  return found[0];
}

void combine(const CombineArrays& how, const int8_t* a, const int8_t* b, int8_t* y, int64_t n, Isa isa) {
  for_isa(isa).combine_int8(how, a, b, y, n);
}
void combine(const CombineArrays& how, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n, Isa isa) {
  for_isa(isa).combine_uint8(how, a, b, y, n);
}

}  // namespace sx
