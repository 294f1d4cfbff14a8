/* kernels/cpu/isa_generic.c - for any processor: four lanes, no fma. */
#include <stdbool.h>
#define ISA generic
static bool works(void) { return true; }
#include "kernels/cpu/isa.inc"
