// Includes SX_SIMD_SOURCE once for each ISA, in namespace sx::baseline, sx::avx2 and sx::avx512 (and sx::vnni where
// SX_SIMD_VNNI is defined, sx::bf16 where SX_SIMD_BF16 is), under the compiler's target for it.
//
// The source may hold leaf functions only: it must include no header other than vec.h and vec_math.h, and call no
// inline function from outside (a copy compiled for a newer CPU could be the one that the linker keeps). What it needs
// from the standard library is included here or before. It uses no lambda.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/cpu.h"
#include "kernels/epilogue.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define SX_TARGET_BEGIN(features) \
  SX_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define SX_TARGET_END SX_PRAGMA(clang attribute pop)
#else
#define SX_TARGET_BEGIN(features) SX_PRAGMA(GCC push_options) SX_PRAGMA(GCC target(features))
#define SX_TARGET_END SX_PRAGMA(GCC pop_options)
#endif
#define SX_PRAGMA(text) _Pragma(#text)

#define SX_INLINE inline __attribute__((always_inline))

#define SX_ISA baseline
#define SX_ISA_LEVEL 0
#include SX_SIMD_SOURCE
#undef SX_ISA
#undef SX_ISA_LEVEL

#if defined(__x86_64__)
SX_TARGET_BEGIN("avx2,fma,f16c,bmi,bmi2")
#define SX_ISA avx2
#define SX_ISA_LEVEL 1
#include SX_SIMD_SOURCE
#undef SX_ISA
#undef SX_ISA_LEVEL
SX_TARGET_END

SX_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2")
#define SX_ISA avx512
#define SX_ISA_LEVEL 2
#include SX_SIMD_SOURCE
#undef SX_ISA
#undef SX_ISA_LEVEL
SX_TARGET_END

#if defined(SX_SIMD_VNNI)
SX_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi,bmi2")
#define SX_ISA vnni
#define SX_ISA_LEVEL 3
#include SX_SIMD_SOURCE
#undef SX_ISA
#undef SX_ISA_LEVEL
SX_TARGET_END
#define SX_VNNI_NAMESPACE vnni
#else
#define SX_VNNI_NAMESPACE avx512
#endif

#if defined(SX_SIMD_BF16)
SX_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c,bmi,bmi2")
#define SX_ISA bf16
#define SX_ISA_LEVEL 4
#include SX_SIMD_SOURCE
#undef SX_ISA
#undef SX_ISA_LEVEL
SX_TARGET_END
#define SX_BF16_NAMESPACE bf16
#else
#define SX_BF16_NAMESPACE SX_VNNI_NAMESPACE
#endif

// Where the source defined a table named `name` of type T, the function for_isa picks the row for an ISA.
#define SX_DEFINE_FOR_ISA(T, name)                                                                         \
  inline const T& for_isa(::sx::Isa isa) {                                                                 \
    static const T* const rows[] = {&baseline::name, &avx2::name, &avx512::name, &SX_VNNI_NAMESPACE::name, \
                                    &SX_BF16_NAMESPACE::name};                                             \
    return *rows[static_cast<int>(isa)];                                                                   \
  }
#else
#define SX_DEFINE_FOR_ISA(T, name) \
  inline const T& for_isa(::sx::Isa) { return baseline::name; }
#endif
