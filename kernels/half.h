/* kernels/half.h - the 16-bit floats of checkpoints and caches, one at a time.
 * Rounding is to nearest, ties to even; NaN stays NaN. */
#ifndef KERNELS_HALF_H
#define KERNELS_HALF_H
#include <stdint.h>

#include "kernels/ops.h"

float    bf16_get(uint16_t h);
uint16_t bf16_put(float x);
float    f16_get(uint16_t h);
uint16_t f16_put(float x);

/* Element i of an array of F32, F16 or BF16. */
float half_load(enum dtype t, const void *data, size_t i);
/* Elements i .. i + n as floats. */
void  half_load_n(enum dtype t, const void *data, size_t i, int n, float *out);
void  half_store(enum dtype t, void *data, size_t i, float x);

#endif
