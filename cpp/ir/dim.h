// Symbolic extents: integer polynomials over named symbols, kept in canonical form so that equal means equal.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sx {

// A dimension or an element of a shape vector. `7`, `N`, `2*N*S + 1`, or unknown. Unknown is equal to nothing, itself
// included. Arithmetic that overflows gives unknown.
class Dim {
 public:
  Dim() = default;                                     // unknown
  Dim(int64_t value) : known_(true), value_(value) {}  // NOLINT: an integer is a dim
  static Dim symbol(const std::string& name);

  bool known() const { return known_; }
  bool symbolic() const { return !known_ && terms_ != nullptr; }
  bool unknown() const { return !known_ && terms_ == nullptr; }
  int64_t value() const { return value_; }  // only where known()
  std::string str() const;                  // "?" for unknown
  bool non_negative() const;                // provably, given that symbols are extents

  // Provably equal.
  bool operator==(const Dim& other) const;
  bool operator!=(const Dim& other) const { return !(*this == other); }

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);

 private:
  using Monomial = std::vector<std::string>;  // sorted symbols; empty for the constant term
  using Terms = std::map<Monomial, int64_t>;  // no zero coefficients
  static Dim from(Terms terms);
  Terms terms() const;
  friend Dim floor_div(const Dim& a, const Dim& b);

  bool known_ = false;
  int64_t value_ = 0;
  std::shared_ptr<const Terms> terms_;  // set where symbolic
};

// Quotient rounded towards minus infinity / plus infinity. Exact where every coefficient divides, else a symbol of
// its own whose name is the expression. A zero divisor gives unknown.
Dim floor_div(const Dim& a, const Dim& b);
Dim ceil_div(const Dim& a, const Dim& b);
Dim min(const Dim& a, const Dim& b);
Dim max(const Dim& a, const Dim& b);

}  // namespace sx
