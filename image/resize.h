/* image/resize.h - the two loops of a separable resize, in plain C and AVX2.
 * Private to image/. Both give the same bytes: the sums are exact integers.
 *
 * One side of the picture is resized by `struct taps`: output i is the sum of
 * count[i] inputs from start[i] on, each times its weight, plus a half, shifted
 * right by `bits` and clamped to 0..255. |sum| stays under 2^31: the weights
 * of one output add up to 1 << bits and the negative ones to little. */
#ifndef IMAGE_RESIZE_H
#define IMAGE_RESIZE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAP_GROUP = 4 /* weights are padded to groups with zeros */, ROW_SLACK = 16 /* see taps_rows */ };

struct taps {
    int      n, stride;  /* outputs; weights stored for each, a multiple of TAP_GROUP */
    int      bits;       /* of the fraction                                           */
    int      most;       /* largest count                                             */
    bool     wide;       /* weights need more than 16 bits: `high` is in use           */
    int     *start;      /* owned, (n), never decreasing                              */
    int     *count;      /* owned, (n)                                                */
    int32_t *weight;     /* owned, (n, stride)                                        */
    int16_t *low, *high; /* owned, (n, stride): weight = high * 2^12 + low            */
};

struct resize_loops {
    /* Two rows of RGB: out (t->n, 3) from in; both may be the same row twice.
     * May read (never use) up to ROW_SLACK bytes beyond an input row. */
    void (*taps_rows)(uint8_t *const out[2], const uint8_t *const in[2], const struct taps *t);
    /* Output i of the other side: n bytes from count[i] rows. rows[count[i]]
     * is a readable row too (its weight is 0). */
    void (*taps_column)(uint8_t *out, const uint8_t *const *rows, const struct taps *t, int i, size_t n);
};

extern const struct resize_loops resize_loops_c, resize_loops_avx2;

const struct resize_loops *resize_loops_best(void); /* that this machine can run */

static inline uint8_t clamp_u8(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

#endif
