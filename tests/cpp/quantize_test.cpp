// The range of an array on every tier: the least and greatest of its elements and 0, with NaN told apart.
#include "kernels/quantize.h"

#include <algorithm>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

TEST(range_with_zero) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 130, 32768, 65536, 100003, 5000000}) {
      for (float shift : {-3.0f, 0.0f, 3.0f}) {
        std::vector<float> x = random_floats(n, 1, shift - 1.0f, shift + 1.0f);
        float low = 0.0f, high = 0.0f;
        for (float value : x) {
          low = std::min(low, value);
          high = std::max(high, value);
        }
        const ArrayRange range = range_with_zero(x.data(), n, isa);
        CHECK((range.low == low && range.high == high && !range.has_nan));
        if (n < 2) continue;
        for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
          std::vector<float> with_nan = x;
          with_nan[static_cast<size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
          with_nan[static_cast<size_t>((at + 1) % n)] = -std::numeric_limits<float>::infinity();
          const ArrayRange found = range_with_zero(with_nan.data(), n, isa);
          CHECK((found.has_nan && std::isinf(found.low) && !std::isnan(found.high)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace sx
