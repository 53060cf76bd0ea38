// Errors that users cause: one exception type with a kind that Python maps to a class. Our own mistakes use SX_ASSERT.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace sx {

// The kinds follow the exception classes of the ONNX Runtime Python package, so that handlers written for it keep
// working.
enum class ErrorKind {
  kFail,
  kInvalidArgument,
  kNoSuchFile,
  kNoModel,
  kRuntimeException,
  kInvalidProtobuf,
  kNotImplemented,
  kInvalidGraph,
  kTerminated,
  kDeadlineExceeded,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Streams all parts into one string.
template <typename... Parts>
std::string join(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Throws Error(kind) with the parts as its message: what was found, what was expected, what to do.
template <typename... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  throw Error(kind, join(parts...));
}

// fail(kind, parts...) unless `condition` holds. The parts are formatted only on failure.
#define SX_REQUIRE(condition, kind, ...)                              \
  do {                                                                \
    if (!(condition)) ::sx::fail(::sx::ErrorKind::kind, __VA_ARGS__); \
  } while (false)

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

// States an invariant of our own code; on failure throws std::logic_error so that a bug never ends the process.
#define SX_ASSERT(condition)                                                  \
  do {                                                                        \
    if (!(condition)) ::sx::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (false)

}  // namespace sx
