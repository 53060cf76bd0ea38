// Hash tables over integers, real numbers and strings.
#include "ops/ml_categories.h"

#include <algorithm>
#include <cstring>

namespace sx {
namespace {

constexpr uint64_t kMaxDense = 4096;

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
  if (kind_ != Kind::kInteger || integers_.empty()) return;
  int64_t last = INT64_MIN;
  first_ = INT64_MAX;
  for (const auto& [key, place] : integers_) {
    first_ = std::min(first_, key);
    last = std::max(last, key);
  }
  const uint64_t range = static_cast<uint64_t>(last) - static_cast<uint64_t>(first_);
  if (range > kMaxDense || keys.size() > INT32_MAX) return;
  dense_.assign(range + 1, -1);
  for (const auto& [key, place] : integers_)
    dense_[static_cast<uint64_t>(key) - static_cast<uint64_t>(first_)] = static_cast<int32_t>(place);
}

int64_t CategoryIndex::find(int64_t value) const {
  if (!dense_.empty()) {
    const uint64_t at = static_cast<uint64_t>(value) - static_cast<uint64_t>(first_);
    return at < dense_.size() ? dense_[at] : -1;
  }
  auto found = integers_.find(value);
  return found == integers_.end() ? -1 : found->second;
}

bool CategoryIndex::accepts(DType dtype) const { return kind_of(dtype) == kind_; }

int64_t CategoryIndex::find(const Tensor& x, int64_t i) const {
  if (kind_ == Kind::kText) {
    auto found = texts_.find(x.data<std::string>()[i]);
    return found == texts_.end() ? -1 : found->second;
  }
  return find(key_at(x, i));
}

}  // namespace sx
