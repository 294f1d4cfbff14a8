/* kernels/cpu/isa_neondot.c - as isa_neon.c, and products of bytes (FEAT_DotProd). On other processors absent. */
#include <stdbool.h>
#define ISA neondot
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <sys/auxv.h>
#define USE_NEON 1

/* The compiler names these products as a part of ARMv8.2, whose atomic operations it then takes for granted. */
static bool works(void)
{
    enum { NEEDED = HWCAP_ASIMDDP | HWCAP_ATOMICS };
    return (getauxval(AT_HWCAP) & NEEDED) == NEEDED;
}
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
