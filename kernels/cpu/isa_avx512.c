/* kernels/cpu/isa_avx512.c - sixteen lanes. On other processors the same loops without the instructions, never
 * chosen. */
#include <stdbool.h>
#define ISA avx512
static bool works(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
#else
    return false;
#endif
}
#include "kernels/cpu/isa.inc"
