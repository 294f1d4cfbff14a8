/* kernels/quant.h - quantised weights, defined once for all backends.
 *
 * A row of `in` numbers (one output channel) becomes a record of bytes without
 * padding between records. A stored number q stands for q * scale, with Q4 for
 * q (8 + |q|) * scale; there is no zero point, and 0 stays 0. All words are little-endian. A row is
 * filled with zeros up to a multiple of QUANT_GROUP columns.
 *
 *   Q8  int8, one scale per row
 *         bytes 0..3     scale, float32
 *         byte  4 + i    q[i], -127..127
 *       A row of a weight is rotated: column i of a group stands for the i-th of
 *       the sums H q that quant_rotate() makes of its 32 numbers, times the scale.
 *       A head of a cache (kernels/kv.h) is not
 *   F8  float8 e4m3 (1 sign, 4 exponent, 3 fraction bits, bias 7, no infinity;
 *       Micikevicius et al., 2022), one scale per row; laid out as Q8
 *   Q4  int4, one scale per group of 32 columns; a group is
 *         bytes 0..1     scale, bfloat16, may be negative
 *         byte  2 + i    q[i] + 8 in the low, q[16 + i] + 8 in the high half;
 *                        q is -8..7 and stands for one of sixteen levels,
 *                        -128 -105 -84 -65 -48 -33 -20 -9 0 9 20 33 48 65 84 105
 *
 *   bytes per row of K columns, K a multiple of 32: 4 + K, 4 + K, K * 18 / 32
 *
 * Weights are denser near 0 than far from it, and so are the levels of Q4: with
 * equal steps the root mean square error of trained matrices is a tenth to a
 * seventh larger. A level fits into a byte, so that products of whole numbers
 * take it like a number of Q8.
 *
 * Rotating spreads what one column has over the 32 of its group, so that no
 * large number makes the steps coarse for all others. Of weights, q is x' / scale
 * with x' = H x / 32. A product needs no other weights for it: H is symmetric,
 * so the sum over x (H q) is that over (H x) q, and x is rotated once for all
 * rows. What rounding x to int8 loses shrinks likewise. (Ashkboos et al., QuaRot,
 * 2024, rotate all of a row, by matrices that are folded into the weights.) On a
 * trained model of 135 million parameters the divergence of int8 weights and
 * activations fell from 0.0115 to 0.0044, as far as with scales for each 32
 * columns of both, which would cost a conversion and two products of floats for
 * every 32 columns of each sum. Int4 is not rotated: its groups have scales of
 * their own, and the divergence of the same model grew by a quarter.
 *
 * Packing rounds to the nearest number that can be stored. Scales are
 * max|x| / 127 (of weights max|x'| / 127) and max|x| / 448. For Q4 three are tried that make the number of
 * the largest magnitude, whichever its sign, -128, -140 or 110, the latter two
 * cut off; the levels that fit best decide, and the scale becomes that of the
 * least squared error to them. So |q * scale - x| is at most half a scale for
 * Q8 (|q * scale - x'| of weights); for F8 a sixteenth of |x|, or 2^-10 of the scale where that is more; for
 * Q4 in the root mean square of a group less than max|x| / 14 (each but for the
 * rounding of the scale itself). Where max|x| is below 2^-100 all are 0. NaN and
 * infinity cannot be stored: packing refuses. */
#ifndef KERNELS_QUANT_H
#define KERNELS_QUANT_H
#include "kernels/ops.h"

enum {
    QUANT_GROUP    = 32,
    QUANT_HEAD     = 4,   /* bytes before the numbers of Q8 and F8 */
    QUANT_Q4_BYTES = 18   /* of a group                            */
};

static inline bool quantised(enum dtype t) { return t == Q8 || t == Q4 || t == F8; }

/* What a half byte 0..15 of Q4 stands for, in scales. */
static inline int quant_level(int half) { return (half - 8) * (8 + (half < 8 ? 8 - half : half - 8)); }

/* Bytes of a row of `in` numbers; also of the plain types. */
size_t quant_row_bytes(enum dtype t, int in);

/* One row of a weight, `in` numbers of type `from` (F32, F16 or BF16), as t, which is Q8, Q4 or F8. -1, or the column
 * of the first number that is not finite; then the record holds nothing of use. quant_pack_plain: the same without
 * rotating, as Q8 or F8. */
int  quant_pack_row(enum dtype t, void *record, enum dtype from, const void *x, int in);
int  quant_pack_plain(enum dtype t, void *record, enum dtype from, const void *x, int in);

/* What a group of Q4 or Q8 is rounded for, when it is known what it will be multiplied with: H = X' X of the rows of X
 * that a sample of inputs gave, H = U D U' with a diagonal D and U of ones on the diagonal and zeros below it. Then a
 * row of errors e costs e H e' = sum over k of D[k] (e[k] + sum over j < k of e[j] U[j][k])^2, and each column is
 * rounded after the errors of those before it have been added to it in that way. (Frantar et al., GPTQ, 2022; in this
 * form Chee et al., QuIP, 2023.) */
struct quant_feedback {
    float cost[QUANT_GROUP];               /* D of the group's columns                                  */
    float share[QUANT_GROUP][QUANT_GROUP]; /* U: what column k takes over of the error of column j < k  */
};
enum { QUANT_FED_ROWS = 8 };

/* The scale of a row of Q8, for all of its `in` numbers, which are rotated. It goes into the record, from which
 * quant_pack_fed() takes it. */
void quant_begin_fed(void *record, const float *w, int in);

/* The group of up to QUANT_FED_ROWS rows that begins at column `first`, as Q4 or Q8: the first row's record is at
 * `records`, each record_bytes behind the one before. w and error have `stride` numbers from row to row, `wanted`
 * (rows, 32): w with what the errors of all earlier groups add. error becomes w less what is stored. Q4 takes of the
 * scales that are tried the one that costs least; of Q8 w and what b is about are rotated. All numbers must be
 * finite. */
void quant_pack_fed(enum dtype t, void *records, size_t record_bytes, int first, const float *w, const float *wanted,
                    float *error, size_t stride, int rows, const struct quant_feedback *b);

/* Columns i .. i + 31 of a row of a weight, of which i is the first of a group; all of them. */
void  quant_unpack_group(enum dtype t, const void *record, int i, float x[QUANT_GROUP]);
void  quant_unpack_row(enum dtype t, const void *record, int in, float *x);
/* The number that column i of a row stands for that was not rotated. */
float quant_get(enum dtype t, const void *record, int i);

/* x becomes H x: number i the sum of all numbers k, each less where i and k have an odd number of bits in common
 * (Walsh and Hadamard). Twice gives 32 x. It adds and subtracts the pairs of columns whose numbers differ in bit 0,
 * then in bit 1, and so on to bit 4; whoever does the same in this order gets the same bits. */
void quant_rotate(float x[QUANT_GROUP]);

static inline bool quant_rotates(enum dtype t) { return t == Q8; }

/* One number of e4m3: to the nearest, at most 448; and back. */
uint8_t f8_put(float x);
float   f8_get(uint8_t b);

#endif
