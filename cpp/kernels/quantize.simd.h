// Quantization of arrays for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace arrays_quantized {

template <typename T>
using Narrow __attribute__((vector_size(kLanes * sizeof(T)))) = T;

template <typename T>
void quantize(const QuantizeArray& how, const float* x, T* y, int64_t n) {
  const F scale = splat(how.scale);
  // Clamping before rounding is the same, since the limits are integers, and keeps the conversion in range.
  const F low = splat(static_cast<float>(how.low - how.zero));
  const F high = splat(static_cast<float>(how.high - how.zero));
  const I zero = splat(how.zero);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const I steps = to_int_nearest(min(max(load(x + i) / scale, low), high)) + zero;
    const Narrow<T> out = __builtin_convertvector(steps, Narrow<T>);
    __builtin_memcpy(y + i, &out, sizeof(out));
  }
  const int left = static_cast<int>(n - i);
  if (left > 0) {
    const I steps = to_int_nearest(min(max(load_n(x + i, left) / scale, low), high)) + zero;
    for (int k = 0; k < left; ++k) y[i + k] = static_cast<T>(steps[k]);
  }
}

template <typename T>
void dequantize(const T* x, int zero, float scale, float* y, int64_t n) {
  const F factor = splat(scale);
  const I offset = splat(zero);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Narrow<T> in;
    __builtin_memcpy(&in, x + i, sizeof(in));
    store(y + i, __builtin_convertvector(__builtin_convertvector(in, I) - offset, F) * factor);
  }
  for (; i < n; ++i) y[i] = static_cast<float>(static_cast<int>(x[i]) - zero) * scale;
}

}  // namespace arrays_quantized

#define SX_PAIR(T) {arrays_quantized::quantize<T>, arrays_quantized::dequantize<T>}
constexpr QuantizeTable kQuantize = {SX_PAIR(int8_t), SX_PAIR(uint8_t), SX_PAIR(int16_t), SX_PAIR(uint16_t)};
#undef SX_PAIR

}  // namespace SX_ISA
}  // namespace sx
