/* kernels/cpu/isa_neon.c - ARM64: four lanes with fma. Every 64-bit ARM processor has these instructions (Advanced
 * SIMD). On other processors absent. */
#include <stdbool.h>
#define ISA neon
#if defined(__aarch64__)
#define USE_NEON 1
static bool works(void) { return true; }
#else
#define ABSENT 1
#endif
#include "kernels/cpu/isa.inc"
