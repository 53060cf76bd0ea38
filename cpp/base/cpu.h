// What the CPU can do, and the tier of kernels that follows from it.
#pragma once

namespace sx {

// Kernel tiers, worst first. kAvx512Vnni implies AVX-512 F, BW, DQ, VL and VNNI; kAvx512Bf16 adds the bf16 dot product.
enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16 };

// The best tier of this CPU and operating system (cpuid and xgetbv).
Isa detected_isa();
// detected_isa(), capped by SARDONYX_ISA (baseline, avx2, avx512, avx512_vnni, avx512_bf16) as read at the first call.
Isa active_isa();
const char* name_of(Isa isa);

}  // namespace sx
