/* kernels/cpu/isa_avx2.c - eight lanes. On other processors the same loops without the instructions, never chosen. */
#include <stdbool.h>
#define ISA avx2
static bool works(void)
{
#if defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
    return false;
#endif
}
#include "kernels/cpu/isa.inc"
