// The tile of the GEMM for one ISA: sums in registers, then the epilogue. Included after vec.h and vec_transpose.h.
namespace gemm_tile {

constexpr int kVectors = 2;
constexpr int kColumns = kVectors * kLanes;
#if SX_ISA_LEVEL >= 2
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif

// Tiles of so many rows have time to ask for what comes next, by each step a line for each 64 bytes of B.
constexpr int kAsksAhead = 2;
constexpr int kLine = 64 / sizeof(float);

SX_INLINE F load_part(const float* p, int v, int vectors, int columns) {
  const int left = columns - v * kLanes;
  return v + 1 < vectors || left >= kLanes ? load(p + v * kLanes) : load_n(p + v * kLanes, left);
}
SX_INLINE void store_part(float* p, F x, int v, int vectors, int columns) {
  const int left = columns - v * kLanes;
  if (v + 1 < vectors || left >= kLanes) {
    store(p + v * kLanes, x);
  } else {
    store_n(p + v * kLanes, x, left);
  }
}

template <int kM, int kV>
SX_INLINE void add_residual(F (&acc)[kM][kV], const TileTail& tail, int columns) {
  const F scale = splat(tail.residual_scale);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      acc[i][v] = acc[i][v] + scale * load_part(tail.residual + i * tail.residual_stride, v, kV, columns);
    }
  }
}

// Asks for the lines that a tile will be written to, so that they are there when it is done.
template <int kM, int kV>
SX_INLINE void prefetch_lines(float* c, int64_t stride) {
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) __builtin_prefetch(c + i * stride + v * kLanes, 1);
  }
}

// Adds the products of one step to the sums.
template <typename Words, int kM, int kV>
SX_INLINE void add_step(const float* a, const float* b, int64_t panel_step, float*& widened, F (&acc)[kM][kV]) {
  if constexpr (Words::kWidens) {
    Words::template add<kM, kV>(a, b, widened, acc);
    widened += Words::kWordsOfA * kV * kLanes;
  } else {
    Words::template add<kM, kV>(a, b, panel_step, acc);
  }
}

// kV vectors of columns: those of one panel, or of several that stand `panel_step` apart.
template <typename Words, int kM, int kV>
void tile(int64_t steps, const float* a, const float* b, int64_t b_step, int64_t panel_step, float* c, int64_t ldc,
          int columns, const TileTail& tail) {
  F acc[kM][kV];
  if (tail.last) {
    prefetch_lines<kM, kV>(c, ldc);
  } else {
    prefetch_lines<kM, kV>(tail.partial, tail.partial_stride);
  }
  if (tail.first) {
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = F{};
    }
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = load_part(tail.partial + i * tail.partial_stride, v, kV, columns);
    }
  }
  float* widened = tail.widened;
  if (kM >= kAsksAhead && tail.next_b) {
    const float* next = tail.next_b;
    for (; steps > 0; --steps, next += tail.next_step) {
#pragma GCC unroll 8
      for (int at = 0; at < kV * kLanes; at += kLine) __builtin_prefetch(next + at, 0, 2);
      add_step<Words, kM, kV>(a, b, panel_step, widened, acc);
      a += Words::kWordsOfA * kM;
      b += b_step;
    }
  }
  for (; steps > 0; --steps) {
    add_step<Words, kM, kV>(a, b, panel_step, widened, acc);
    a += Words::kWordsOfA * kM;
    b += b_step;
  }
  if (!tail.last) {
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) store_part(tail.partial + i * tail.partial_stride, acc[i][v], v, kV, columns);
    }
    return;
  }
  const F scale = splat(tail.scale);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) acc[i][v] = acc[i][v] * scale;
  }
  if (tail.row_bias) {
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const F bias = splat(tail.row_bias[i]);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = acc[i][v] + bias;
    }
  }
  if (tail.column_bias) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const F bias = load_part(tail.column_bias, v, kV, columns);
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) acc[i][v] = acc[i][v] + bias;
    }
  }
  if (tail.residual && !tail.residual_last) add_residual<kM, kV>(acc, tail, columns);
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = min(high, max(low, acc[i][v]));
    }
  } else if (tail.activate) {
    float values[kM * kV * kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) store(values + (i * kV + v) * kLanes, acc[i][v]);
    }
    tail.activate(values, values, kM * kV * kLanes, tail.alpha, tail.beta);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = load(values + (i * kV + v) * kLanes);
    }
  }
  if (tail.residual && tail.residual_last) add_residual<kM, kV>(acc, tail, columns);
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) store_part(c + i * ldc, acc[i][v], v, kV, columns);
  }
}

// Asks for what stands `ahead` floats behind p, which may be past the end of its array. Rows of a wide matrix are too
// far apart for the CPU to see which it will need.
SX_INLINE void ask_for(const float* p, int64_t ahead) {
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(ahead) * sizeof(float)));
}

// Element j of `count` rows at src, for j < depth, goes to to[j * step] and what follows it, in `stored` elements:
// zeros stand for rows that are not there.
SX_INLINE void pack_quarters(const float* src, int64_t stride, int count, int depth, float* to, int64_t step,
                             int stored) {
  F rows[kQuarter];
#pragma GCC unroll 4
  for (int i = 0; i < kQuarter; ++i) {
    if (i >= count) rows[i] = F{};
    else rows[i] = depth == kLanes ? load(src + i * stride) : load_n(src + i * stride, depth);
  }
  transpose_quarters(rows);
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) {
    if (j >= depth) break;
    const Quarter values = quarter(rows[j % kQuarter], j / kQuarter);
    if (stored == kQuarter) {
      __builtin_memcpy(to + j * step, &values, sizeof(values));
    } else {
      for (int i = 0; i < stored; ++i) to[j * step + i] = values[i];
    }
  }
}

// packed[k][i] = src[i * stride + k] for i < rows, in rows of `width` elements. With kPad, width is a multiple of
// kLanes and the elements past `rows` become 0; else it is `rows`.
template <bool kPad>
SX_INLINE void pack_transposed(int64_t k, int rows, const float* src, int64_t stride, int width, float* packed) {
  const int whole = rows / kQuarter * kQuarter;
  for (int64_t k0 = 0; k0 < k; k0 += kLanes, src += kLanes, packed += kLanes * width) {
    const int depth = static_cast<int>(k - k0 < kLanes ? k - k0 : kLanes);
    for (int i = whole; i < (kPad ? width : rows); i += kQuarter) {
      const int count = rows - i;
      const float* from = count > 0 ? src + i * stride : src;
      // What is stored behind the last row belongs to elements that are stored later.
      const bool more = kPad || (k - k0 - kLanes) * width >= kQuarter;
      pack_quarters(from, stride, count, depth, packed + i, width, more ? kQuarter : count);
    }
    if (depth == kLanes) {
      for (int i = 0; i < whole; i += kQuarter) {
        // The next panel's rows.
        for (int j = 0; kPad && j < kQuarter; ++j) ask_for(src + (i + j) * stride, width * stride);
        pack_quarters(src + i * stride, stride, kQuarter, kLanes, packed + i, width, kQuarter);
      }
    } else {
      for (int i = 0; i < whole; i += kQuarter)
        pack_quarters(src + i * stride, stride, kQuarter, depth, packed + i, width, kQuarter);
    }
  }
}

// A panel of A in f32 for steps of two elements of K.
SX_INLINE void pack_a_of_two(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed) {
  if (!transposed) {
    pack_transposed<false>(k, rows, a, lda, rows, packed);
  } else {
    for (int64_t at = 0; at < k; ++at) {
      for (int i = 0; i < rows; ++i) packed[at * rows + i] = a[at * lda + i];
    }
  }
  for (int i = 0; k % 2 != 0 && i < rows; ++i) packed[k * rows + i] = 0.0f;
}

#define SX_ROW(m) {tile<Words, m, 1>, tile<Words, m, 2>}
template <typename Words>
constexpr TileFunction kTiles[kRows][2] = {
    SX_ROW(1), SX_ROW(2), SX_ROW(3), SX_ROW(4),  SX_ROW(5),  SX_ROW(6),
#if SX_ISA_LEVEL >= 2
    SX_ROW(7), SX_ROW(8), SX_ROW(9), SX_ROW(10), SX_ROW(11), SX_ROW(12),
#endif
};
#undef SX_ROW

// One row has too few sums in a panel to hide the latency of a multiply-add.
constexpr int kWidePanels = 4;
template <typename Words>
constexpr TileFunction kWideTiles[kWidePanels - 1] = {tile<Words, 1, 2 * kVectors>, tile<Words, 1, 3 * kVectors>,
                                                      tile<Words, 1, 4 * kVectors>};

#if SX_ISA_LEVEL >= 2
constexpr int64_t kDepthBlock = 768, kRowBlock = 240, kColumnBlock = 3072;
#else
constexpr int64_t kDepthBlock = 256, kRowBlock = 144, kColumnBlock = 3072;
#endif

}  // namespace gemm_tile
