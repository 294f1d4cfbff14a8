/* image/resize.h - the two loops of a separable resize, in plain C and AVX2.
 * Private to image/. Both give the same bytes: the sums are exact integers. */
#ifndef IMAGE_RESIZE_H
#define IMAGE_RESIZE_H
#include "image/passes.h"

enum { ROW_SLACK = 16 /* see taps_rows */ };

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
