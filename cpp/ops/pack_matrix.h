// Constant matrices in the layout that products read, in the precision that they are kept in.
#pragma once

#include "base/precision.h"
#include "ops/kernel.h"
#include "tensor/tensor.h"

namespace sx {

// How constant factors are kept: as `allowed` says, but in f32 where that is f16 and one of them is beyond it; and in
// f16 where f32 is what is allowed, f16 changes none of them, as those of a model in f16, and they are many: products
// by them have the same bits, are no slower for any number of rows, and read half as much.
Precision kept_precision(const float* values, int64_t count, Precision allowed);

// Memory of `floats` words for constants packed in that precision, which the tensor's type says from then on.
Tensor packed_memory(int64_t floats, Precision precision);
Precision packed_precision(const Tensor& packed);
inline float* packed_words(const Tensor& packed) { return static_cast<float*>(packed.raw()); }

// Says so where a product is not in f32.
void describe_precision(Prepare& p, Precision precision);

// A float matrix [k, n], or [n, k] where `trans`, packed as the right-hand side of gemm() in the precision in which it
// is kept. Takes the matrix's memory on demand, and gives it back while it goes along where that is possible: a large
// matrix is not in memory twice.
Tensor pack_matrix(const Tensor& matrix, bool trans, Precision allowed);

}  // namespace sx
