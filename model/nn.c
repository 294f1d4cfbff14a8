/* model/nn.c - see nn.h. Every operation of a model goes through here, and no shape is checked elsewhere. */
#include "model/nn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"

/* A wrong shape is a bug of ours: say what met what, and stop. */
#define CHECK(cond, ...)                                                   \
    do {                                                                   \
        if (!(cond)) {                                                     \
            fprintf(stderr, "%s: %s fails: ", __func__, #cond);            \
            fprintf(stderr, __VA_ARGS__);                                  \
            fputc('\n', stderr);                                           \
            abort();                                                       \
        }                                                                  \
    } while (0)

enum { ALIGN = 64 };

/* The next bytes of the scratch. They are given back by NN_SCRATCH or with the end of the pass, never one by one. A
 * measuring pass has no memory behind it and gets addresses that only count. */
static void *take(struct run *r, size_t bytes)
{
    size_t at = r->used;
    r->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (r->used > r->peak)
        r->peak = r->used;
    if (r->measuring)
        return (void *)(uintptr_t)(ALIGN + at); /* never read; not NULL, so that it is not taken for "empty" */
    CHECK(r->used <= r->size, "%zu bytes of scratch where %zu were planned", r->used, r->size);
    return r->scratch + at;
}

struct tensor nn_new(struct run *r, int rows, int cols)
{
    CHECK(rows > 0 && cols > 0, "(%d, %d)", rows, cols);
    return (struct tensor){ take(r, (size_t)rows * (size_t)cols * sizeof(float)), F32, rows, cols, cols };
}

/* The next bytes of the arena on the host. Here a measuring pass needs real memory, because the family fills its tables
 * in as if they were used. */
static void *take_host(struct run *r, size_t bytes)
{
    size_t at = r->host_used;
    r->host_used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (r->measuring) {
        void *p = arena_alloc(r->measured, bytes);
        CHECK(p, "no %zu bytes to measure with", bytes);
        return p;
    }
    CHECK(r->host_used <= r->host_size, "%zu bytes of the host where %zu were planned", r->host_used, r->host_size);
    return r->host + at;
}

int *nn_host(struct run *r, int n) { return take_host(r, (size_t)n * sizeof(int)); }

float *nn_host_floats(struct run *r, int n) { return take_host(r, (size_t)n * sizeof(float)); }

/* A copy on the device, in scratch, of what the host has computed. The host may change its own at once. */
static const void *upload(struct run *r, const void *host, size_t bytes)
{
    void *p = take(r, bytes);
    if (!r->measuring)
        r->backend->upload(r->dev, p, host, bytes);
    return p;
}

const int *nn_ints(struct run *r, const int *host, int n) { return upload(r, host, (size_t)n * sizeof *host); }

const float *nn_floats(struct run *r, const float *host, int n) { return upload(r, host, (size_t)n * sizeof *host); }

struct tensor nn_table(struct run *r, const float *host, int rows, int cols)
{
    CHECK(rows > 0 && cols > 0, "(%d, %d)", rows, cols);
    void *data = (void *)(uintptr_t)upload(r, host, (size_t)rows * (size_t)cols * sizeof *host);
    return (struct tensor){ data, F32, rows, cols, cols };
}

/* A view of some columns; nothing moves. */
struct tensor nn_cols(struct tensor t, int from, int n)
{
    CHECK(from >= 0 && n > 0 && from + n <= t.cols, "%d + %d of %d columns", from, n, t.cols);
    t.data = (char *)t.data + (size_t)from * dtype_size(t.dtype);
    t.cols = n;
    return t;
}

/* The same numbers in the same order as another shape; a view, so that it costs nothing. */
struct tensor nn_reshape(struct tensor t, int rows, int cols)
{
    CHECK(t.stride == t.cols && (size_t)rows * (size_t)cols == (size_t)t.rows * (size_t)t.cols,
          "(%d, %d) stride %d to (%d, %d)", t.rows, t.cols, t.stride, rows, cols);
    t.rows = rows;
    t.cols = t.stride = cols;
    return t;
}

/* The weight to use: w, unless somebody watches and has another one. NULL: the operation is left out. */
static const struct weight *watched(const struct run *r, const struct weight *w, struct tensor x)
{
    return r->watch ? r->watch->use(r->watch->arg, w, x) : w;
}

struct tensor nn_embed(struct run *r, const struct weight *w, const int *ids, int n)
{
    struct tensor out = nn_new(r, n, w->in);
    w = watched(r, w, (struct tensor){ 0 });
    if (w)
        r->ops->embed(r->dev, out, w, ids);
    return out;
}

/* All shapes in a chain of norms are those of x, or of one row of it. Empty tensors stand for what is left out. */
static void check_norms(struct tensor x, const struct norms *s)
{
    const struct tensor *out = &s->out, *add = &s->add, *then = &s->then_out;
    CHECK(x.cols == s->norm->w.cols && out->cols == x.cols && out->rows == x.rows &&
          (!s->norm->b.data || s->norm->b.cols == x.cols),
          "(%d, %d) = norm %d of (%d, %d)", out->rows, out->cols, s->norm->w.cols, x.rows, x.cols);
    CHECK(!add->data || (add->rows == x.rows && add->cols == x.cols), "adds (%d, %d) to (%d, %d)", add->rows,
          add->cols, x.rows, x.cols);
    CHECK(!s->then || (s->then->w.cols == x.cols && then->rows == x.rows && then->cols == x.cols),
          "then (%d, %d) = norm %d of (%d, %d)", then->rows, then->cols, s->then->w.cols, x.rows, x.cols);
}

/* A gated product has the gate and the value stacked, so the result is half as wide as the weight. */
static void check_linear(struct tensor out, struct tensor x, const struct weight *w, struct epilogue e)
{
    int n = e.glu ? w->out / 2 : w->out;
    CHECK(x.cols == w->in && out.cols == n && out.rows == x.rows && w->layout == LAYOUT_LINEAR,
          "(%d, %d) = (%d, %d) times (%d, %d)", out.rows, out.cols, x.rows, x.cols, w->out, w->in);
    CHECK(!e.add.data || (e.add.rows == out.rows && e.add.cols == n), "adds (%d, %d) to (%d, %d)", e.add.rows,
          e.add.cols, out.rows, n);
    CHECK(!e.mul.data || (e.mul.rows == 1 && e.mul.cols == n), "scales %d columns by %d", n, e.mul.cols);
    if (e.after)
        check_norms(out, e.after);
}

/* Rows from .. from + n of a tensor; of an empty one, an empty one. */
struct tensor nn_rows(struct tensor t, int from, int n)
{
    if (!t.data)
        return t;
    CHECK(from >= 0 && n > 0 && from + n <= t.rows, "%d + %d of %d rows", from, n, t.rows);
    t.data = (char *)t.data + (size_t)from * (size_t)t.stride * dtype_size(t.dtype);
    t.rows = n;
    return t;
}

/* ---- parts ---- */

/* About how long an operation on an image may keep others waiting. */
static const double PART_SECONDS = 0.01;
enum { LEAST_ROWS = 48 }; /* of a part: fewer would spend their time reading the weights */

/* A walk over the rows, or other items, of an operation in parts: `for (struct parts p = ...; parts_next(&p);)` runs
 * its body for items at .. at + n - 1. Where nobody waits there is one part, of all of them. */
struct parts {
    struct run    *r;
    enum part_kind kind;
    double         work;      /* of one item, in units of this kind      */
    int            all, least; /* items; and at least so many in a part   */
    int            at, n;     /* the part                                */
    double         began;     /* clock_seconds()                         */
};

static struct parts parts_of(struct run *r, enum part_kind kind, double work, int rows)
{
    return (struct parts){ .r = r, .kind = kind, .work = work, .all = rows, .least = LEAST_ROWS };
}

/* How many of the items that are left take about PART_SECONDS. As long as nothing is known, the least: they tell. */
static int part_size(const struct parts *p)
{
    int left = p->all - p->at;
    double each = p->r->part_unit[p->kind] * p->work, n = each > 0 ? PART_SECONDS / each : p->least;
    if (!p->r->between || left <= p->least || n * 1.25 > left)
        return left;
    return n > p->least ? (int)n : p->least;
}

/* Ends the part that was computed, so that whoever waits for the device may run a step now, and begins the next one;
 * false: there is none. */
static bool parts_next(struct parts *p)
{
    struct run *r = p->r;
    if (r->between && p->n > 0) {
        r->part_unit[p->kind] = (clock_seconds() - p->began) / (p->work * p->n);
        r->between(r->between_arg);
    }
    p->at += p->n;
    if (p->at >= p->all)
        return false;
    p->n = part_size(p);
    p->began = r->between ? clock_seconds() : 0;
    return true;
}

/* ---- operations ---- */

/* In parts, if others wait: each part is rows of x with the same rows of everything that its epilogue reads and
 * writes. A row's result does not depend on which part it is in. */
void nn_linear_to(struct run *r, struct tensor out, struct tensor x, const struct weight *w, struct epilogue e)
{
    check_linear(out, x, w, e);
    w = watched(r, w, x);
    if (!w)
        return;
    for (struct parts p = parts_of(r, PART_PRODUCT, (double)w->in * w->out, x.rows); parts_next(&p);) {
        struct epilogue part = e;
        struct norms after;
        part.add = nn_rows(e.add, p.at, p.n);
        if (e.after) {
            after = *e.after;
            after.add = nn_rows(after.add, p.at, p.n);
            after.out = nn_rows(after.out, p.at, p.n);
            after.then_out = nn_rows(after.then_out, p.at, p.n);
            part.after = &after;
        }
        r->ops->linear(r->dev, nn_rows(out, p.at, p.n), nn_rows(x, p.at, p.n), w, &part);
    }
}

struct tensor nn_linear(struct run *r, struct tensor x, const struct weight *w, struct epilogue e)
{
    struct tensor out = nn_new(r, x.rows, e.glu ? w->out / 2 : w->out);
    nn_linear_to(r, out, x, w, e);
    return out;
}

void nn_norm(struct run *r, struct tensor out, struct tensor x, const struct norm *n)
{
    struct norms one = { .norm = n, .out = out };
    check_norms(x, &one);
    for (struct parts p = parts_of(r, PART_MOVE, x.cols, x.rows); parts_next(&p);) {
        one.out = nn_rows(out, p.at, p.n);
        r->ops->norm(r->dev, nn_rows(x, p.at, p.n), &one);
    }
}

void nn_add(struct run *r, struct tensor out, struct tensor a, struct tensor b)
{
    CHECK(a.rows == out.rows && a.cols == out.cols && b.cols == a.cols && (b.rows == a.rows || b.rows == 1),
          "(%d, %d) = (%d, %d) + (%d, %d)", out.rows, out.cols, a.rows, a.cols, b.rows, b.cols);
    for (struct parts p = parts_of(r, PART_MOVE, out.cols, out.rows); parts_next(&p);)
        r->ops->add(r->dev, nn_rows(out, p.at, p.n), nn_rows(a, p.at, p.n), b.rows == 1 ? b : nn_rows(b, p.at, p.n));
}

void nn_copy(struct run *r, struct tensor out, struct tensor x)
{
    CHECK(out.rows == x.rows && out.cols == x.cols, "(%d, %d) into (%d, %d)", x.rows, x.cols, out.rows, out.cols);
    for (struct parts p = parts_of(r, PART_MOVE, x.cols, x.rows); parts_next(&p);)
        r->ops->copy(r->dev, nn_rows(out, p.at, p.n), nn_rows(x, p.at, p.n));
}

void nn_act(struct run *r, struct tensor x, enum act act)
{
    for (struct parts p = parts_of(r, PART_MOVE, x.cols, x.rows); parts_next(&p);) {
        struct tensor rows = nn_rows(x, p.at, p.n);
        r->ops->act(r->dev, rows, rows, act, false);
    }
}

struct tensor nn_fuse(struct run *r, struct tensor a, struct tensor b, struct tensor logits)
{
    CHECK(a.rows == b.rows && a.cols == b.cols && logits.rows == a.rows && logits.cols == 2,
          "(%d, %d) with (%d, %d) by (%d, %d)", a.rows, a.cols, b.rows, b.cols, logits.rows, logits.cols);
    struct tensor out = nn_new(r, a.rows, a.cols);
    r->ops->fuse(r->dev, out, a, b, logits);
    return out;
}

struct routes nn_route(struct run *r, struct tensor logits, const struct router *router)
{
    size_t places = (size_t)logits.rows * (size_t)router->k;
    CHECK(logits.cols == router->n && router->k <= router->n && router->n <= MAX_EXPERTS && router->k <= MAX_CHOSEN &&
          router->n % router->groups == 0 && router->best * (router->n / router->groups) >= router->k,
          "%d of %d experts, %d of %d groups, by (%d, %d)", router->k, router->n, router->best, router->groups,
          logits.rows, logits.cols);
    struct routes out = { .first = take(r, (size_t)(router->n + 1) * sizeof *out.first),
                          .row = take(r, places * sizeof *out.row), .place = take(r, places * sizeof *out.place),
                          .weight = take(r, places * sizeof *out.weight) };
    r->ops->route(r->dev, &out, logits, router);
    return out;
}

void nn_linear_grouped_to(struct run *r, struct tensor out, struct tensor x, const struct experts *experts,
                          const int *first, enum act act, bool glu)
{
    const struct weight *w = experts->w;
    CHECK(x.cols == w->in && out.cols == (glu ? w->out / 2 : w->out) && out.rows == x.rows && !w->bias,
          "(%d, %d) = (%d, %d) times (%d, %d)", out.rows, out.cols, x.rows, x.cols, w->out, w->in);
    r->ops->linear_grouped(r->dev, out, x, experts, first, act, glu);
}

/* Is this cache made for heads of this shape, and does it have the layer? */
static bool cache_fits(const struct kv *kv, const struct heads *h, int layer)
{
    return kv->n_kv == h->n_kv && kv->dim == h->dim && layer < kv->layers;
}

/* The rows that come out of the product for queries, keys and values have the width of all three, and the cache is one
 * for such heads. */
static void check_qkv(const struct run *r, struct tensor qkv, int cache, int layer, const struct heads *h,
                      const struct batch *b)
{
    const struct kv *kv = &r->kv[cache];
    CHECK(qkv.cols == (h->n + 2 * h->n_kv) * h->dim && qkv.rows == b->n_rows && cache_fits(kv, h, layer),
          "(%d, %d) for %d + 2 * %d heads of %d, %d rows, cache of %d x %d, layer %d of %d", qkv.rows, qkv.cols, h->n,
          h->n_kv, h->dim, b->n_rows, kv->n_kv, kv->dim, layer, kv->layers);
}

/* Takes q, k and v out of one matrix. Rotates and norms q and k, stores k and v where the view says, and attends to
 * all that the view shows each row; the backend may do this in one operation. */
struct tensor nn_attend_in(struct run *r, struct tensor qkv, int cache, int layer, const struct heads *h,
                           const struct batch *b)
{
    int nq = h->n * h->dim, nk = h->n_kv * h->dim;
    const struct kv *kv = &r->kv[cache];
    const struct view *view = &b->views[cache];
    check_qkv(r, qkv, cache, layer, h, b);
    struct tensor q = nn_cols(qkv, 0, nq), k = nn_cols(qkv, nq, nk), v = nn_cols(qkv, nq + nk, nk);
    struct tensor out = nn_new(r, qkv.rows, nq);
    if (r->ops->prep_attend && !r->both_ways) {
        r->ops->prep_attend(r->dev, out, q, k, v, kv, layer, h, b, view);
        return out;
    }
    r->ops->prep(r->dev, q, k, v, h, b->pos, kv, layer, view->slot);
    r->ops->attend(r->dev, out, q, kv, layer, h, b, view);
    return out;
}

void nn_store_in(struct run *r, struct tensor qkv, int cache, int layer, const struct heads *h, const struct batch *b)
{
    int nq = h->n * h->dim, nk = h->n_kv * h->dim;
    check_qkv(r, qkv, cache, layer, h, b);
    r->ops->prep(r->dev, (struct tensor){ 0 }, nn_cols(qkv, nq, nk), nn_cols(qkv, nq + nk, nk), h, b->pos,
                 &r->kv[cache], layer, b->views[cache].slot);
}

struct tensor nn_attend(struct run *r, struct tensor qkv, int layer, const struct heads *h, const struct batch *b)
{
    return nn_attend_in(r, qkv, CACHE_TEXT, layer, h, b);
}

/* Cross-attention. The keys and values were stored by nn_store_image() when the image was encoded, with their norm; q
 * gets its own here. Which of them a row sees stands in that cache's view. */
struct tensor nn_attend_images(struct run *r, struct tensor q, int layer, const struct heads *h, const struct batch *b)
{
    const struct kv *kv = &r->kv[CACHE_IMAGES];
    CHECK(q.cols == h->n * h->dim && q.rows == b->n_rows && cache_fits(kv, h, layer),
          "(%d, %d) for %d heads of %d, %d rows, cache of %d x %d, layer %d of %d", q.rows, q.cols, h->n, h->dim,
          b->n_rows, kv->n_kv, kv->dim, layer, kv->layers);
    struct tensor out = nn_new(r, q.rows, q.cols);
    if (h->q_norm)
        r->ops->prep(r->dev, q, (struct tensor){ 0 }, (struct tensor){ 0 }, h, NULL, NULL, 0, NULL);
    r->ops->attend(r->dev, out, q, kv, layer, h, b, &b->views[CACHE_IMAGES]);
    return out;
}

/* Keys of images have no position, so no rope is applied; their norm is. */
void nn_store_image(struct run *r, struct tensor k, struct tensor v, int layer, const struct heads *h, const int *slots)
{
    const struct kv *kv = &r->kv[CACHE_IMAGES];
    CHECK(k.cols == h->n_kv * h->dim && v.cols == k.cols && v.rows == k.rows && cache_fits(kv, h, layer),
          "k (%d, %d), v (%d, %d), cache of %d x %d", k.rows, k.cols, v.rows, v.cols, kv->n_kv, kv->dim);
    struct heads plain = *h;
    plain.rope = NULL;
    r->ops->prep(r->dev, (struct tensor){ 0 }, k, v, &plain, NULL, kv, layer, slots);
}

/* A single segment, which is an image seen as a whole, goes in parts of its queries, which are a segment of their own
 * each that still sees all keys; several segments go some at a time. In measuring, room for a part's table is counted
 * in any case. */
static struct tensor attend_in_parts(struct run *r, struct tensor q, struct tensor k, struct tensor v,
                                     const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    struct tensor out = nn_new(r, q.rows, q.cols);
    double row = (double)k.rows / (n_seg > 0 ? n_seg : 1) * q.cols;       /* multiplications, but for a factor */
    if (n_seg == 1)
        for (struct parts p = parts_of(r, PART_ATTEND, row, q.rows); parts_next(&p);)
            NN_SCRATCH(r) {
                const int part[2] = { 0, p.n }, *first = p.n == q.rows && !r->measuring ? q_first : nn_ints(r, part, 2);
                r->ops->attend_ragged(r->dev, nn_rows(out, p.at, p.n), nn_rows(q, p.at, p.n), k, v, h, 1, first,
                                      kv_first);
            }
    else {
        struct parts p = parts_of(r, PART_ATTEND, row * q.rows / (n_seg > 0 ? n_seg : 1), n_seg);
        for (p.least = 1; parts_next(&p);)
            r->ops->attend_ragged(r->dev, out, q, k, v, h, p.n, q_first + p.at, kv_first + p.at);
    }
    return out;
}

struct tensor nn_attend_ragged(struct run *r, struct tensor qkv, const struct heads *h, const int *pos, int n_seg,
                               const int *first)
{
    int nq = h->n * h->dim, nk = h->n_kv * h->dim;
    CHECK(qkv.cols == nq + 2 * nk, "(%d, %d) for %d + 2 * %d heads of %d", qkv.rows, qkv.cols, h->n, h->n_kv, h->dim);
    struct tensor q = nn_cols(qkv, 0, nq), k = nn_cols(qkv, nq, nk), v = nn_cols(qkv, nq + nk, nk);
    if (h->rope || h->q_norm || h->k_norm)
        r->ops->prep(r->dev, q, k, v, h, pos, NULL, 0, NULL);
    return attend_in_parts(r, q, k, v, h, n_seg, first, first);
}

/* What a few learned queries see of an image's states, and the like: queries come from other rows than keys and
 * values. */
struct tensor nn_attend_across(struct run *r, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                               int n_seg, const int *q_first, const int *kv_first)
{
    CHECK(q.cols == h->n * h->dim && k.cols == h->n_kv * h->dim && v.cols == k.cols && v.rows == k.rows && !h->rope,
          "(%d, %d) over (%d, %d) and (%d, %d) for %d and %d heads of %d", q.rows, q.cols, k.rows, k.cols, v.rows,
          v.cols, h->n, h->n_kv, h->dim);
    if (h->q_norm)
        r->ops->prep(r->dev, q, (struct tensor){ 0 }, (struct tensor){ 0 }, h, NULL, NULL, 0, NULL);
    if (h->k_norm)
        r->ops->prep(r->dev, (struct tensor){ 0 }, k, (struct tensor){ 0 }, h, NULL, NULL, 0, NULL);
    return attend_in_parts(r, q, k, v, h, n_seg, q_first, kv_first);
}

/* Also how images are resized on the device: each row is a weighted sum of `taps` rows. */
void nn_gather_to(struct run *r, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    CHECK(taps >= 1 && (w || taps == 1), "%d taps without weights", taps);
    CHECK(out.cols == x.cols, "%d columns into %d", x.cols, out.cols);
    for (struct parts p = parts_of(r, PART_MOVE, (double)taps * out.cols, out.rows); parts_next(&p);) {
        size_t at = (size_t)p.at * (size_t)taps;
        r->ops->gather(r->dev, nn_rows(out, p.at, p.n), x, taps, idx + at, w ? w + at : NULL);
    }
}

struct tensor nn_gather(struct run *r, struct tensor x, int rows, int taps, const int *idx, const float *w)
{
    struct tensor out = nn_new(r, rows, x.cols);
    nn_gather_to(r, out, x, taps, idx, w);
    return out;
}

void nn_scatter(struct run *r, struct tensor out, struct tensor x, const int *idx, bool add)
{
    CHECK(out.cols == x.cols, "%d columns into %d", x.cols, out.cols);
    for (struct parts p = parts_of(r, PART_MOVE, x.cols, x.rows); parts_next(&p);)
        r->ops->scatter(r->dev, out, nn_rows(x, p.at, p.n), idx + p.at, add);
}

struct tensor nn_pixels(struct run *r, const uint8_t *rgb, int n, const float *scale, const float *shift)
{
    struct tensor out = nn_new(r, n, 3);
    for (struct parts p = parts_of(r, PART_MOVE, 3, n); parts_next(&p);)
        r->ops->pixels(r->dev, nn_rows(out, p.at, p.n), rgb + 3 * (size_t)p.at, scale, shift);
    return out;
}

/* Room for the output, whose size follows from the picture, the kernel and its step. */
static struct tensor conv_new(struct run *r, struct tensor x, int channels, const struct conv *c)
{
    int h = conv_out(c->h, c), w = conv_out(c->w, c);
    CHECK(x.rows == c->h * c->w && h > 0 && w > 0, "%d rows for %d x %d, kernel %d, stride %d, pad %d", x.rows, c->h,
          c->w, c->kernel, c->stride, c->pad);
    return nn_new(r, h * w, channels);
}

/* Without a border, some lines of the output are the convolution of those lines of the picture that they see. With one,
 * which the operation adds on all four sides, the picture goes as a whole. */
static void conv_in_parts(struct run *r, struct tensor out, struct tensor x, const struct weight *w, struct conv c)
{
    int wide = conv_out(c.w, &c), high = conv_out(c.h, &c);
    struct parts p = parts_of(r, PART_CONV, (double)w->in * w->out * wide, high);
    for (p.least = c.pad ? high : 1; parts_next(&p);) {
        struct conv part = c;
        part.h = p.n == high ? c.h : (p.n - 1) * c.stride + c.kernel;
        r->ops->conv2d(r->dev, nn_rows(out, p.at * wide, p.n * wide),
                       nn_rows(x, p.at * c.stride * c.w, part.h * c.w), w, &part);
    }
}

struct tensor nn_conv(struct run *r, struct tensor x, const struct weight *w, struct conv c)
{
    CHECK(w->in == c.kernel * c.kernel * x.cols && w->layout == LAYOUT_LINEAR, "(%d, %d) by (%d, %d), kernel %d",
          x.rows, x.cols, w->out, w->in, c.kernel);
    struct tensor out = conv_new(r, x, w->out, &c);
    w = watched(r, w, (struct tensor){ 0 });
    if (w)
        conv_in_parts(r, out, x, w, c);
    return out;
}

struct tensor nn_dwconv(struct run *r, struct tensor x, const struct weight *w, struct conv c)
{
    CHECK(w->in == c.kernel * c.kernel && w->out == x.cols && w->layout == LAYOUT_DEPTHWISE,
          "(%d, %d) by (%d, %d), kernel %d", x.rows, x.cols, w->out, w->in, c.kernel);
    struct tensor out = conv_new(r, x, x.cols, &c);
    r->ops->dwconv2d(r->dev, out, x, w, &c);
    return out;
}
