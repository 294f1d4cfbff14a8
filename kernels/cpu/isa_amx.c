/* kernels/cpu/isa_amx.c - as isa_avx512vnni.c, and tiles. On other processors absent.
 *
 * Tiles are registers that the kernel saves only for processes that have asked
 * for them: works() asks. */
#include <stdbool.h>
#define ISA amx
#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The processor has AMX with bfloat16 and int8, and the kernel saves tiles. */
static bool has_tiles(void)
{
    enum { TILE = 1 << 24, INT8_TILES = 1 << 25, BF16_TILES = 1 << 22, OSXSAVE = 1 << 27, TILE_STATE = 3 << 17 };
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & TILE_STATE) != TILE_STATE || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    return (d & TILE) && (d & BF16_TILES) && (d & INT8_TILES);
}

/* The kernel of the system has to be asked once for each process before tiles may be used; it may say no. */
static bool works(void)
{
    enum { REQUEST_PERMISSION = 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILE_DATA = 18 };
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
           has_tiles() && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
