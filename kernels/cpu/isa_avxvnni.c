/* kernels/cpu/isa_avxvnni.c - eight lanes, and products of bytes. On other processors never chosen. */
#include <stdbool.h>
#define ISA avxvnni
static bool works(void)
{
#if defined(__AVXVNNI__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
#else
    return false;
#endif
}
#include "kernels/cpu/isa.inc"
