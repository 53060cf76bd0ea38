// Runs the C++ tests: sardonyx_tests [--list | --tiers] [PART_OF_A_NAME...]
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "check.h"

namespace sx::check {
namespace {

struct Test {
  const char* name;
  void (*body)();
};

std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

bool is_wanted(const char* name, const std::vector<std::string>& parts) {
  if (parts.empty()) return true;
  for (const std::string& part : parts) {
    if (std::strstr(name, part.c_str())) return true;
  }
  return false;
}

// True when the test passes; prints why when it does not.
bool passes(const Test& test) {
  try {
    test.body();
    return true;
  } catch (const std::exception& error) {
    std::printf("FAILED %s\n  %s\n", test.name, error.what());
  } catch (...) {
    std::printf("FAILED %s\n  an exception that is not a std::exception\n", test.name);
  }
  return false;
}

// Prints the values of SARDONYX_ISA that differ on this machine, one to a line.
int print_tiers() {
  for (int tier = 0; tier <= static_cast<int>(detected_isa()); ++tier) {
    std::printf("%s\n", name_of(static_cast<Isa>(tier)));
  }
  return 0;
}

int run(const std::vector<std::string>& parts, bool list_only) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  int count = 0;
  int failures = 0;
  for (const Test& test : tests()) {
    if (!is_wanted(test.name, parts)) continue;
    ++count;
    if (list_only) {
      std::printf("%s\n", test.name);
    } else if (!passes(test)) {
      ++failures;
    }
  }
  if (list_only) return 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("%d passed, %d failed on tier %s in %.1f s\n", count - failures, failures, name_of(active_isa()),
              seconds);
  if (count == 0) std::printf("no test has such a name\n");
  return failures == 0 && count > 0 ? 0 : 1;
}

}  // namespace

bool add(const char* name, void (*body)()) {
  tests().push_back({name, body});
  return true;
}

void failed(const char* file, int line, const std::string& what) {
  throw Failure(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

}  // namespace sx::check

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "--tiers") return sx::check::print_tiers();
  const bool list_only = !arguments.empty() && arguments[0] == "--list";
  return sx::check::run({arguments.begin() + (list_only ? 1 : 0), arguments.end()}, list_only);
}
