/* kernels/cpu/isa_avx512vnni.c - sixteen lanes, and products of bytes. On other processors never chosen. */
#include <stdbool.h>
#define ISA avx512vnni
static bool works(void)
{
#if defined(__AVX512VNNI__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
    return false;
#endif
}
#include "kernels/cpu/isa.inc"
