// Concrete tensor shapes: up to kMaxRank extents held in place, so that no run allocates for them.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/error.h"

namespace sx {

constexpr int kMaxRank = 16;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), dims.end()) {}
  explicit Shape(const std::vector<int64_t>& dims) : Shape(dims.begin(), dims.end()) {}
  template <typename It>
  Shape(It first, It last) {
    for (; first != last; ++first) push_back(*first);
  }
  // `rank` dimensions of extent `fill`.
  static Shape filled(int rank, int64_t fill);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis]; }
  int64_t& operator[](int axis) { return dims_[axis]; }
  int64_t back() const { return dims_[rank_ - 1]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t dim) {
    SX_REQUIRE(rank_ < kMaxRank, kInvalidArgument, "a tensor may have at most ", kMaxRank, " dimensions");
    dims_[rank_++] = dim;
  }
  void insert(int axis, int64_t dim);
  void erase(int axis);

  // The number of elements; throws InvalidArgument when it does not fit in 63 bits or a dim is negative.
  int64_t size() const;
  // The product of the extents in [from, to).
  int64_t size(int from, int to) const;
  bool operator==(const Shape& other) const;
  bool operator!=(const Shape& other) const { return !(*this == other); }
  std::vector<int64_t> vector() const { return {begin(), end()}; }
  std::string str() const;  // "[2,3,4]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// Row-major strides in elements.
Shape strides_of(const Shape& shape);
// The shape that NumPy's rules give for a and b together; throws InvalidArgument when they do not broadcast.
Shape broadcast(const Shape& a, const Shape& b);
// `axis` counted from the front; throws InvalidArgument when it is outside [-rank, rank).
int normalize_axis(int64_t axis, int rank);

// a + b and a * b; throw InvalidArgument instead of overflowing.
int64_t checked_add(int64_t a, int64_t b);
int64_t checked_mul(int64_t a, int64_t b);

}  // namespace sx
