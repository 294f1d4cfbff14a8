/* kernels/trace.c - see trace.h.
 *
 * A traced device is a backend and a device in one: the table of functions belongs to this device alone. Functions t_x
 * of the table call x of the backend inside with the device inside, and those of operations read the result back and
 * write a line. Functions of memory and time pass everything on, so that the addresses that the caller holds are the
 * inner device's own. */
#include "kernels/trace.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kernels/half.h"

/* What the caller holds as its device. Every function of the table takes one of these and calls the inner backend's
 * with the device inside. */
struct device {
    struct backend table;                /* the functions below, and the inner backend's name and properties */
    const struct backend *inner;         /* borrowed */
    struct device *dev;                  /* owned; the inner backend's: nobody here looks into it */
    FILE *to;                            /* borrowed */
    long  count;                         /* operations so far */
};

static void write_line(struct device *t, const char *name, int rows, int cols, double squares, const char *error)
{
    fprintf(t->to, "%06ld %-13s %6d x %-6d %.6e%s%s\n", t->count++, name, rows, cols, sqrt(squares), error ? " " : "",
            error ? error : "");
    fflush(t->to);
}

/* Waits for `size` bytes of an operation's result and returns them, free(). NULL: there is no memory for them, and a
 * line has said so. */
static void *result(struct device *t, const char *name, int rows, int cols, const void *from, size_t size,
                    const char **error)
{
    void *host = malloc(size ? size : 1);
    if (!host) {
        fprintf(t->to, "%06ld %-13s %6d x %-6d no memory to look at it\n", t->count++, name, rows, cols);
        return NULL;
    }
    t->inner->download(t->dev, host, from, size);
    *error = t->inner->sync(t->dev);
    return host;
}

/* One line. A sum of squares in double, because it is compared and not computed with. `written` has a byte for every
 * row, 0 for one that counts for nothing; NULL: all of them count. */
static void line_of_rows(struct device *t, const char *name, struct tensor x, const char *written)
{
    size_t n = x.rows > 0 ? (size_t)(x.rows - 1) * (size_t)x.stride + (size_t)x.cols : 0, stride = (size_t)x.stride;
    const char *error;
    void *host = result(t, name, x.rows, x.cols, x.data, n * dtype_size(x.dtype), &error);
    if (!host)
        return;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % stride >= (size_t)x.cols || (written && !written[i / stride]))
            continue;
        double v = x.dtype == I32 ? ((int *)host)[i] : (double)half_load(x.dtype, host, i);
        squares += v * v;
    }
    write_line(t, name, x.rows, x.cols, squares, error);
    free(host);
}

static void line(struct device *t, const char *name, struct tensor x) { line_of_rows(t, name, x, NULL); }

static void lines_of_norms(struct device *t, const struct norms *n)
{
    line(t, "norm", n->out);
    if (n->then)
        line(t, "then", n->then_out);
}

static void t_embed(struct device *t, struct tensor out, const struct weight *w, const int *ids)
{
    t->inner->ops.embed(t->dev, out, w, ids);
    line(t, "embed", out);
}

static void t_linear(struct device *t, struct tensor out, struct tensor x, const struct weight *w,
                     const struct epilogue *ep)
{
    t->inner->ops.linear(t->dev, out, x, w, ep);
    line(t, "linear", out);
    if (ep->after)
        lines_of_norms(t, ep->after);
}

static void t_norm(struct device *t, struct tensor x, const struct norms *norms)
{
    t->inner->ops.norm(t->dev, x, norms);
    lines_of_norms(t, norms);
}

static void t_act(struct device *t, struct tensor out, struct tensor x, enum act act, bool glu)
{
    t->inner->ops.act(t->dev, out, x, act, glu);
    line(t, "act", out);
}

static void t_add(struct device *t, struct tensor out, struct tensor a, struct tensor b)
{
    t->inner->ops.add(t->dev, out, a, b);
    line(t, "add", out);
}

static void t_copy(struct device *t, struct tensor out, struct tensor x)
{
    t->inner->ops.copy(t->dev, out, x);
    line(t, "copy", out);
}

static void t_fuse(struct device *t, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    t->inner->ops.fuse(t->dev, out, a, b, logits);
    line(t, "fuse", out);
}

static void t_route(struct device *t, const struct routes *out, struct tensor logits, const struct router *r)
{
    t->inner->ops.route(t->dev, out, logits, r);
    line(t, "route", (struct tensor){ out->weight, F32, logits.rows, r->k, r->k });
}

static void t_linear_grouped(struct device *t, struct tensor out, struct tensor x, const struct experts *experts,
                             const int *first, enum act act, bool glu)
{
    t->inner->ops.linear_grouped(t->dev, out, x, experts, first, act, glu);
    line(t, "linear_grouped", out);
}

static void t_prep(struct device *t, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                   const int *pos, const struct kv *kv, int layer, const int *slot)
{
    t->inner->ops.prep(t->dev, q, k, v, h, pos, kv, layer, slot);
    if (q.data)
        line(t, "prep q", q);
    if (k.data)
        line(t, "prep k", k);
}

static void t_attend(struct device *t, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                     const struct heads *h, const struct batch *b, const struct view *view)
{
    t->inner->ops.attend(t->dev, out, q, kv, layer, h, b, view);
    line(t, "attend", out);
}

static void t_attend_ragged(struct device *t, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                            const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    t->inner->ops.attend_ragged(t->dev, out, q, k, v, h, n_seg, q_first, kv_first);
    line(t, "attend_ragged", out);
}

static void t_pixels(struct device *t, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    t->inner->ops.pixels(t->dev, out, rgb, scale, shift);
    line(t, "pixels", out);
}

/* The only operation whose result is bytes and no matrix of floats; the line has their norm all the same. */
static void t_resample(struct device *t, uint8_t *out, const uint8_t *in, int outer, int from, int inner,
                       const struct resampling *r)
{
    t->inner->ops.resample(t->dev, out, in, outer, from, inner, r);
    size_t n = (size_t)outer * (size_t)r->n * (size_t)inner;
    const char *error;
    uint8_t *host = result(t, "resample", outer * r->n, inner, out, n, &error);
    if (!host)
        return;
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)host[i] * host[i];
    write_line(t, "resample", outer * r->n, inner, squares, error);
    free(host);
}

static void t_conv2d(struct device *t, struct tensor out, struct tensor x, const struct weight *w,
                     const struct conv *v)
{
    t->inner->ops.conv2d(t->dev, out, x, w, v);
    line(t, "conv2d", out);
}

static void t_dwconv2d(struct device *t, struct tensor out, struct tensor x, const struct weight *w,
                       const struct conv *v)
{
    t->inner->ops.dwconv2d(t->dev, out, x, w, v);
    line(t, "dwconv2d", out);
}

static void t_gather(struct device *t, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    t->inner->ops.gather(t->dev, out, x, taps, idx, w);
    line(t, "gather", out);
}

/* Rows that idx does not name may never have been written: what lies there would differ from run to run. */
static void t_scatter(struct device *t, struct tensor out, struct tensor x, const int *idx, bool add)
{
    t->inner->ops.scatter(t->dev, out, x, idx, add);
    const char *error;
    int *to = result(t, "scatter", out.rows, out.cols, idx, (size_t)x.rows * sizeof *idx, &error);
    char *written = calloc((size_t)out.rows + 1, 1);
    for (int i = 0; to && written && i < x.rows; i++)
        if (to[i] >= 0)
            written[to[i]] = 1;
    if (to)
        line_of_rows(t, "scatter", out, written);
    free(written);
    free(to);
}

static void t_mask(struct device *t, struct tensor logits, const uint32_t *allowed)
{
    t->inner->ops.mask(t->dev, logits, allowed);
    line(t, "mask", logits);
}

static void t_penalize(struct device *t, struct tensor logits, const struct seen *seen, const int *first,
                       const struct penalty *p)
{
    t->inner->ops.penalize(t->dev, logits, seen, first, p);
    line(t, "penalize", logits);
}

static void t_sample(struct device *t, int *ids, struct tensor logits, const struct sampling *sampling)
{
    t->inner->ops.sample(t->dev, ids, logits, sampling);
    line(t, "sample", (struct tensor){ ids, I32, logits.rows, 1, 1 });
}

static void t_logprobs(struct device *t, int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    t->inner->ops.logprobs(t->dev, top, lp, logits, chosen, top_n);
    line(t, "logprobs", (struct tensor){ lp, F32, logits.rows, 1 + top_n, 1 + top_n });
}

static size_t t_memory(struct device *t) { return t->inner->memory(t->dev); }
static void *t_alloc(struct device *t, size_t size) { return t->inner->alloc(t->dev, size); }
static void t_free(struct device *t, void *p) { t->inner->free(t->dev, p); }
static void t_take(struct device *t, void *p, size_t size) { t->inner->take(t->dev, p, size); }
static void t_release(struct device *t, struct weight *w) { t->inner->release(t->dev, w); }
static const char *t_sync(struct device *t) { return t->inner->sync(t->dev); }

static void t_upload(struct device *t, void *dst, const void *src, size_t size)
{
    t->inner->upload(t->dev, dst, src, size);
}

static void t_download(struct device *t, void *dst, const void *src, size_t size)
{
    t->inner->download(t->dev, dst, src, size);
}

static int t_pack(struct device *t, struct weight *out, const struct slab *slabs, int n, const float *bias,
                  enum dtype want, struct err *e)
{
    return t->inner->pack(t->dev, out, slabs, n, bias, want, e);
}

static void t_close(struct device *t)
{
    t->inner->close(t->dev);
    free(t);
}

/* What the inner backend does not have must be missing in the table too: its callers look for NULL. prep_attend is
 * missing so that the two operations have a line each, which is why a trace of one backend can be compared with any
 * other's. */
void trace_device(const struct backend **backend, struct device **dev, FILE *to)
{
    const struct backend *inner = *backend;
    struct device *t = xmalloc(sizeof *t);
    *t = (struct device){ .inner = inner, .dev = *dev, .to = to };
    t->table = (struct backend){
        .name = inner->name, .discrete = inner->discrete, .async = inner->async, .kv = inner->kv,
        .kv_rounded = inner->kv_rounded,
        .close = t_close, .memory = t_memory, .alloc = t_alloc, .free = t_free, .upload = t_upload,
        .download = t_download, .take = inner->take ? t_take : NULL, .pack = t_pack, .release = t_release,
        .packed_bytes = inner->packed_bytes, .sync = t_sync };
    t->table.ops = (struct ops){
        .embed = t_embed, .linear = t_linear, .norm = t_norm, .act = t_act, .add = t_add, .copy = t_copy,
        .fuse = t_fuse, .route = t_route, .linear_grouped = t_linear_grouped,
        .prep = t_prep, .attend = t_attend, .attend_ragged = t_attend_ragged, .pixels = t_pixels,
        .resample = inner->ops.resample ? t_resample : NULL, .conv2d = t_conv2d, .dwconv2d = t_dwconv2d,
        .gather = t_gather, .scatter = t_scatter, .mask = t_mask, .penalize = t_penalize, .sample = t_sample,
        .logprobs = t_logprobs };
    *backend = &t->table;
    *dev = t;
}
