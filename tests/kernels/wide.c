/* tests/kernels/wide.c - the inner loops with 16 lanes, as AVX-512 has them, compiled for AVX2, so that their logic
 * runs on machines without AVX-512; with the kernels of AMX on emulated tiles, and without. Compiling this takes half a
 * minute and a gigabyte, so it is an object of its own that tests need not build again. */
#include <math.h>                     /* before the pragma: their inline functions are for everybody */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define LANES 16
#define EMULATE_TILES 1
#define ISA tiles
static bool works(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#include "kernels/cpu/isa.inc"
const struct kernels kernels_wide = {
    .name = "wide", .works = works,
    .linear = { &bf16_kernel, &int8_kernel, &int4_kernel, &rotated_kernel, &float_kernel },
    .attend = attend_task, .prep = prep_row, .norm = norm_row, .embed = embed_row, .dwconv = dwconv_row,
};
#pragma GCC pop_options
#else
static bool works(void) { return false; }
const struct kernels kernels_wide = { .name = "wide", .works = works },
    kernels_tiles = { .name = "tiles", .works = works };
#endif
