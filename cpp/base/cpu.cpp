// Finds the kernel tier of this CPU with cpuid and xgetbv.
#include "base/cpu.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sx {
namespace {

constexpr Isa kAllIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16};

#if defined(__x86_64__)
bool has_bit(uint32_t word, int bit) { return (word >> bit) & 1u; }

// The register states that the operating system saves.
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

Isa detect() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::kBaseline;
  const bool osxsave = has_bit(c, 27), avx = has_bit(c, 28), fma = has_bit(c, 12), f16c = has_bit(c, 29);
  if (!osxsave || !avx || !fma || !f16c) return Isa::kBaseline;
  const uint64_t state = saved_state();
  if ((state & 0x6) != 0x6) return Isa::kBaseline;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kBaseline;
  const uint32_t leaves = a;
  if (!has_bit(b, 5)) return Isa::kBaseline;
  const bool f = has_bit(b, 16), dq = has_bit(b, 17), bw = has_bit(b, 30), vl = has_bit(b, 31);
  if (!f || !dq || !bw || !vl || (state & 0xe6) != 0xe6) return Isa::kAvx2;
  if (!has_bit(c, 11)) return Isa::kAvx512;
  if (leaves < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has_bit(a, 5)) return Isa::kAvx512Vnni;
  return Isa::kAvx512Bf16;
}
#else
Isa detect() { return Isa::kBaseline; }
#endif

Isa capped() {
  const Isa best = detected_isa();
  const char* wanted = std::getenv("SARDONYX_ISA");
  if (!wanted || !*wanted) return best;
  for (Isa isa : kAllIsas) {
    if (std::strcmp(wanted, name_of(isa)) == 0) return isa < best ? isa : best;
  }
  fail(ErrorKind::kInvalidArgument, "found SARDONYX_ISA=", wanted,
       "; expected baseline, avx2, avx512, avx512_vnni or avx512_bf16");
}

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa active_isa() {
  static const Isa isa = capped();
  return isa;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return "baseline";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512_vnni";
    case Isa::kAvx512Bf16: return "avx512_bf16";
  }
  return "unknown";
}

}  // namespace sx
