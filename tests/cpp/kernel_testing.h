// Helpers of the kernel tests: random data, the tiers of this machine, bitwise comparison.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace sx {

// Every tier that this machine can run.
inline std::vector<Isa> tested_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16}) {
    if (isa <= active_isa()) isas.push_back(isa);
  }
  return isas;
}

// Kernels ask for packed buffers that are aligned to 64 bytes.
template <typename T>
class AlignedVector {
 public:
  explicit AlignedVector(int64_t size, T fill = T()) : storage_(static_cast<size_t>(size) + 64 / sizeof(T), fill) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(storage_.data());
    data_ = storage_.data() + ((64 - address % 64) % 64) / sizeof(T);
  }
  T* data() { return data_; }

 private:
  std::vector<T> storage_;
  T* data_;
};

inline std::vector<float> random_floats(int64_t size, uint32_t seed, float low = -1.0f, float high = 1.0f) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = distribution(generator);
  return values;
}

template <typename T>
std::vector<T> random_integers(int64_t size, uint32_t seed, int low, int high) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> distribution(low, high);
  std::vector<T> values(static_cast<size_t>(size));
  for (T& value : values) value = static_cast<T>(distribution(generator));
  return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace sx
