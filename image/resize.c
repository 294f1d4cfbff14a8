/* image/resize.c - resizing that equals the reference byte for byte: Pillow's
 * Image.resize() or torchvision's resize(uint8, antialias=True).
 *
 * Both are separable, rows and columns, each pass rounded to bytes, so their
 * order shows; a side that keeps its length is not touched. torchvision
 * does the rows first; Pillow 13 (not earlier ones) the columns when that
 * shrinks the picture enough (columns_first). Of the first pass only as many rows are
 * kept as one output row needs, so that they stay in the cache. */
#include "image/formats.h"
#include "image/resize.h"
#include "image/taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the loops in plain C ------------------------------------------------ */

static void one_row(uint8_t *out, const uint8_t *in, const struct taps *t)
{
    const int32_t half = 1 << (t->bits - 1);
    for (int i = 0; i < t->n; i++) {
        const int32_t *w = t->weight + (size_t)i * (size_t)t->stride;
        const uint8_t *p = in + (size_t)t->start[i] * 3;
        int32_t r = half, g = half, b = half;
        for (int j = 0; j < t->count[i]; j++, p += 3) {
            r += p[0] * w[j];
            g += p[1] * w[j];
            b += p[2] * w[j];
        }
        *out++ = clamp_u8(r >> t->bits);
        *out++ = clamp_u8(g >> t->bits);
        *out++ = clamp_u8(b >> t->bits);
    }
}

static void taps_rows_c(uint8_t *const out[2], const uint8_t *const in[2], const struct taps *t)
{
    one_row(out[0], in[0], t);
    if (out[1] != out[0]) one_row(out[1], in[1], t);
}

/* In blocks, so that the sums stay in registers and the compiler vectorises. */
static void taps_column_c(uint8_t *out, const uint8_t *const *rows, const struct taps *t, int i, size_t n)
{
    enum { BLOCK = 64 };
    const int32_t *w = t->weight + (size_t)i * (size_t)t->stride;
    for (size_t at = 0; at < n; at += BLOCK) {
        int m = n - at < BLOCK ? (int)(n - at) : BLOCK;
        int32_t sum[BLOCK];
        for (int x = 0; x < BLOCK; x++) sum[x] = 1 << (t->bits - 1);
        for (int j = 0; j < t->count[i]; j++) {
            const uint8_t *p = rows[j] + at;
            if (m == BLOCK)
                for (int x = 0; x < BLOCK; x++) sum[x] += p[x] * w[j];
            else
                for (int x = 0; x < m; x++) sum[x] += p[x] * w[j];
        }
        for (int x = 0; x < m; x++) out[at + (size_t)x] = clamp_u8(sum[x] >> t->bits);
    }
}

const struct resize_loops resize_loops_c = { taps_rows_c, taps_column_c };

const struct resize_loops *resize_loops_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &resize_loops_avx2;
#endif
    return &resize_loops_c;
}

/* --- the passes ---------------------------------------------------------- */

/* Measured with Pillow 13.0 and seen in its machine code; torchvision has no such rule. */
static bool columns_first(int lower, int narrower, enum resizer how)
{
    return how == RESIZER_PIL && lower > 0 && lower > 2L * narrower;
}

int passes_init(struct passes *p, int width, int height, int to_width, int to_height, enum filter filter, enum resizer how)
{
    *p = (struct passes){ .columns_first = columns_first(height - to_height, width - to_width, how) };
    if ((width != to_width && taps_init(&p->x, width, to_width, filter, how)) ||
        (height != to_height && taps_init(&p->y, height, to_height, filter, how))) {
        passes_free(p);
        return -1;
    }
    return 0;
}

bool passes_nth(const struct passes *p, int i, int *width, int *height, struct pass *out)
{
    int n = (p->x.n > 0) + (p->y.n > 0);
    bool columns = n == 2 ? p->columns_first == (i == 0) : p->y.n > 0;
    if (i >= n) return false;
    *out = columns ? (struct pass){ &p->y, 1, *height, *width * 3 } : (struct pass){ &p->x, *height, *width, 3 };
    *(columns ? height : width) = out->taps->n;
    return true;
}

void passes_free(struct passes *p)
{
    taps_free(&p->x);
    taps_free(&p->y);
}

struct resize {
    const struct resize_loops *loops; /* borrowed */
    const struct pixels       *in;    /* borrowed */
    struct pixels             *out;   /* borrowed */
    struct passes p;       /* owned */
    int         slots;     /* of the ring: most taps, and one for the second of a pair */
    uint8_t    *ring;      /* owned, (slots, out->width, 3): rows first           */
    uint8_t    *padded[2]; /* owned, (in->width, 3) and ROW_SLACK                 */
    const uint8_t **rows;  /* owned, (slots): the rows of one output row          */
};

/* Where the input row y goes when it has the output's width. */
static uint8_t *row_target(struct resize *s, int y)
{
    size_t bytes = (size_t)s->out->width * 3;
    return s->ring ? s->ring + (size_t)(y % s->slots) * bytes : s->out->data + (size_t)y * bytes;
}

/* The input rows y and y + 1 (if there is one) resized to the output's width. */
static void resize_rows(struct resize *s, int y)
{
    size_t bytes = (size_t)s->in->width * 3, total = bytes * (size_t)s->in->height;
    const uint8_t *in[2];
    uint8_t *out[2];
    for (int k = 0; k < 2; k++) {
        int r = y + k < s->in->height ? y + k : y;
        size_t at = bytes * (size_t)r;
        bool near_end = total - at < bytes + ROW_SLACK;
        in[k] = near_end ? memcpy(s->padded[k], s->in->data + at, bytes) : s->in->data + at;
        out[k] = row_target(s, r);
    }
    s->loops->taps_rows(out, in, &s->p.x);
}

static void rows_only(struct resize *s)
{
    for (int y = 0; y < s->out->height; y += 2) resize_rows(s, y);
}

/* The first pass of output row i of a picture with the input's width. */
static void resize_column(struct resize *s, uint8_t *to, int i)
{
    size_t bytes = (size_t)s->in->width * 3;
    int start = s->p.y.start[i], count = s->p.y.count[i];
    for (int j = 0; j < count; j++) s->rows[j] = s->in->data + (size_t)(start + j) * bytes;
    s->rows[count] = s->rows[count - 1];
    s->loops->taps_column(to, s->rows, &s->p.y, i, bytes);
}

static void columns_then_rows(struct resize *s)
{
    const uint8_t *const in[2] = { s->padded[0], s->padded[1] };
    for (int i = 0; i < s->p.y.n; i += 2) {
        int second = i + 1 < s->p.y.n ? i + 1 : i;
        resize_column(s, s->padded[0], i);
        resize_column(s, s->padded[1], second);
        uint8_t *const out[2] = { row_target(s, i), row_target(s, second) };
        s->loops->taps_rows(out, in, &s->p.x);
    }
}

static void columns_only(struct resize *s)
{
    for (int i = 0; i < s->p.y.n; i++) resize_column(s, row_target(s, i), i);
}

static void rows_then_columns(struct resize *s)
{
    size_t bytes = (size_t)s->out->width * 3;
    int done = 0; /* input rows below this one are resized, or not needed any more */
    for (int i = 0; i < s->p.y.n; i++) {
        int start = s->p.y.start[i], count = s->p.y.count[i];
        for (done = done < start ? start : done; done < start + count; done += 2) resize_rows(s, done);
        for (int j = 0; j < count; j++) s->rows[j] = row_target(s, start + j);
        s->rows[count] = s->rows[count - 1];
        s->loops->taps_column(s->out->data + (size_t)i * bytes, s->rows, &s->p.y, i, bytes);
    }
}

static int resize_init(struct resize *s, enum filter filter, enum resizer how)
{
    const struct pixels *in = s->in, *out = s->out;
    bool across = in->width != out->width, down = in->height != out->height;
    if (passes_init(&s->p, in->width, in->height, out->width, out->height, filter, how)) return -1;
    s->slots = s->p.y.most + 1;
    for (int k = 0; k < 2; k++)
        if (across && !(s->padded[k] = calloc((size_t)in->width * 3 + ROW_SLACK, 1))) return -1;
    if (down && !(s->rows = calloc((size_t)s->slots, sizeof *s->rows))) return -1;
    if (across && down && !s->p.columns_first &&
        !(s->ring = malloc((size_t)s->slots * (size_t)out->width * 3)))
        return -1;
    return 0;
}

static void resize_free(struct resize *s)
{
    passes_free(&s->p);
    free(s->ring);
    free(s->padded[0]);
    free(s->padded[1]);
    free(s->rows);
}

static int resample(struct pixels *out, const struct pixels *in, enum filter filter, enum resizer how, struct err *e)
{
    struct resize s = { .loops = resize_loops_best(), .in = in, .out = out };
    int rc = resize_init(&s, filter, how);
    if (rc)
        image_no_memory(e, 0);
    else if (s.ring)
        rows_then_columns(&s);
    else if (!s.p.y.n)
        rows_only(&s);
    else if (!s.p.x.n)
        columns_only(&s);
    else
        columns_then_rows(&s);
    resize_free(&s);
    return rc;
}

/* --- nearest ------------------------------------------------------------- */

/* torchvision's nearest-exact is torch's, which computes in float and has two
 * kernels that round differently; the size of the result chooses (measured). */
enum { TORCH_SMALL = 128 /* width + height */ };

static int torch_index(int i, float scale, bool small)
{
    float at = (float)i + 0.5f;
    return (int)(small ? floorf(at * scale) : floorf(fmaf(at, scale, -0.5f) + 0.5f));
}

static void nearest_index(int *index, int from, int to, enum resizer how, bool small)
{
    double step = (double)from / to, at = step * 0.5;
    float scale = (float)from / (float)to;
    for (int i = 0; i < to; i++, at += step) { /* Pillow adds up too, and collects the rounding errors */
        int k = how == RESIZER_PIL ? (int)at : torch_index(i, scale, small);
        index[i] = k < from ? k : from - 1;
    }
}

static int nearest(struct pixels *out, const struct pixels *in, enum resizer how, struct err *e)
{
    size_t bytes = ((size_t)out->width + (size_t)out->height) * sizeof(int);
    int *x = malloc(bytes);
    if (!x) return image_no_memory(e, bytes);
    int *y = x + out->width;
    bool small = out->width + out->height <= TORCH_SMALL;
    nearest_index(x, in->width, out->width, how, small);
    nearest_index(y, in->height, out->height, how, small);
    uint8_t *d = out->data;
    for (int r = 0; r < out->height; r++) {
        const uint8_t *row = in->data + (size_t)y[r] * (size_t)in->width * 3;
        for (int c = 0; c < out->width; c++, d += 3) memcpy(d, row + (size_t)x[c] * 3, 3);
    }
    free(x);
    return 0;
}

int pixels_resize(struct pixels *out, const struct pixels *in, int width, int height, enum filter filter,
                  enum resizer how, struct err *e)
{
    *out = (struct pixels){ 0 };
    if ((unsigned)filter > FILTER_HAMMING) return err_set(e, "no resize filter has the number %d", (int)filter);
    if (how == RESIZER_TORCHVISION && (filter == FILTER_BOX || filter == FILTER_HAMMING))
        return err_set(e, "torchvision does not resize with the %s filter", filter == FILTER_BOX ? "box" : "hamming");
    if (pixels_alloc(out, width, height, e)) return -1;
    int rc = 0;
    if (width == in->width && height == in->height)
        memcpy(out->data, in->data, (size_t)width * (size_t)height * 3);
    else if (filter == FILTER_NEAREST)
        rc = nearest(out, in, how, e);
    else
        rc = resample(out, in, filter, how, e);
    if (rc) pixels_free(out);
    return rc;
}
