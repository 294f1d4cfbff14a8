/* kernels/quant.h - quantised weights, defined once for all backends.
 *
 * A row of `in` numbers (one output channel) becomes a record of bytes without
 * padding between records. Symmetric: a stored number q stands for q * scale,
 * there is no zero point, and 0 stays 0. All words are little-endian. A row is
 * filled with zeros up to a multiple of QUANT_GROUP columns.
 *
 *   Q8  int8, one scale per row
 *         bytes 0..3     scale, float32
 *         byte  4 + i    q[i], -127..127
 *   F8  float8 e4m3 (1 sign, 4 exponent, 3 fraction bits, bias 7, no infinity;
 *       Micikevicius et al., 2022), one scale per row; laid out as Q8
 *   Q4  int4, one scale per group of 32 columns; a group is
 *         bytes 0..1     scale, bfloat16, may be negative
 *         byte  2 + i    q[i] + 8 in the low, q[16 + i] + 8 in the high half;
 *                        q is -8..7
 *
 *   bytes per row of K columns, K a multiple of 32: 4 + K, 4 + K, K * 18 / 32
 *
 * Packing rounds to nearest. Scales are max|x| / 127, max|x| / 448 and, for Q4,
 * the better by square error of max|x| / 7 and x / -8 with x the number of the
 * largest magnitude: the latter uses all sixteen levels, but cuts off what is
 * nearly as large with the other sign. So |q * scale - x| is at most half a
 * scale for Q8; for Q4 one scale, and in the root mean square of a group half
 * of max|x| / 7; for F8 a sixteenth of |x|, or 2^-10 of the scale where that is
 * more (each but for the rounding of the scale itself). Where max|x| is below
 * 2^-100 all are 0. NaN and infinity cannot be stored: packing refuses. */
#ifndef KERNELS_QUANT_H
#define KERNELS_QUANT_H
#include "kernels/ops.h"

enum {
    QUANT_GROUP    = 32,
    QUANT_HEAD     = 4,   /* bytes before the numbers of Q8 and F8 */
    QUANT_Q4_BYTES = 18   /* of a group                            */
};

static inline bool quantised(enum dtype t) { return t == Q8 || t == Q4 || t == F8; }

/* Bytes of a row of `in` numbers; also of the plain types. */
size_t quant_row_bytes(enum dtype t, int in);

/* One row of `in` numbers of type `from` (F32, F16 or BF16) as t, which is Q8, Q4 or F8. -1, or the column of the first
 * number that is not finite; then the record holds nothing of use. */
int  quant_pack_row(enum dtype t, void *record, enum dtype from, const void *x, int in);

/* The number that column i stands for; all of them. */
float quant_get(enum dtype t, const void *record, int i);
void  quant_unpack_row(enum dtype t, const void *record, int in, float *x);

/* One number of e4m3: to the nearest, at most 448; and back. */
uint8_t f8_put(float x);
float   f8_get(uint8_t b);

#endif
