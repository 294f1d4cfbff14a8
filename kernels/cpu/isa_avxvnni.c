/* kernels/cpu/isa_avxvnni.c - eight lanes, and products of bytes. On other processors absent. */
#include <stdbool.h>
#define ISA avxvnni
#if defined(__AVXVNNI__)
static bool works(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
