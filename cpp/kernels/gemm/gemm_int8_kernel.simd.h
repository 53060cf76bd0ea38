// The 8-bit GEMM microkernel, packing and epilogue for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace gemm_s8 {

constexpr int kVectors = 2;
#if SX_ISA_LEVEL >= 3
constexpr int kRows = 14;
#elif SX_ISA_LEVEL == 2
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
#if SX_ISA_LEVEL >= 3
constexpr int kGroup = 4;
#else
constexpr int kGroup = 2;
#endif

// acc + the dot product of the bytes or 16-bit halves of each lane.
template <bool kUnsignedB>
SX_INLINE I dot(I acc, I a, I b) {
#if SX_ISA_LEVEL >= 3
  const __m512i bytes_a = reinterpret_cast<__m512i>(a), bytes_b = reinterpret_cast<__m512i>(b);
  return reinterpret_cast<I>(kUnsignedB ? _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), bytes_b, bytes_a)
                                        : _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), bytes_a, bytes_b));
#elif SX_ISA_LEVEL == 2
  return acc + reinterpret_cast<I>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif SX_ISA_LEVEL == 1
  return acc + reinterpret_cast<I>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__x86_64__)
  return acc + reinterpret_cast<I>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  const I low_a = reinterpret_cast<I>(reinterpret_cast<U>(a) << 16) >> 16;
  const I low_b = reinterpret_cast<I>(reinterpret_cast<U>(b) << 16) >> 16;
  return acc + low_a * low_b + (a >> 16) * (b >> 16);
#endif
}

SX_INLINE int32_t load_unit(const uint8_t* p) {
  int32_t unit;
  __builtin_memcpy(&unit, p, 4);
  return unit;
}

// Adds the products of all units to acc.
template <int kM, int kV, bool kUnsignedB, bool kAhead>
SX_INLINE void add_units(const Int8Operands& operands, I (&acc)[kM][kV]) {
  const int64_t step = operands.a_step;
  const uint8_t* a = operands.a;
  const int32_t* b = operands.b;
  const char* ahead = static_cast<const char*>(operands.ahead);
  for (int64_t unit = operands.units; unit > 0; --unit) {
    if (kAhead) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 64;
    }
    I bv[kV];
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) bv[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const I av = splat(load_unit(a + i * step));
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) acc[i][v] = dot<kUnsignedB>(acc[i][v], av, bv[v]);
    }
    a += 4;
    b += kV * kLanes;
  }
}

template <int kM, int kV, bool kUnsignedB>
SX_INLINE void sum_units(const Int8Operands& operands, int32_t* sums) {
  I acc[kM][kV];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) acc[i][v] = I{};
  }
  add_units<kM, kV, kUnsignedB, false>(operands, acc);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) store(sums + (i * kV + v) * kLanes, acc[i][v]);
  }
}

// One row by kPanels whole panels that stand `panel_step` apart.
template <int kPanels>
void wide_tile(const Int8Operands& operands, int64_t panel_step, int32_t* sums) {
  I acc[kPanels][kVectors];
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[p][v] = I{};
  }
  const int32_t* b = operands.b;
  for (int64_t unit = 0; unit < operands.units; ++unit, b += kVectors * kLanes) {
    const I av = splat(load_unit(operands.a + 4 * unit));
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        acc[p][v] = dot<false>(acc[p][v], av, load(b + p * panel_step + v * kLanes));
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(sums + (p * kVectors + v) * kLanes, acc[p][v]);
  }
}

template <int kM, int kV>
void tile(const Int8Operands& operands, bool b_unsigned, int32_t* sums) {
  // The sides matter to VNNI only: elsewhere both are 16-bit numbers.
  if (kGroup == 4 && b_unsigned) {
    sum_units<kM, kV, true>(operands, sums);
  } else {
    sum_units<kM, kV, false>(operands, sums);
  }
}

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

SX_INLINE Bytes load_bytes(const void* p, int count) {
  Bytes v;
  if (count == kLanes) {
    __builtin_memcpy(&v, p, kLanes);
    return v;
  }
#if SX_ISA_LEVEL >= 2
  return reinterpret_cast<Bytes>(_mm_maskz_loadu_epi8(first_lanes(count), p));
#else
  uint8_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, count);
  __builtin_memcpy(&v, lanes, kLanes);
  return v;
#endif
}

SX_INLINE void store_bytes(void* p, Bytes v, int count) {
  if (count == kLanes) {
    __builtin_memcpy(p, &v, kLanes);
    return;
  }
  uint8_t lanes[kLanes];
  __builtin_memcpy(lanes, &v, kLanes);
  __builtin_memcpy(p, lanes, count);
}

SX_INLINE int32_t value_of(uint8_t byte, Int8Side side) {
  const uint8_t flipped = byte ^ side.flip;
  return side.is_signed ? static_cast<int8_t>(flipped) : flipped;
}

// The values of `count` bytes, 0 in the other lanes.
SX_INLINE I values_of(const uint8_t* p, int count, Int8Side side) {
  const Bytes flipped = load_bytes(p, count) ^ side.flip;
  const U wide = __builtin_convertvector(flipped, U);
  I v = reinterpret_cast<I>(wide);
  if (side.is_signed) v = reinterpret_cast<I>(wide << 24) >> 24;
  return v;
}

SX_INLINE I unit_of(const I* values) {
  U unit = reinterpret_cast<U>(values[0]);
  if constexpr (kGroup == 4) {
    unit = (unit & 0xffu) | (reinterpret_cast<U>(values[1]) & 0xffu) << 8 |
           (reinterpret_cast<U>(values[2]) & 0xffu) << 16 | reinterpret_cast<U>(values[3]) << 24;
  } else {
    unit = (unit & 0xffffu) | reinterpret_cast<U>(values[1]) << 16;
  }
  return reinterpret_cast<I>(unit);
}

SX_INLINE void store_some(int32_t* p, I v, int count) {
  if (count == kLanes) {
    store(p, v);
  } else {
    store_n(p, v, count);
  }
}

void pack_columns(const uint8_t* x, const int64_t* k_offsets, int64_t k, const Segment* segments, int count, int width,
                  Int8Side side, int32_t* packed, int32_t* sums) {
  for (int64_t k0 = 0; k0 < k; k0 += kGroup, packed += width) {
    const int depth = static_cast<int>(k - k0 < kGroup ? k - k0 : kGroup);
    for (int s = 0; s < count; ++s) {
      const Segment& segment = segments[s];
      I values[kGroup];
      for (int t = 0; t < depth; ++t) {
        values[t] = values_of(x + k_offsets[k0 + t] + segment.offset, segment.count, side);
      }
      for (int t = depth; t < kGroup; ++t) values[t] = I{};
      store_some(packed + segment.lane, unit_of(values), segment.count);
      if (sums) {
        I total = segment.count == kLanes ? load(sums + segment.lane) : load_n(sums + segment.lane, segment.count);
        for (int t = 0; t < depth; ++t) total = total + values[t];
        store_some(sums + segment.lane, total, segment.count);
      }
    }
  }
}

void pack_rows(const uint8_t* x, int64_t row_step, int64_t k_step, int rows, int64_t k, int width, Int8Side side,
               int32_t* packed, int32_t* sums) {
  const int64_t whole = k / kGroup;
  for (int i = 0; i < rows; ++i) {
    const uint8_t* row = x + i * row_step;
    int32_t* out = packed + i;
    int32_t total = 0;
    if (kGroup == 4 && k_step == 1 && !sums) {
      const uint32_t flips = side.flip * 0x01010101u;
      for (int64_t unit = 0; unit < whole; ++unit) {
        uint32_t bytes;
        __builtin_memcpy(&bytes, row + unit * 4, 4);
        out[unit * width] = static_cast<int32_t>(bytes ^ flips);
      }
    } else {
      for (int64_t unit = 0; unit < whole; ++unit) {
        uint32_t bits = 0;
        for (int t = 0; t < kGroup; ++t) {
          const int32_t value = value_of(row[(unit * kGroup + t) * k_step], side);
          total += value;
          bits |= (static_cast<uint32_t>(value) & (kGroup == 4 ? 0xffu : 0xffffu)) << (t * (32 / kGroup));
        }
        out[unit * width] = static_cast<int32_t>(bits);
      }
    }
    if (whole * kGroup < k) {
      uint32_t bits = 0;
      for (int64_t at = whole * kGroup; at < k; ++at) {
        const int32_t value = value_of(row[at * k_step], side);
        total += value;
        bits |= (static_cast<uint32_t>(value) & (kGroup == 4 ? 0xffu : 0xffffu)) << (at % kGroup * (32 / kGroup));
      }
      out[whole * width] = static_cast<int32_t>(bits);
    }
    if (sums) sums[i] += total;
  }
}

int32_t copy_row(const uint8_t* x, int64_t k, Int8Side side, int32_t* units) {
  int64_t at = 0;
  I sums{};
#if SX_ISA_LEVEL >= 3
  const I flips = splat(static_cast<int32_t>(side.flip * 0x01010101u)), ones = splat(0x01010101);
  for (; at + 4 * kLanes <= k; at += 4 * kLanes) {
    const I bytes = reinterpret_cast<I>(_mm512_loadu_si512(x + at)) ^ flips;
    sums = side.is_signed ? dot<true>(sums, bytes, ones) : dot<false>(sums, bytes, ones);
    store(units + at / 4, bytes);
  }
#endif
  int32_t total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += sums[lane];
  pack_rows(x + at, 0, 1, 1, k - at, 1, side, units + at / kGroup, &total);
  return total;
}

SX_INLINE I load_lanes(const int32_t* p, int count) { return count == kLanes ? load(p) : load_n(p, count); }
SX_INLINE F load_lanes(const float* p, int count) { return count == kLanes ? load(p) : load_n(p, count); }

SX_INLINE I wrapping_multiply_add(int32_t a, I b, I c) {
  return reinterpret_cast<I>(static_cast<uint32_t>(a) * reinterpret_cast<U>(b) + reinterpret_cast<U>(c));
}

// Sums as bytes in the steps of the epilogue: what is left to add is its zero point.
struct ByteEnd {
  F low, high, sum_low, sum_high, sum_scale;
  int32_t zero;
};
SX_INLINE ByteEnd byte_end(const Int8Epilogue& epilogue) {
  const int least = epilogue.output == Int8Output::kUInt8 ? 0 : -128;
  const float low = static_cast<float>(least - epilogue.zero_point);
  const float sum_low = static_cast<float>(least - epilogue.sum_zero);
  return {splat(low),
          splat(low + 255.0f),
          splat(sum_low),
          splat(sum_low + 255.0f),
          splat(epilogue.sum_scale),
          epilogue.addends ? epilogue.sum_zero : epilogue.zero_point};
}
template <bool kSum>
SX_INLINE I byte_of(F value, F addend, const ByteEnd& end) {
  F limited = min(end.high, max(end.low, round_even(value)));
  if (kSum) limited = min(end.sum_high, max(end.sum_low, round_even(limited * end.sum_scale + addend)));
  return to_int_nearest(limited) + end.zero;
}

void finish(int rows, int columns, const int32_t* sums, int64_t sums_stride, const Int8Tail& tail, void* out,
            int64_t stride) {
  const Int8Epilogue& epilogue = tail.epilogue;
  const ByteEnd end = byte_end(epilogue);
  for (int i = 0; i < rows; ++i) {
    const float row_scale = epilogue.row_scales ? epilogue.scale * epilogue.row_scales[i] : epilogue.scale;
    for (int j = 0; j < columns; j += kLanes) {
      const int count = columns - j < kLanes ? columns - j : kLanes;
      I sum = load_lanes(sums + i * sums_stride + j, count);
      if (tail.row_factor) {
        sum = wrapping_multiply_add(tail.row_factor[i], load_lanes(tail.column_sums + j, count), sum);
      }
      if (tail.column_zeros) {
        sum = wrapping_multiply_add(tail.row_rest[i], load_lanes(tail.column_zeros + j, count), sum);
      }
      if (epilogue.bias) {
        const I bias = epilogue.per_row_bias ? splat(epilogue.bias[i]) : load_lanes(epilogue.bias + j, count);
        sum = wrapping_multiply_add(1, bias, sum);
      }
      const int64_t at = i * stride + j;
      if (epilogue.output == Int8Output::kInt32) {
        store_some(static_cast<int32_t*>(out) + at, sum, count);
        continue;
      }
      F scale = splat(row_scale);
      if (epilogue.column_scales) scale = scale * load_lanes(epilogue.column_scales + j, count);
      F value = __builtin_convertvector(sum, F) * scale;
      if (epilogue.output == Int8Output::kFloat32) {
        if (epilogue.float_bias) {
          value = value +
                  (epilogue.per_row_bias ? splat(epilogue.float_bias[i]) : load_lanes(epilogue.float_bias + j, count));
        }
        if (epilogue.addend) value = value + load_lanes(epilogue.addend + i * epilogue.addend_stride + j, count);
        float* to = static_cast<float*>(out) + at;
        if (count == kLanes) {
          store(to, value);
        } else {
          store_n(to, value, count);
        }
        continue;
      }
      const I quantized = epilogue.addends ? byte_of<true>(value, load_lanes(epilogue.addends + j, count), end)
                                           : byte_of<false>(value, F{}, end);
      store_bytes(static_cast<uint8_t*>(out) + at, __builtin_convertvector(quantized, Bytes), count);
    }
  }
}

template <int kM, int kV, bool kBias>
SX_INLINE void store_floats(const I (&acc)[kM][kV], const F (&scale)[kV], const float* bias, float* out,
                            int64_t stride) {
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    const F addend = kBias ? load(bias + v * kLanes) : F{};
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const F value = __builtin_convertvector(acc[i][v], F) * scale[v];
      store(out + i * stride + v * kLanes, kBias ? value + addend : value);
    }
  }
}

template <int kM, int kV, bool kSum>
SX_INLINE void store_tile_bytes(const I (&acc)[kM][kV], const F (&scale)[kV], const Int8Epilogue& epilogue,
                                uint8_t* out, int64_t stride) {
  const ByteEnd end = byte_end(epilogue);
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    const F addend = kSum ? load(epilogue.addends + v * kLanes) : F{};
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const I quantized = byte_of<kSum>(__builtin_convertvector(acc[i][v], F) * scale[v], addend, end);
      const Bytes bytes = __builtin_convertvector(quantized, Bytes);
      __builtin_memcpy(out + i * stride + v * kLanes, &bytes, kLanes);
    }
  }
}

// Stores the sums of a tile, which nothing is to be added to any more.
template <int kM, int kV>
SX_INLINE void store_tile(const I (&acc)[kM][kV], const Int8Epilogue& epilogue, void* out, int64_t stride) {
  if (epilogue.output == Int8Output::kInt32) {
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) store(static_cast<int32_t*>(out) + i * stride + v * kLanes, acc[i][v]);
    }
    return;
  }
  F scale[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    scale[v] = splat(epilogue.scale);
    if (epilogue.column_scales) scale[v] = scale[v] * load(epilogue.column_scales + v * kLanes);
  }
  if (epilogue.output == Int8Output::kFloat32) {
    float* floats = static_cast<float*>(out);
    if (epilogue.float_bias) store_floats<kM, kV, true>(acc, scale, epilogue.float_bias, floats, stride);
    else store_floats<kM, kV, false>(acc, scale, nullptr, floats, stride);
    return;
  }
  uint8_t* bytes = static_cast<uint8_t*>(out);
  if (epilogue.addends) store_tile_bytes<kM, kV, true>(acc, scale, epilogue, bytes, stride);
  else store_tile_bytes<kM, kV, false>(acc, scale, epilogue, bytes, stride);
}

template <int kM, int kV>
void product(const Int8Operands& operands, const Int8Tail& tail, void* out, int64_t stride) {
  I acc[kM][kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    I start = wrapping_multiply_add(tail.row_factor[0], load(tail.column_sums + v * kLanes), I{});
    if (tail.epilogue.bias) start = wrapping_multiply_add(1, load(tail.epilogue.bias + v * kLanes), start);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) acc[i][v] = start;
  }
  if (operands.ahead) {
    add_units<kM, kV, false, true>(operands, acc);
  } else {
    add_units<kM, kV, false, false>(operands, acc);
  }
  store_tile<kM, kV>(acc, tail.epilogue, out, stride);
}

using Tile = void (*)(const Int8Operands& operands, bool b_unsigned, int32_t* sums);
using Product = void (*)(const Int8Operands& operands, const Int8Tail& tail, void* out, int64_t stride);
#define SX_ROWS(f) SX_ROW(f, 1), SX_ROW(f, 2), SX_ROW(f, 3), SX_ROW(f, 4), SX_ROW(f, 5), SX_ROW(f, 6) SX_MORE_ROWS(f)
#if SX_ISA_LEVEL >= 3
#define SX_MORE_ROWS(f) \
  , SX_ROW(f, 7), SX_ROW(f, 8), SX_ROW(f, 9), SX_ROW(f, 10), SX_ROW(f, 11), SX_ROW(f, 12), SX_ROW(f, 13), SX_ROW(f, 14)
#elif SX_ISA_LEVEL == 2
#define SX_MORE_ROWS(f) , SX_ROW(f, 7), SX_ROW(f, 8), SX_ROW(f, 9), SX_ROW(f, 10), SX_ROW(f, 11), SX_ROW(f, 12)
#else
#define SX_MORE_ROWS(f)
#endif
#define SX_ROW(f, m) {f<m, 1>, f<m, 2>}
constexpr Tile kTiles[kRows][2] = {SX_ROWS(tile)};
constexpr Product kProducts[kRows][2] = {SX_ROWS(product)};
constexpr int kWidePanels = 4;
using WideTile = void (*)(const Int8Operands& operands, int64_t panel_step, int32_t* sums);
constexpr WideTile kWideTiles[kWidePanels - 1] = {wide_tile<2>, wide_tile<3>, wide_tile<4>};
#undef SX_ROW
#undef SX_ROWS
#undef SX_MORE_ROWS

}  // namespace gemm_s8

constexpr GemmInt8Kernel kGemmInt8Kernel = {
    gemm_s8::kRows,       gemm_s8::kVectors * kLanes, kLanes,          gemm_s8::kGroup,    gemm_s8::kTiles,
    gemm_s8::kWidePanels, gemm_s8::kWideTiles,        gemm_s8::finish, gemm_s8::kProducts, gemm_s8::pack_rows,
    gemm_s8::copy_row,    gemm_s8::pack_columns};

}  // namespace SX_ISA
}  // namespace sx
