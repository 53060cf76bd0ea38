// Hash tables over integers, real numbers and strings.
#include "ops/ml_categories.h"

#include <cstring>

namespace sx {
namespace {

// Equal numbers have equal bits, NaN included.
int64_t bits_of_real(double value) {
  if (value == 0) value = 0;
  if (std::isnan(value)) value = NAN;
  int64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

int64_t key_at(const Tensor& x, int64_t i) {
  switch (x.dtype()) {
    case DType::kInt64: return x.data<int64_t>()[i];
    case DType::kInt32: return x.data<int32_t>()[i];
    case DType::kInt16: return x.data<int16_t>()[i];
    case DType::kFloat32: return bits_of_real(x.data<float>()[i]);
    default: return bits_of_real(x.data<double>()[i]);
  }
}

}  // namespace

CategoryIndex::Kind CategoryIndex::kind_of(DType dtype) {
  if (dtype == DType::kString) return Kind::kText;
  return is_float(dtype) ? Kind::kReal : Kind::kInteger;
}

CategoryIndex::CategoryIndex(const Tensor& keys) : kind_(kind_of(keys.dtype())) {
  for (int64_t i = 0; i < keys.size(); ++i) {
    if (kind_ == Kind::kText) texts_.emplace(keys.data<std::string>()[i], i);
    else integers_.emplace(key_at(keys, i), i);
  }
}

bool CategoryIndex::accepts(DType dtype) const { return kind_of(dtype) == kind_; }

int64_t CategoryIndex::find(const Tensor& x, int64_t i) const {
  if (kind_ == Kind::kText) {
    auto found = texts_.find(x.data<std::string>()[i]);
    return found == texts_.end() ? -1 : found->second;
  }
  auto found = integers_.find(key_at(x, i));
  return found == integers_.end() ? -1 : found->second;
}

}  // namespace sx
