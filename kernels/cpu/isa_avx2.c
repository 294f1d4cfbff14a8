/* kernels/cpu/isa_avx2.c - eight lanes. On other processors absent. */
#include <stdbool.h>
#define ISA avx2
#if defined(__AVX2__)
static bool works(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
