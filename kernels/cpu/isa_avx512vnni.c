/* kernels/cpu/isa_avx512vnni.c - sixteen lanes, and products of bytes. On other processors absent. */
#include <stdbool.h>
#define ISA avx512vnni
#if defined(__AVX512VNNI__)
static bool works(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
