// Reports broken invariants of our own code.
#include "base/error.h"

#include <cstring>

namespace sx {

void assertion_failed(const char* condition, const char* file, int line) {
  const char* slash = std::strrchr(file, '/');
  throw std::logic_error(join("internal error: ", condition, " does not hold (", slash ? slash + 1 : file, ":", line,
                              "); please report this with the model"));
}

}  // namespace sx
