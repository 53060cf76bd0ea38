// Symbolic extents: canonical forms, exact division, overflow.
#include "ir/dim.h"

#include "check.h"

namespace sx {
namespace {

const Dim n = Dim::symbol("N");
const Dim s = Dim::symbol("S");

TEST(dim_polynomials_are_canonical) {
  CHECK((n + 1) * (n - 1) == n * n - 1);
  CHECK(n * s == s * n);
  CHECK(n - n == Dim(0));
  CHECK(n + 0 == n);
  CHECK(n != s);
  CHECK_EQ((n * 2 * s + 1).str(), "2*N*S + 1");
}

TEST(dim_division) {
  CHECK(floor_div(n * 12, 12) == n);
  CHECK(floor_div(n * s * 6, s * 2) == n * 3);
  CHECK(floor_div(Dim(-7), Dim(2)) == Dim(-4));
  CHECK(ceil_div(Dim(7), Dim(2)) == Dim(4));
  CHECK(floor_div(n, n) == Dim(1));
  CHECK(floor_div(n, 0).unknown());
  CHECK(floor_div(n + 1, 2).symbolic());
  CHECK(floor_div(n + 1, 2) == floor_div(1 + n, 2));
}

TEST(dim_unknown_equals_nothing) {
  CHECK(Dim() != Dim());
  CHECK((Dim() + 1).unknown());
  CHECK(Dim() * 0 == Dim(0));
}

TEST(dim_overflow_is_unknown) {
  const Dim big(INT64_MAX);
  CHECK((big + 1).unknown());
  CHECK((big * big).unknown());
  CHECK((n * big * 3).unknown());
  CHECK(floor_div(Dim(INT64_MIN), Dim(-1)).unknown());
}

TEST(dim_extremes) {
  CHECK(min(n, n) == n);
  CHECK(max(Dim(3), Dim(4)) == Dim(4));
  CHECK(min(n, 4).symbolic());
}

}  // namespace
}  // namespace sx
