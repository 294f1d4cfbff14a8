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

static float scale_of(const uint8_t *record)
{
    float scale;
    return memcpy(&scale, record, sizeof scale), scale;
}

/* The time of packing goes into pack_groups() for int4, and into pack_channel() for int8, with all that is inlined
 * there. They have the same numbers whatever they are compiled for. A sanitizer is not ready yet when a program
 * chooses between clones. */
#if defined __x86_64__ && defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define CLONED __attribute__((target_clones("avx2", "default")))
#else
#define CLONED
#endif
#define INLINED static inline __attribute__((always_inline))

typedef float    eight __attribute__((vector_size(32)));
typedef int32_t  eight_bits __attribute__((vector_size(32)));
typedef uint32_t eight_words __attribute__((vector_size(32)));
enum { EIGHTS = QUANT_GROUP / 8 };

union group { float x[QUANT_GROUP]; eight_words bits[EIGHTS]; eight v[EIGHTS]; };

/* A whole group of bfloat16: the sixteen bits become the upper half of a float's. */
INLINED void widen_group(union group *g, const uint8_t *from)
{
    typedef uint16_t halves __attribute__((vector_size(16), aligned(1), may_alias));
#pragma GCC unroll 4
    for (int v = 0; v < EIGHTS; v++)
        g->bits[v] = __builtin_convertvector(*(const halves *)(from + 16 * v), eight_words) << 16;
}

/* Columns i .. i + 31 of a row as floats, with zeros past its end, so that what works on a group need not know where
 * the row ends. */
INLINED void load_group(union group *g, enum dtype from, const void *row, int i, int in)
{
    int n = in - i < QUANT_GROUP ? in - i : QUANT_GROUP;
    if (from == BF16 && n == QUANT_GROUP) {
        widen_group(g, (const uint8_t *)row + 2 * (size_t)i);
        return;
    }
    half_load_n(from, row, (size_t)i, n, g->x);
    for (int k = n; k < QUANT_GROUP; k++)
        g->x[k] = 0;
}

/* The larger magnitudes of those seen before and a group's, in the lanes where they stand: all are whole numbers here,
 * because without their signs floats are in the order of their bits, infinity and NaN last. */
INLINED eight_bits larger(eight_bits most, const union group *g)
{
#pragma GCC unroll 4
    for (int v = 0; v < EIGHTS; v++) {
        eight_bits size = (eight_bits)(g->bits[v] & 0x7fffffff), more = size > most;
        most = (size & more) | (most & ~more);
    }
    return most;
}

/* The largest of all lanes as a float; not finite where one of the numbers is not. */
INLINED float largest_of(eight_bits most)
{
    eight_bits other, more;
    float x;
#define TAKE(...) (other = __builtin_shufflevector(most, most, __VA_ARGS__), more = other > most, \
                   most = (other & more) | (most & ~more))
    TAKE(4, 5, 6, 7, 0, 1, 2, 3);
    TAKE(2, 3, 0, 1, 6, 7, 4, 5);
    TAKE(1, 0, 3, 2, 5, 4, 7, 6);
#undef TAKE
    memcpy(&x, &most, sizeof x);
    return x;
}

INLINED float largest(const union group *g) { return largest_of(larger((eight_bits){ 0 }, g)); }

static int first_not_finite(const union group *g)
{
    int k = 0;
    while (isfinite(g->x[k]))
        k++;
    return k;
}

/* Rounds numbers of magnitudes up to about 127 to whole ones, ties to even, and keeps those: adding 1.5 * 2^23 leaves
 * them in the last bits of a float. Those of one lane of all vectors first become a word, whose bytes then go to where
 * the vectors' numbers lie. */
INLINED void round_to_bytes(uint8_t q[QUANT_GROUP], const union group *g, float factor)
{
    typedef uint8_t bytes __attribute__((vector_size(32)));
    typedef uint8_t bytes_anywhere __attribute__((vector_size(32), aligned(1), may_alias));
    eight_words lane = { 0 };
#pragma GCC unroll 4
    for (int v = EIGHTS - 1; v >= 0; v--)
        lane = lane << 8 | ((eight_words)(g->v[v] * factor + 0x1.8p23f) & 255);
    bytes all = (bytes)lane;
    *(bytes_anywhere *)q = __builtin_shufflevector(all, all, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29,
                                                   2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
}

/* Pairs within a vector: each number and its partner, taken from it where the bit is set. */
#define PAIRS(x, sign, ...)                                                              \
    _Pragma("GCC unroll 4") for (int i = 0; i < EIGHTS; i++) {                           \
        eight partner = __builtin_shufflevector((x)[i], (x)[i], __VA_ARGS__);            \
        (x)[i] = partner + (eight)((eight_bits)(x)[i] ^ (eight_bits) sign);              \
    }

/* The transform of Walsh and Hadamard over all numbers of a group, without its factor: sums and differences of
 * neighbours, of pairs, of fours, and so on. Doing it twice gives back the numbers times how many there are. */
INLINED void rotate(eight x[EIGHTS])
{
    enum { M = INT32_MIN };
#define SIGNS(...) { __VA_ARGS__ }
    PAIRS(x, SIGNS(0, M, 0, M, 0, M, 0, M), 1, 0, 3, 2, 5, 4, 7, 6)
    PAIRS(x, SIGNS(0, 0, M, M, 0, 0, M, M), 2, 3, 0, 1, 6, 7, 4, 5)
    PAIRS(x, SIGNS(0, 0, 0, 0, M, M, M, M), 4, 5, 6, 7, 0, 1, 2, 3)
#undef SIGNS
#pragma GCC unroll 2
    for (int apart = 1; apart < EIGHTS; apart *= 2)
#pragma GCC unroll 4
        for (int i = 0; i < EIGHTS; i++)
            if (!(i & apart)) {
                eight a = x[i], b = x[i + apart];
                x[i] = a + b;
                x[i + apart] = a - b;
            }
}

/* In registers: a copy byte by byte, there and back, took longer than all the rest. */
INLINED void rotate_group(union group *g, float factor)
{
    eight x[EIGHTS];
#pragma GCC unroll 4
    for (int i = 0; i < EIGHTS; i++)
        x[i] = g->v[i] * factor;
    rotate(x);
#pragma GCC unroll 4
    for (int i = 0; i < EIGHTS; i++)
        g->v[i] = x[i];
}

CLONED static void rotate_as_can_be(float x[QUANT_GROUP])
{
    union group g;
    memcpy(g.x, x, sizeof g);
    rotate_group(&g, 1);
    memcpy(x, g.x, sizeof g);
}

/* A function with clones is seen from outside whatever its visibility; so this one has none. */
void quant_rotate(float x[QUANT_GROUP]) { rotate_as_can_be(x); }

/* A group of a channel, rotated if it is to be; first made smaller then, so that no sum overflows. raw: the largest
 * numbers that were there before. */
INLINED void channel_group(union group *g, bool rotated, enum dtype from, const void *row, int i, int in,
                           eight_bits *raw)
{
    load_group(g, from, row, i, in);
    *raw = larger(*raw, g);
    if (rotated)
        rotate_group(g, 1.0f / QUANT_GROUP);
}

/* The column of the first number that is not finite in a row that has one. */
static int bad_column(enum dtype from, const void *row, int in)
{
    union group g;
    int i = 0;
    for (load_group(&g, from, row, i, in); isfinite(largest(&g)); load_group(&g, from, row, i, in))
        i += QUANT_GROUP;
    return i + first_not_finite(&g);
}

/* A row of Q8 or F8: `in` columns with one scale, found in a first pass over them. -1, or the column of the first
 * number that is not finite; then the record is incomplete. A row of nothing but very small numbers becomes zeros. */
CLONED static int pack_channel(enum dtype t, bool rotated, uint8_t *record, enum dtype from, const void *row, int in)
{
    enum { KEPT = 256 };
    union group kept[KEPT], *g = kept;     /* of a row of usual length all groups, rotated; else the last */
    bool all = in <= KEPT * QUANT_GROUP;
    eight_bits raw = { 0 }, sizes = { 0 };
    for (int i = 0; i < in; i += QUANT_GROUP, g += all) {
        channel_group(g, rotated, from, row, i, in, &raw);
        sizes = larger(sizes, g);
    }
    if (!isfinite(largest_of(raw)))
        return bad_column(from, row, in);
    float most = largest_of(sizes);
    float scale = most < TINY ? 0 : most / (t == Q8 ? 127 : 448), inverse = most < TINY ? 0 : 1 / scale;
    memcpy(record, &scale, sizeof scale);
    g = kept;
    for (int i = 0; i < in; i += QUANT_GROUP, g += all) {
        uint8_t *q = record + QUANT_HEAD + i;
        if (!all)
            channel_group(g, rotated, from, row, i, in, &raw);
        if (t == Q8)
            round_to_bytes(q, g, inverse);
        for (int k = 0; k < QUANT_GROUP && t == F8; k++)
            q[k] = f8_put(g->x[k] * inverse);
    }
    return -1;
}

/* A group's numbers as levels of Q4, and what a scale for them follows from. */
struct fit { eight_bits q[EIGHTS]; float product, square; };

/* Where among the levels a scale that is tried puts the number of the largest magnitude. */
static const float ends[] = { -128, -140, 110 };
enum { ENDS = sizeof ends / sizeof *ends };

INLINED float sum_of(eight x)
{
    eight fours = x + __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    eight twos = fours + __builtin_shufflevector(fours, fours, 2, 3, 0, 1, 6, 7, 4, 5);
    return twos[0] + twos[1];
}

/* The nearest level to each of eight numbers, as q from -8 to 7: |q| counts the middles between two levels,
 * k (8 + k) and (k + 1) (9 + k), that the number is beyond. *level becomes what q stands for. */
INLINED eight_bits nearest_level(eight t, eight *level)
{
    eight_bits sign = (eight_bits)t >> 31, n = { 0 };
    eight size = (eight)((eight_bits)t & 0x7fffffff);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++)
        n -= size >= (float)(k * k + 9 * k) + 4.5f;
    n += (n == 8) & ~sign;                               /* there is no +8 */
    *level = __builtin_convertvector(n, eight);
    *level *= *level + 8;
    *level = (eight)((eight_bits)*level ^ (sign & INT32_MIN));
    return (n ^ sign) - sign;
}

/* Of every x * inverse the nearest level. product: the sum of x * inverse * level; square: that of the squared
 * levels. */
INLINED void fit_levels(struct fit *f, const eight x[EIGHTS], float inverse)
{
    eight product = { 0 }, square = { 0 };
#pragma GCC unroll 4
    for (int i = 0; i < EIGHTS; i++) {
        eight t = x[i] * inverse, level;
        f->q[i] = nearest_level(t, &level);
        product += t * level;
        square += level * level;
    }
    f->product = sum_of(product);
    f->square = sum_of(square);
}

/* The first number of that magnitude, which the group has. */
INLINED float first_of(const union group *g, float size)
{
    eight_bits lane = { 0, 1, 2, 3, 4, 5, 6, 7 }, at = lane + 8 * EIGHTS;
    int first = 8 * EIGHTS;
#pragma GCC unroll 4
    for (int v = EIGHTS - 1; v >= 0; v--) {
        eight_bits found = (eight)(g->bits[v] & 0x7fffffff) == size;
        at = (found & (lane + 8 * v)) | (~found & at);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        first = at[i] < first ? at[i] : first;
    return g->x[first];
}

/* A group of 32 numbers as 4 bits each and a scale. Of some scales at which the number of the largest magnitude is near
 * an end of the levels, the one is taken whose levels leave the least squared error once the scale is fitted to them:
 * product^2 / square is what they take away from the sum of the squares. Then the numbers are rounded again. */
INLINED void pack_group(uint8_t *to, const union group *g, float most)
{
    typedef uint8_t bytes __attribute__((vector_size(8), aligned(1), may_alias));
    eight x[EIGHTS];
    float gain = -1, scale = 0, end = first_of(g, most);
    struct fit f = { 0 };
#pragma GCC unroll 4
    for (int i = 0; i < EIGHTS; i++)
        x[i] = g->v[i];
    for (int i = 0; i < ENDS && most >= TINY; i++) {
        fit_levels(&f, x, ends[i] / end);
        float product = f.product / ends[i], better = product * product / f.square;
        if (better > gain) {
            gain = better;
            scale = f.product / f.square * (end / ends[i]);
        }
    }
    uint16_t h = bf16_put(scale);
    if (most >= TINY)
        fit_levels(&f, x, 1 / bf16_get(h));
    memcpy(to, &h, sizeof h);
    for (int i = 0; i < EIGHTS / 2; i++)
        *(bytes *)(to + 2 + 8 * i) = __builtin_convertvector((f.q[i] + 8) | (f.q[EIGHTS / 2 + i] + 8) << 4, bytes);
}

/* ---- with feedback: eight channels at a time, a lane of a vector each ---- */

/* Eight channels' group, and the best that was found for it. */
struct fed {
    eight w[QUANT_GROUP];              /* the numbers that are to be stored                  */
    eight wanted[QUANT_GROUP];         /* those, and what the errors of earlier groups add   */
    eight most;                        /* of `wanted`: the number of the largest magnitude   */
    eight loss, scale;                 /* of the best so far; Q8: the scale is the channels' */
    eight error[QUANT_GROUP];
    eight_bits q[QUANT_GROUP];
};

INLINED eight chosen(eight_bits which, eight a, eight b)
{
    return (eight)((which & (eight_bits)a) | (~which & (eight_bits)b));
}

INLINED eight magnitude(eight x) { return (eight)((eight_bits)x & 0x7fffffff); }

/* 1 / x; 0 where x is 0 or too small for that to be a number. */
INLINED eight inverse_of(eight x) { return (eight)((eight_bits)(1 / x) & (magnitude(x) >= TINY / 256)); }

/* What is wanted of column k once the columns before it have left these errors. */
INLINED eight fed_number(const struct fed *f, const struct quant_feedback *b, const eight error[QUANT_GROUP], int k)
{
    eight y = f->wanted[k];
    for (int j = 0; j < k; j++)
        y += error[j] * b->share[j][k];
    return y;
}

/* The scale at which the group's largest number is `end`, fitted to the levels that its numbers then are nearest to,
 * and rounded as it will be stored. */
INLINED eight fed_scale(const struct fed *f, const float cost[QUANT_GROUP], float end)
{
    union { eight v; float x[8]; } scale;
    eight inverse = end * inverse_of(f->most), product = { 0 }, square = { 0 };
    for (int k = 0; k < QUANT_GROUP; k++) {
        eight level;
        nearest_level(f->wanted[k] * inverse, &level);
        product += cost[k] * f->wanted[k] * level;
        square += cost[k] * level * level;
    }
    scale.v = product * inverse_of(square);
    for (int r = 0; r < QUANT_FED_ROWS; r++)
        scale.x[r] = bf16_get(bf16_put(scale.x[r]));
    return scale.v;
}

/* Rounds the columns with this scale, one after the other, each after what the errors of those before it add. Where
 * that costs less than the best so far, it becomes that. */
INLINED void fed_try(struct fed *f, const struct quant_feedback *b, eight scale)
{
    eight inverse = inverse_of(scale), error[QUANT_GROUP], loss = { 0 };
    eight_bits q[QUANT_GROUP];
    for (int k = 0; k < QUANT_GROUP; k++) {
        eight y = fed_number(f, b, error, k), level;
        q[k] = nearest_level(y * inverse, &level);
        eight miss = y - level * scale;
        error[k] = f->w[k] - level * scale;
        loss += b->cost[k] * miss * miss;
    }
    eight_bits better = loss < f->loss;
    f->loss = chosen(better, loss, f->loss);
    f->scale = chosen(better, scale, f->scale);
    for (int k = 0; k < QUANT_GROUP; k++) {
        f->error[k] = chosen(better, error[k], f->error[k]);
        f->q[k] = (better & q[k]) | (~better & f->q[k]);
    }
}

CLONED static void fed_search(struct fed *f, const struct quant_feedback *b)
{
    f->most = (eight){ 0 };
    f->loss = (eight){ 0 } + INFINITY;
    for (int k = 0; k < QUANT_GROUP; k++)
        f->most = chosen(magnitude(f->wanted[k]) > magnitude(f->most), f->wanted[k], f->most);
    for (int i = 0; i < ENDS; i++)
        fed_try(f, b, fed_scale(f, b->cost, ends[i]));
}

/* Q8: each number becomes the nearest multiple of its channel's scale, at most 127 of it. */
CLONED static void fed_round(struct fed *f, const struct quant_feedback *b)
{
    eight inverse = inverse_of(f->scale), most = (eight){ 0 } + 127;
    for (int k = 0; k < QUANT_GROUP; k++) {
        eight n = fed_number(f, b, f->error, k) * inverse;
        n = chosen(n > most, most, chosen(n < -most, -most, n));
        n = (n + 0x1.8p23f) - 0x1.8p23f;               /* to an integer */
        f->q[k] = __builtin_convertvector(n, eight_bits);
        f->error[k] = f->w[k] - n * f->scale;
    }
}

/* Row r's group, as its type has it. */
static void put_fed(enum dtype t, uint8_t *record, int first, const struct fed *f, int r)
{
    if (t == Q8) {
        for (int k = 0; k < QUANT_GROUP; k++)
            record[QUANT_HEAD + first + k] = (uint8_t)f->q[k][r];
        return;
    }
    uint8_t *to = record + (size_t)(first / QUANT_GROUP) * QUANT_Q4_BYTES;
    uint16_t h = bf16_put(f->scale[r]);
    memcpy(to, &h, sizeof h);
    for (int k = 0; k < QUANT_GROUP / 2; k++)
        to[2 + k] = (uint8_t)((f->q[k][r] + 8) | (f->q[k + QUANT_GROUP / 2][r] + 8) << 4);
}

void quant_begin_fed(void *record, const float *w, int in)
{
    float most = 0;
    for (int i = 0; i < in; i++)
        most = fmaxf(most, fabsf(w[i]));
    float scale = most < TINY ? 0 : most / 127;
    memcpy(record, &scale, sizeof scale);
}

/* Channels that are not there get numbers of zero, and nothing is written for them. */
void quant_pack_fed(enum dtype t, void *records, size_t record_bytes, int first, const float *w, const float *wanted,
                    float *error, size_t stride, int rows, const struct quant_feedback *b)
{
    struct fed f = { 0 };
    assert(t == Q4 || t == Q8);
    for (int r = 0; r < rows; r++) {
        f.scale[r] = t == Q8 ? scale_of((const uint8_t *)records + (size_t)r * record_bytes) : 0;
        for (int k = 0; k < QUANT_GROUP; k++) {
            f.w[k][r] = w[(size_t)r * stride + (size_t)k];
            f.wanted[k][r] = wanted[r * QUANT_GROUP + k];
        }
    }
    if (t == Q8)
        fed_round(&f, b);
    else
        fed_search(&f, b);
    for (int r = 0; r < rows; r++) {
        put_fed(t, (uint8_t *)records + (size_t)r * record_bytes, first, &f, r);
        for (int k = 0; k < QUANT_GROUP; k++)
            error[(size_t)r * stride + (size_t)k] = f.error[k][r];
    }
}

int quant_pack_plain(enum dtype t, void *record, enum dtype from, const void *row, int in)
{
    assert(t == Q8 || t == F8);
    return pack_channel(t, false, record, from, row, in);
}

/* A row of Q4, group after group. -1, or the column of the first number that is not finite. */
CLONED static int pack_groups(uint8_t *record, enum dtype from, const void *row, int in)
{
    for (int i = 0; i < in; i += QUANT_GROUP, record += QUANT_Q4_BYTES) {
        union group g;
        load_group(&g, from, row, i, in);
        float most = largest(&g);
        if (!isfinite(most))
            return i + first_not_finite(&g);
        pack_group(record, &g, most);
    }
    return -1;
}

/* Packs one row of a matrix. -1, or the column of the first number that is not finite, which no scale could hold. */
int quant_pack_row(enum dtype t, void *record, enum dtype from, const void *row, int in)
{
    assert(quantised(t));
    return t == Q4 ? pack_groups(record, from, row, in) : pack_channel(t, quant_rotates(t), record, from, row, in);
}

/* One number of a packed row, multiplied out: what the reference computes with. */
float quant_get(enum dtype t, const void *record, int i)
{
    const uint8_t *p = record;
    assert(quantised(t));
    if (t == Q4) {
        uint16_t h;
        int k = i % QUANT_GROUP, half = QUANT_GROUP / 2;
        p += (size_t)(i / QUANT_GROUP) * QUANT_Q4_BYTES;
        memcpy(&h, p, sizeof h);
        return (float)quant_level(p[2 + k % half] >> (k < half ? 0 : 4) & 15) * bf16_get(h);
    }
    return (t == Q8 ? (float)(int8_t)p[QUANT_HEAD + i] : f8_get(p[QUANT_HEAD + i])) * scale_of(p);
}

/* The sums of a rotated group are of whole numbers, and exact. */
void quant_unpack_group(enum dtype t, const void *record, int i, float x[QUANT_GROUP])
{
    const int8_t *q = (const int8_t *)record + QUANT_HEAD + i;
    for (int k = 0; k < QUANT_GROUP; k++)
        x[k] = quant_rotates(t) ? (float)q[k] : quant_get(t, record, i + k);
    if (!quant_rotates(t))
        return;
    quant_rotate(x);
    for (int k = 0; k < QUANT_GROUP; k++)
        x[k] *= scale_of(record);
}

void quant_unpack_row(enum dtype t, const void *record, int in, float *x)
{
    for (int i = 0; i < in; i += QUANT_GROUP) {
        float group[QUANT_GROUP];
        quant_unpack_group(t, record, i, group);
        memcpy(x + i, group, sizeof *x * (size_t)(in - i < QUANT_GROUP ? in - i : QUANT_GROUP));
    }
}
