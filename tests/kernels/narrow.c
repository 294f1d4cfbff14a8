/* tests/kernels/narrow.c - the inner loops with four lanes and signed products of bytes, as ARM64 has them, in plain C,
 * so that their arithmetic runs on every machine. Compiled apart from the tests for the same reason as wide.c. */
#include <stdbool.h>
#define LANES 4
#define EMULATE_SIGNED 1
#define ISA narrow
static bool works(void) { return true; }
#include "kernels/cpu/isa.inc"
