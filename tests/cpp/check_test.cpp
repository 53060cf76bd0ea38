// The test framework itself: what holds, what fails, and what the failure says.
#include "check.h"

#include <limits>
#include <vector>

namespace sx::check {
namespace {

enum class Colour { kRed = 3, kBlue };

struct Opaque {
  int value;
  bool operator==(const Opaque& other) const { return value == other.value; }
};

template <typename F>
std::string failure_of(F&& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(check_names_the_place_and_the_condition) {
  CHECK(1 + 1 == 2);
  const std::string text = failure_of([] { CHECK(1 + 1 == 3); });
  CHECK(says(text, "check_test.cpp:"));
  CHECK(says(text, "1 + 1 == 3"));
}

TEST(check_eq_compares_values_across_signedness) {
  CHECK_EQ(std::vector<int>(3).size(), 3);
  CHECK_EQ(static_cast<int8_t>(-1), -1);
  CHECK(says(failure_of([] { CHECK_EQ(-1, std::numeric_limits<unsigned>::max()); }), "-1 is not 4294967295"));
  CHECK(says(failure_of([] { CHECK_EQ(-1, std::numeric_limits<unsigned long long>::max()); }), "-1 is not"));
}

TEST(check_eq_prints_what_it_can) {
  CHECK_EQ(std::string("a"), "a");
  CHECK(says(failure_of([] { CHECK_EQ(Colour::kRed, Colour::kBlue); }), "3 is not 4"));
  CHECK(says(failure_of([] { CHECK_EQ(Opaque{1}, Opaque{2}); }), "(4 bytes)"));
}

TEST(check_near_knows_nan_and_infinity) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK_NEAR(1.0, 1.01, 0.02);
  CHECK_NEAR(nan, nan, 0);
  CHECK_NEAR(infinity, infinity, 0);
  CHECK(says(failure_of([] { CHECK_NEAR(1.0, 2.0, 0.5); }), "more than 0.5"));
  CHECK(!failure_of([&] { CHECK_NEAR(nan, 1.0, 1e9); }).empty());
  CHECK(!failure_of([&] { CHECK_NEAR(infinity, -infinity, 1e9); }).empty());
}

TEST(check_throws_wants_an_exception_that_says_so) {
  const auto thrower = []() -> int { throw std::runtime_error("axis 4 is out of range"); };
  CHECK_THROWS(thrower(), "out of range");
  CHECK(says(failure_of([&] { CHECK_THROWS(thrower(), "shape"); }), "which does not say 'shape'"));
  CHECK(says(failure_of([] { CHECK_THROWS(1 + 1, ""); }), "did not throw"));
}

}  // namespace
}  // namespace sx::check
