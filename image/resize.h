/* image/resize.h - a resize that takes its picture row by row, and its two loops
 * in plain C and AVX2. Private to image/. Both loops give the same bytes: the
 * sums are exact integers. */
#ifndef IMAGE_RESIZE_H
#define IMAGE_RESIZE_H
#include "image/formats.h"
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

struct resize {
    struct sink          sink;     /* first: where the rows of the picture come in */
    const struct resize_loops *loops; /* borrowed */
    const struct passes *p;        /* borrowed */
    struct pixels       *out;      /* borrowed: has the size of the result */
    int      height;               /* rows of the picture that comes in    */
    int      in, next;             /* rows that have come, rows that the columns' pass has made */
    int      slots;                /* rows of the ring                     */
    size_t   ring_bytes;           /* bytes of one row of the ring         */
    /* owned, (slots, ring_bytes): what the columns' pass still needs; NULL: there is no such pass */
    uint8_t *ring;
    /* owned, a row and ROW_SLACK each: what the rows' pass takes in pairs; NULL likewise */
    uint8_t *padded[2];
    const uint8_t **rows;          /* owned, one more than most taps: the rows of one output row */
};

/* The result is there once `height` rows of `width` pixels have come in. -1: memory is out; free in any case. */
int  resize_init(struct resize *s, const struct passes *p, int width, int height, struct pixels *out);
void resize_free(struct resize *s);

/* Is there such a filter? */
int  resize_check(enum filter filter, enum resizer how, struct err *e);

/* What a resize and its passes hold at most, the result aside. x, y: of the upright picture, which is stored turned by
 * `orientation`. */
size_t resize_bytes(const struct extent *x, const struct extent *y, enum filter filter, enum resizer how,
                    int orientation);

static inline uint8_t clamp_u8(int32_t v)
{
    v = v < 0 ? 0 : v;
    return (uint8_t)(v > 255 ? 255 : v);
}

#endif
