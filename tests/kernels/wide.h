/* tests/kernels/wide.h - the inner loops with 16 lanes, as AVX-512 has them,
 * compiled for AVX2, so that their logic runs on machines without AVX-512. */
#include <math.h>                     /* before the pragma: their inline functions are for everybody */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define LANES 16
#define ISA wide
static bool works(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }
#include "kernels/cpu/isa.inc"
#pragma GCC pop_options
#else
static bool works(void) { return false; }
const struct kernels kernels_wide = { .name = "wide", .works = works };
#endif
