// Shapes: checked products, strides, broadcasting.
#include "base/shape.h"

#include <algorithm>

namespace sx {

Shape Shape::filled(int rank, int64_t fill) {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(fill);
  return shape;
}

void Shape::insert(int axis, int64_t dim) {
  SX_ASSERT(axis >= 0 && axis <= rank_);
  push_back(dim);
  std::rotate(dims_.begin() + axis, dims_.begin() + rank_ - 1, dims_.begin() + rank_);
}

void Shape::erase(int axis) {
  SX_ASSERT(axis >= 0 && axis < rank_);
  std::copy(dims_.begin() + axis + 1, dims_.begin() + rank_, dims_.begin() + axis);
  dims_[--rank_] = 0;
}

int64_t Shape::size() const { return size(0, rank_); }

int64_t Shape::size(int from, int to) const {
  SX_ASSERT(from >= 0 && to <= rank_);
  int64_t product = 1;
  bool overflow = false;
  bool empty = false;
  for (int i = from; i < to; ++i) {
    SX_REQUIRE(dims_[i] >= 0, kInvalidArgument, "found a negative extent in shape ", str(), "; expected 0 or more");
    empty = empty || dims_[i] == 0;
    overflow = __builtin_mul_overflow(product, dims_[i], &product) || overflow;
  }
  if (empty) return 0;
  SX_REQUIRE(!overflow, kInvalidArgument, "shape ", str(), " has more elements than 63 bits can count");
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ",";
    text += std::to_string(dims_[i]);
  }
  return text + "]";
}

Shape strides_of(const Shape& shape) {
  Shape strides = Shape::filled(shape.rank(), 1);
  // An extent of 0 counts as 1, so that the strides of an empty tensor stay usable.
  for (int i = shape.rank() - 2; i >= 0; --i) {
    strides[i] = checked_mul(strides[i + 1], std::max<int64_t>(shape[i + 1], 1));
  }
  return strides;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape result = Shape::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    const int from_a = i - (rank - a.rank());
    const int from_b = i - (rank - b.rank());
    const int64_t dim_a = from_a >= 0 ? a[from_a] : 1;
    const int64_t dim_b = from_b >= 0 ? b[from_b] : 1;
    SX_REQUIRE(dim_a == dim_b || dim_a == 1 || dim_b == 1, kInvalidArgument, "shapes ", a.str(), " and ", b.str(),
               " do not broadcast: ", dim_a, " against ", dim_b, "; expected equal extents or 1");
    result[i] = dim_a == 1 ? dim_b : dim_a;
  }
  return result;
}

int normalize_axis(int64_t axis, int rank) {
  SX_REQUIRE(axis >= -rank && axis < rank, kInvalidArgument, "axis ", axis, " is out of range for rank ", rank,
             "; expected ", -rank, "..", rank - 1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

int64_t checked_add(int64_t a, int64_t b) {
  int64_t sum;
  SX_REQUIRE(!__builtin_add_overflow(a, b, &sum), kInvalidArgument, a, " + ", b, " does not fit in 64 bits");
  return sum;
}

int64_t checked_mul(int64_t a, int64_t b) {
  int64_t product;
  SX_REQUIRE(!__builtin_mul_overflow(a, b, &product), kInvalidArgument, a, " * ", b, " does not fit in 64 bits");
  return product;
}

}  // namespace sx
