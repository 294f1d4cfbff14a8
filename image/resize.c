/* image/resize.c - resizing that equals the reference byte for byte: Pillow's
 * Image.resize() or torchvision's resize(uint8, antialias=True).
 *
 * Both are separable, rows and columns, each pass rounded to bytes, so their
 * order shows; a side that keeps its length is not touched. torchvision
 * does the rows first; Pillow 13 (not earlier ones) the columns when that
 * shrinks the picture enough (columns_first).
 *
 * The picture comes in row by row, from memory or from a decoder, and only as
 * many rows are kept as one output row needs: a picture of 48 megapixels takes
 * as much memory as its result and a few dozen of its rows. */
#include "image/formats.h"
#include "image/resize.h"
#include "image/taps.h"

#include <stdlib.h>
#include <string.h>

/* --- the loops in plain C ------------------------------------------------ */

/* Each output pixel is a sum over count[i] input pixels from start[i] on, rounded once at the end. */
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

/* n bytes of one output row from the rows in `rows`. It works in blocks of 64 columns, so that the sums stay in
 * registers and the compiler vectorises the loop over them. */
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

/* AVX2 where the machine has it; both give the same bytes. */
const struct resize_loops *resize_loops_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &resize_loops_avx2;
#endif
    return &resize_loops_c;
}

/* --- the passes ---------------------------------------------------------- */

/* Which order Pillow 13 takes. Measured, and seen in its machine code; torchvision always does the rows first. */
static bool columns_first(int lower, int narrower, enum resizer how)
{
    return how == RESIZER_PIL && lower > 0 && lower > 2L * narrower;
}

/* Weights for one side; none where it keeps its length. */
static int side_init(struct taps *t, const struct extent *side, int64_t all, enum filter filter, enum resizer how)
{
    if (side->from == side->to) return 0;
    if (filter == FILTER_NEAREST) return taps_nearest(t, side, all, how);
    return taps_init(t, side, filter, how);
}

/* Prepares both passes of a resize and their order, which shows in the bytes. -1: memory, and nothing is left to
 * free. */
int passes_init_part(struct passes *p, const struct extent *x, const struct extent *y, enum filter filter,
                     enum resizer how)
{
    int64_t all = (int64_t)x->to + y->to;
    *p = (struct passes){ .columns_first = columns_first(y->from - y->to, x->from - x->to, how) };
    if (side_init(&p->x, x, all, filter, how) || side_init(&p->y, y, all, filter, how)) {
        passes_free(p);
        return -1;
    }
    return 0;
}

int passes_init(struct passes *p, int width, int height, const struct resize_to *to)
{
    struct extent x = { width, to->width, 0, to->width }, y = { height, to->height, 0, to->height };
    return passes_init_part(p, &x, &y, to->filter, to->how);
}

/* Orientations from 5 on swap rows and columns; half of all mirror a side. The weights of a mirrored side run
 * backwards, which makes the same sums of the same pixels. */
void passes_turn(struct passes *p, int orientation, int width, int height)
{
    if (orientation >= 5) {
        struct taps x = p->x;
        p->x = p->y;
        p->y = x;
        p->columns_first = !p->columns_first;
    }
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) taps_mirror(&p->x, width);
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) taps_mirror(&p->y, height);
}

/* Only sides that change have a pass, so there are none, one or two. *width and *height become those of the picture
 * after it. */
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

/* --- the rows ------------------------------------------------------------ */

/* Does the pass along the rows come first, so that what waits for the columns has the output's width? */
static bool rows_first(const struct passes *p) { return p->x.n > 0 && !(p->y.n > 0 && p->columns_first); }

/* Rows that wait for one output row; and one for the second of a pair. */
static int ring_slots(const struct passes *p) { return p->y.n > 0 ? p->y.most + rows_first(p) : 0; }

/* Where row y goes once it has the output's width: to the ring, or where there are no columns to resize, to the
 * output. */
static uint8_t *narrow_row(struct resize *s, int y)
{
    size_t bytes = (size_t)s->out->width * 3;
    return s->ring ? s->ring + (size_t)(y % s->slots) * bytes : s->out->data + (size_t)y * bytes;
}

/* The rows `first` and, unless they are the same, `last`, which are in padded[0] and padded[1], become those of the
 * output's width. */
static void resize_pair(struct resize *s, uint8_t *first, uint8_t *last)
{
    uint8_t *const out[2] = { first, last };
    const uint8_t *const in[2] = { s->padded[0], s->padded[first != last] };
    s->loops->taps_rows(out, in, &s->p->x);
}

/* One output row i of the columns' pass, from the rows that wait in the ring. */
static void resize_column(struct resize *s, uint8_t *to, int i)
{
    int start = s->p->y.start[i], count = s->p->y.count[i];
    for (int j = 0; j < count; j++) s->rows[j] = s->ring + (size_t)((start + j) % s->slots) * s->ring_bytes;
    s->rows[count] = s->rows[count - 1];
    s->loops->taps_column(to, s->rows, &s->p->y, i, s->ring_bytes);
}

/* Makes all output rows of the columns' pass for which the first `there` input rows suffice. If the rows' pass comes
 * afterwards, two of them are collected, because that pass takes two at a time. */
static void resize_columns(struct resize *s, int there)
{
    const struct taps *y = &s->p->y;
    bool pairs = s->p->x.n > 0 && !rows_first(s->p);
    size_t bytes = (size_t)s->out->width * 3;
    for (; s->next < y->n && y->start[s->next] + y->count[s->next] <= there; s->next++) {
        int i = s->next, first = i & ~1;
        uint8_t *to = s->out->data + (size_t)i * bytes;
        resize_column(s, pairs ? s->padded[i & 1] : to, i);
        if (pairs && (i != first || i + 1 == y->n)) resize_pair(s, s->out->data + (size_t)first * bytes, to);
    }
}

/* Where the caller shall put the next row: into the pair for the rows' pass, into the ring for the columns' pass, or,
 * where neither is needed, straight into the result. */
static uint8_t *resize_room(struct sink *sink)
{
    struct resize *s = (struct resize *)sink;
    if (rows_first(s->p)) return s->padded[s->in & 1];
    return s->ring ? s->ring + (size_t)(s->in % s->slots) * s->ring_bytes : narrow_row(s, s->in);
}

/* A row has come. The rows' pass takes two at a time, so the first of a pair waits for its second; the last row of an
 * odd height goes alone. Then every output row that has become possible is made. */
static void resize_take(struct sink *sink)
{
    struct resize *s = (struct resize *)sink;
    int y = s->in++, first = y & ~1, there = s->in;
    if (rows_first(s->p)) {
        if (y == first && s->in < s->height) return;    /* its second is still to come */
        resize_pair(s, narrow_row(s, first), narrow_row(s, y));
    }
    if (s->ring) resize_columns(s, there);
}

/* Memory for what has to wait: a ring of rows for the columns, two padded rows for the rows' pass. The ring has as
 * many rows as one output row needs and not as many as the picture has. */
int resize_init(struct resize *s, const struct passes *p, int width, int height, struct pixels *out)
{
    *s = (struct resize){ .sink = { resize_room, resize_take }, .loops = resize_loops_best(), .p = p, .height = height,
                          .out = out,
                          .slots = ring_slots(p), .ring_bytes = (size_t)(rows_first(p) ? out->width : width) * 3 };
    for (int k = 0; k < 2; k++)
        if (p->x.n > 0 && !(s->padded[k] = calloc((size_t)width * 3 + ROW_SLACK, 1))) return -1;
    if (p->y.n == 0) return 0;
    s->ring = malloc((size_t)s->slots * s->ring_bytes);
    s->rows = calloc((size_t)p->y.most + 1, sizeof *s->rows);
    return s->ring && s->rows ? 0 : -1;
}

void resize_free(struct resize *s)
{
    free(s->ring);
    free(s->padded[0]);
    free(s->padded[1]);
    free(s->rows);
}

/* An upper bound, from sizes alone, of what passes_init_part() and resize_init() will allocate; they must stay in
 * step. */
size_t resize_bytes(const struct extent *upright_x, const struct extent *upright_y, enum filter filter,
                    enum resizer how, int orientation)
{
    bool turned = orientation >= 5;
    const struct extent *x = turned ? upright_y : upright_x, *y = turned ? upright_x : upright_y;
    struct passes p = { .x.n = x->from != x->to, .y.n = y->from != y->to,
                        .columns_first = turned != columns_first(upright_y->from - upright_y->to,
                                                                 upright_x->from - upright_x->to, how) };
    p.y.most = taps_most(y->from, y->to, filter);
    size_t row = (size_t)(rows_first(&p) ? x->n : x->from) * 3;
    size_t bytes = (size_t)ring_slots(&p) * (row + sizeof(void *));
    if (p.x.n) bytes += 2 * ((size_t)x->from * 3 + ROW_SLACK) + taps_bytes(x, filter);
    return bytes + (p.y.n ? taps_bytes(y, filter) : 0);
}

int resize_check(enum filter filter, enum resizer how, struct err *e)
{
    if ((unsigned)filter > FILTER_HAMMING) return err_set(e, "no resize filter has the number %d", (int)filter);
    if (how == RESIZER_TORCHVISION && (filter == FILTER_BOX || filter == FILTER_HAMMING))
        return err_set(e, "torchvision does not resize with the %s filter", filter == FILTER_BOX ? "box" : "hamming");
    return 0;
}

/* The same for a picture that is in memory already: its rows go through the same machinery, so both ways give the same
 * bytes. */
int pixels_resize(struct pixels *out, const struct pixels *in, int width, int height, enum filter filter,
                  enum resizer how, struct err *e)
{
    struct resize_to to = { width, height, filter, how };
    struct passes p = { 0 };
    struct resize s = { 0 };
    size_t bytes = (size_t)in->width * 3;
    *out = (struct pixels){ 0 };
    if (resize_check(filter, how, e) || pixels_alloc(out, width, height, e)) return -1;
    int rc = passes_init(&p, in->width, in->height, &to) || resize_init(&s, &p, in->width, in->height, out) ? -1 : 0;
    for (int y = 0; !rc && y < in->height; y++) {
        memcpy(s.sink.room(&s.sink), in->data + (size_t)y * bytes, bytes);
        s.sink.take(&s.sink);
    }
    resize_free(&s);
    passes_free(&p);
    if (!rc) return 0;
    pixels_free(out);
    return image_no_memory(e, 0);
}
