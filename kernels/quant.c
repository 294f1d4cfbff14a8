/* kernels/quant.c - see quant.h for the layouts. */
#include "kernels/quant.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/half.h"

static const float TINY = 0x1p-100f;             /* a group or row that holds nothing larger is stored as zeros */

static int groups_of(int in) { return (in + QUANT_GROUP - 1) / QUANT_GROUP; }

size_t quant_row_bytes(enum dtype t, int in)
{
    if (t == Q4)
        return (size_t)groups_of(in) * QUANT_Q4_BYTES;
    return quantised(t) ? QUANT_HEAD + (size_t)groups_of(in) * QUANT_GROUP : (size_t)in * dtype_size(t);
}

/* The float of f16 with the same bits is 2^8 too small; a product puts it right, for denormals too. */
float f8_get(uint8_t b) { return f16_get((uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7)) * 256; }

uint8_t f8_put(float x)
{
    float small = fminf(fabsf(x), 448) * 0x1p-120f;      /* exponent and fraction stand where a float has them */
    uint32_t u;
    memcpy(&u, &small, sizeof u);
    return (uint8_t)((u + 0x7ffff + (u >> 20 & 1)) >> 20 | (signbit(x) ? 0x80 : 0));
}

/* To the nearest whole number, ties to even, for |x| < 2^22. */
static inline float nearest(float x) { return x + 0x1.8p23f - 0x1.8p23f; }

/* x, or the bound that it lies beyond. */
static inline float between(float x, float low, float high)
{
    if (x < low)
        return low;
    return x > high ? high : x;
}

/* Columns i .. i + 32 of a row, zeros past its end. */
static void load_group(float x[QUANT_GROUP], enum dtype from, const void *row, int i, int in)
{
    int n = in - i < QUANT_GROUP ? in - i : QUANT_GROUP;
    half_load_n(from, row, (size_t)i, n, x);
    for (int k = n; k < QUANT_GROUP; k++)
        x[k] = 0;
}

/* The largest magnitude. Eight at a time, as in the loops below: that is what the compiler makes vectors of. */
static float largest(const float x[QUANT_GROUP])
{
    float most[8] = { 0 };
    for (int k = 0; k < QUANT_GROUP; k += 8)
        for (int j = 0; j < 8; j++)
            most[j] = fabsf(x[k + j]) > most[j] ? fabsf(x[k + j]) : most[j];
    for (int j = 1; j < 8; j++)
        most[0] = most[j] > most[0] ? most[j] : most[0];
    return most[0];
}

/* -1, or the first that is not finite: a difference with itself is NaN then. */
static int not_finite(const float x[QUANT_GROUP])
{
    float sum[8] = { 0 }, all = 0;
    int k = 0;
    for (int i = 0; i < QUANT_GROUP; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += x[i + j] - x[i + j];
    for (int j = 0; j < 8; j++)
        all += sum[j];
    if (all == 0)
        return -1;
    while (isfinite(x[k]))
        k++;
    return k;
}

/* Q8 and F8: `in` columns with one scale. */
static int pack_channel(enum dtype t, uint8_t *record, enum dtype from, const void *row, int in)
{
    float x[QUANT_GROUP], most = 0;
    for (int i = 0; i < in; i += QUANT_GROUP) {
        load_group(x, from, row, i, in);
        int bad = not_finite(x);
        if (bad >= 0)
            return i + bad;
        most = fmaxf(most, largest(x));
    }
    float scale = most < TINY ? 0 : most / (t == Q8 ? 127 : 448), inverse = most < TINY ? 0 : 1 / scale;
    memcpy(record, &scale, sizeof scale);
    for (int i = 0; i < in; i += QUANT_GROUP) {
        uint8_t *q = record + QUANT_HEAD + i;
        load_group(x, from, row, i, in);
        for (int k = 0; k < QUANT_GROUP && t == Q8; k++)
            q[k] = (uint8_t)(int8_t)between(nearest(x[k] * inverse), -127, 127);
        for (int k = 0; k < QUANT_GROUP && t == F8; k++)
            q[k] = f8_put(x[k] * inverse);
    }
    return -1;
}

/* q of a group with this scale; returns the sum of the squared errors. */
static float round_group(float q[QUANT_GROUP], const float x[QUANT_GROUP], float scale)
{
    float inverse = 1 / scale, error[8] = { 0 };
    for (int k = 0; k < QUANT_GROUP; k += 8)
        for (int j = 0; j < 8; j++) {
            float v = nearest(x[k + j] * inverse);       /* -8 .. 8 */
            q[k + j] = v = v > 7 ? 7 : v;
            float d = x[k + j] - v * scale;
            error[j] += d * d;
        }
    for (int j = 1; j < 8; j++)
        error[0] += error[j];
    return error[0];
}

/* A group of 32 numbers as 4 bits each and a scale. Two scales are tried, one that makes the number of largest
 * magnitude 7 or -7, and one that makes it -8, whichever its sign; the one whose squared error is less is taken. */
static void pack_group(uint8_t *to, const float x[QUANT_GROUP])
{
    float q[2][QUANT_GROUP] = { { 0 } };
    float most = largest(x);
    int best = 0, at = 0;
    while (fabsf(x[at]) != most)
        at++;
    uint16_t scale[2] = { bf16_put(most / 7), bf16_put(x[at] / -8) };
    if (most < TINY)
        scale[0] = 0;
    else
        best = round_group(q[1], x, bf16_get(scale[1])) < round_group(q[0], x, bf16_get(scale[0]));
    memcpy(to, &scale[best], sizeof *scale);
    for (int k = 0; k < QUANT_GROUP / 2; k++)
        to[2 + k] = (uint8_t)(((int)q[best][k] + 8) | ((int)q[best][QUANT_GROUP / 2 + k] + 8) << 4);
}

/* Packs one row of a matrix. -1, or the column of the first number that is not finite, which no scale could hold. */
int quant_pack_row(enum dtype t, void *record, enum dtype from, const void *row, int in)
{
    assert(quantised(t));
    if (t != Q4)
        return pack_channel(t, record, from, row, in);
    for (int i = 0; i < in; i += QUANT_GROUP) {
        float x[QUANT_GROUP];
        load_group(x, from, row, i, in);
        int bad = not_finite(x);
        if (bad >= 0)
            return i + bad;
        pack_group((uint8_t *)record + (size_t)(i / QUANT_GROUP) * QUANT_Q4_BYTES, x);
    }
    return -1;
}

/* One number of a packed row, multiplied out: what the reference computes with. */
float quant_get(enum dtype t, const void *record, int i)
{
    const uint8_t *p = record;
    float scale;
    assert(quantised(t));
    if (t == Q4) {
        uint16_t h;
        int k = i % QUANT_GROUP, half = QUANT_GROUP / 2;
        p += (size_t)(i / QUANT_GROUP) * QUANT_Q4_BYTES;
        memcpy(&h, p, sizeof h);
        return (float)((p[2 + k % half] >> (k < half ? 0 : 4) & 15) - 8) * bf16_get(h);
    }
    memcpy(&scale, p, sizeof scale);
    return (t == Q8 ? (float)(int8_t)p[QUANT_HEAD + i] : f8_get(p[QUANT_HEAD + i])) * scale;
}

void quant_unpack_row(enum dtype t, const void *record, int in, float *x)
{
    for (int i = 0; i < in; i++)
        x[i] = quant_get(t, record, i);
}
