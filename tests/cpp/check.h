// A small C++ test framework: TEST(name) { ... } with CHECK macros; a failed check ends its test.
//
//   TEST(shape_size) {
//     CHECK_EQ(Shape({2, 3}).size(), 6);
//     CHECK_THROWS(Shape({-1}).size(), "negative");
//   }
//
// Checks throw, so inside parallel_for they reach the caller as any exception of a body does. They must not be used in
// threads that a test starts itself.
#pragma once

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace sx::check {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Adds a test to the list; called before main by TEST.
bool add(const char* name, void (*body)());

// Where and what failed, for check macros.
[[noreturn]] void failed(const char* file, int line, const std::string& what);

template <typename T, typename = void>
struct IsStreamable : std::false_type {};
template <typename T>
struct IsStreamable<T, std::void_t<decltype(std::declval<std::ostream&>() << std::declval<const T&>())>>
    : std::true_type {};

template <typename T>
std::string text_of(const T& value) {
  std::ostringstream text;
  text.precision(17);
  if constexpr (std::is_enum_v<T>) {
    text << static_cast<long long>(value);
  } else if constexpr (std::is_same_v<T, char> || std::is_same_v<T, signed char> || std::is_same_v<T, unsigned char>) {
    text << static_cast<int>(value);
  } else if constexpr (IsStreamable<T>::value) {
    text << value;
  } else {
    text << "(" << sizeof(T) << " bytes)";
  }
  return text.str();
}

// Equality of integers compares their values, whatever their signedness.
template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
    return (a < A{0}) == (b < B{0}) && static_cast<unsigned long long>(a) == static_cast<unsigned long long>(b);
  } else {
    return a == b;
  }
}

template <typename A, typename B>
void check_equal(const A& a, const B& b, const char* expression, const char* file, int line) {
  if (!equal(a, b)) failed(file, line, std::string(expression) + ": " + text_of(a) + " is not " + text_of(b));
}

// NaN is near NaN only, and an infinity near itself only.
inline void check_near(double a, double b, double tolerance, const char* expression, const char* file, int line) {
  const bool near = a == b || (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= tolerance;
  if (!near) {
    failed(file, line,
           std::string(expression) + ": " + text_of(a) + " is off " + text_of(b) + " by " + text_of(std::fabs(a - b)) +
               ", more than " + text_of(tolerance));
  }
}

// `call` must throw a std::exception whose message contains `part`.
template <typename F>
void check_throws(F&& call, const std::string& part, const char* expression, const char* file, int line) {
  std::string message;
  try {
    call();
  } catch (const Failure&) {
    throw;
  } catch (const std::exception& error) {
    message = error.what();
    if (message.find(part) != std::string::npos) return;
    failed(file, line, std::string(expression) + " threw '" + message + "', which does not say '" + part + "'");
  }
  failed(file, line, std::string(expression) + " did not throw");
}

}  // namespace sx::check

#define TEST(name)                                                                        \
  static void test_##name();                                                              \
  [[maybe_unused]] static const bool added_##name = ::sx::check::add(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) ::sx::check::failed(__FILE__, __LINE__, #condition " does not hold"); \
  } while (false)

#define CHECK_EQ(a, b) ::sx::check::check_equal((a), (b), #a " == " #b, __FILE__, __LINE__)

#define CHECK_NEAR(a, b, tolerance) ::sx::check::check_near((a), (b), (tolerance), #a " ~ " #b, __FILE__, __LINE__)

#define CHECK_THROWS(expression, part) \
  ::sx::check::check_throws([&] { static_cast<void>(expression); }, (part), #expression, __FILE__, __LINE__)
