// Canonical polynomial arithmetic for symbolic extents.
#include "ir/dim.h"

#include <algorithm>

namespace sx {
namespace {

// Beyond this many terms an expression says nothing useful any more.
constexpr size_t kMaxTerms = 16;

}  // namespace

Dim Dim::symbol(const std::string& name) { return from({{{name}, 1}}); }

Dim Dim::from(Terms terms) {
  if (terms.size() > kMaxTerms) return Dim();
  if (terms.empty()) return Dim(0);
  if (terms.size() == 1 && terms.begin()->first.empty()) return Dim(terms.begin()->second);
  Dim dim;
  dim.terms_ = std::make_shared<const Terms>(std::move(terms));
  return dim;
}

Dim::Terms Dim::terms() const {
  if (!known_) return *terms_;
  if (value_ == 0) return {};
  return {{{}, value_}};
}

bool Dim::operator==(const Dim& other) const {
  if (known_ || other.known_) return known_ && other.known_ && value_ == other.value_;
  return symbolic() && other.symbolic() && *terms_ == *other.terms_;
}

bool Dim::non_negative() const {
  if (!symbolic()) return known_ && value_ >= 0;
  // Symbols made of expressions carry them in their names: without a minus sign they cannot be negative.
  for (const auto& [monomial, coefficient] : *terms_) {
    if (coefficient < 0) return false;
    for (const std::string& symbol : monomial)
      if (symbol.find('(') != std::string::npos && symbol.find('-') != std::string::npos) return false;
  }
  return true;
}

std::string Dim::str() const {
  if (known_) return std::to_string(value_);
  if (unknown()) return "?";
  std::string text;
  for (auto term = terms_->rbegin(); term != terms_->rend(); ++term) {
    const int64_t coefficient = term->second;
    std::string product;
    for (const std::string& symbol : term->first) product += (product.empty() ? "" : "*") + symbol;
    const bool plain = product.empty();
    std::string part = plain ? std::to_string(coefficient) : product;
    if (!plain && coefficient == -1) part = "-" + product;
    if (!plain && coefficient != 1 && coefficient != -1) part = std::to_string(coefficient) + "*" + product;
    if (!text.empty()) text += part[0] == '-' ? " - " : " + ";
    text += !text.empty() && part[0] == '-' ? part.substr(1) : part;
  }
  return text;
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.unknown() || b.unknown()) return Dim();
  Dim::Terms sum = a.terms();
  for (const auto& [monomial, coefficient] : b.terms()) {
    int64_t& to = sum[monomial];
    if (__builtin_add_overflow(to, coefficient, &to)) return Dim();
    if (to == 0) sum.erase(monomial);
  }
  return Dim::from(std::move(sum));
}

Dim operator-(const Dim& a, const Dim& b) { return a + b * Dim(-1); }

Dim operator*(const Dim& a, const Dim& b) {
  if ((a.known() && a.value() == 0) || (b.known() && b.value() == 0)) return Dim(0);
  if (a.unknown() || b.unknown()) return Dim();
  Dim::Terms product;
  for (const auto& [left, x] : a.terms()) {
    for (const auto& [right, y] : b.terms()) {
      Dim::Monomial monomial = left;
      monomial.insert(monomial.end(), right.begin(), right.end());
      std::sort(monomial.begin(), monomial.end());
      int64_t xy;
      int64_t& to = product[monomial];
      if (__builtin_mul_overflow(x, y, &xy) || __builtin_add_overflow(to, xy, &to)) return Dim();
      if (to == 0) product.erase(monomial);
    }
  }
  return Dim::from(std::move(product));
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (a.unknown() || b.unknown() || (b.known() && b.value() == 0)) return Dim();
  if (a.known() && b.known()) {
    if (b.value() == -1) return Dim(0) - a;
    const int64_t quotient = a.value() / b.value();
    const bool inexact = a.value() % b.value() != 0;
    return Dim(inexact && ((a.value() < 0) != (b.value() < 0)) ? quotient - 1 : quotient);
  }
  if (a == b) return Dim(1);
  const Dim::Terms divisor = b.terms();
  if (divisor.size() == 1) {
    const auto& [symbols, by] = *divisor.begin();
    Dim::Terms exact;
    bool divides = true;
    for (const auto& [monomial, coefficient] : a.terms()) {
      Dim::Monomial rest = monomial;
      for (const std::string& symbol : symbols) {
        auto found = std::find(rest.begin(), rest.end(), symbol);
        if (found == rest.end()) divides = false;
        else rest.erase(found);
      }
      if (by == -1 || coefficient % by != 0) divides = false;
      if (!divides) break;
      exact[rest] = coefficient / by;
    }
    if (divides) return Dim::from(std::move(exact));
  }
  return Dim::symbol("floor((" + a.str() + ")/(" + b.str() + "))");
}

Dim ceil_div(const Dim& a, const Dim& b) { return Dim(0) - floor_div(Dim(0) - a, b); }

Dim min(const Dim& a, const Dim& b) {
  if (a.unknown() || b.unknown()) return Dim();
  if (a.known() && b.known()) return Dim(std::min(a.value(), b.value()));
  if (a == b) return a;
  return Dim::symbol("min(" + a.str() + ", " + b.str() + ")");
}

Dim max(const Dim& a, const Dim& b) {
  if (a.unknown() || b.unknown()) return Dim();
  if (a.known() && b.known()) return Dim(std::max(a.value(), b.value()));
  if (a == b) return a;
  return Dim::symbol("max(" + a.str() + ", " + b.str() + ")");
}

}  // namespace sx
