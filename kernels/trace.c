/* kernels/trace.c - see trace.h. */
#include "kernels/trace.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/half.h"

static struct {                          /* the one trace of this process */
    const struct backend *inner;         /* borrowed */
    FILE *to;                            /* borrowed */
    long  count;                         /* operations so far */
} trace;

/* One line. A sum of squares in double, because it is compared and not computed with. */
static void line(struct device *dev, const char *name, struct tensor t)
{
    size_t n = t.rows > 0 ? (size_t)(t.rows - 1) * (size_t)t.stride + (size_t)t.cols : 0;
    void *host = malloc(n ? n * dtype_size(t.dtype) : 1);
    double sum = 0;
    if (!host) {
        fprintf(trace.to, "%06ld %-13s %6d x %-6d no memory to look at it\n", trace.count++, name, t.rows, t.cols);
        return;
    }
    trace.inner->download(dev, host, t.data, n * dtype_size(t.dtype));
    const char *error = trace.inner->sync(dev);
    for (size_t i = 0; i < n; i++) {
        double x = i % (size_t)t.stride >= (size_t)t.cols ? 0
                   : t.dtype == I32 ? ((int *)host)[i] : (double)half_load(t.dtype, host, i);
        sum += x * x;
    }
    fprintf(trace.to, "%06ld %-13s %6d x %-6d %.6e%s%s\n", trace.count++, name, t.rows, t.cols, sqrt(sum),
            error ? " " : "", error ? error : "");
    fflush(trace.to);
    free(host);
}

#define INNER trace.inner->ops

static void lines_of_norms(struct device *dev, const struct norms *n)
{
    line(dev, "norm", n->out);
    if (n->then)
        line(dev, "then", n->then_out);
}

static void t_embed(struct device *dev, struct tensor out, const struct weight *w, const int *ids)
{
    INNER.embed(dev, out, w, ids);
    line(dev, "embed", out);
}

static void t_linear(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                     const struct epilogue *ep)
{
    INNER.linear(dev, out, x, w, ep);
    line(dev, "linear", out);
    if (ep->after)
        lines_of_norms(dev, ep->after);
}

static void t_norm(struct device *dev, struct tensor x, const struct norms *norms)
{
    INNER.norm(dev, x, norms);
    lines_of_norms(dev, norms);
}

static void t_act(struct device *dev, struct tensor out, struct tensor x, enum act act, bool glu)
{
    INNER.act(dev, out, x, act, glu);
    line(dev, "act", out);
}

static void t_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    INNER.add(dev, out, a, b);
    line(dev, "add", out);
}

static void t_copy(struct device *dev, struct tensor out, struct tensor x)
{
    INNER.copy(dev, out, x);
    line(dev, "copy", out);
}

static void t_fuse(struct device *dev, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    INNER.fuse(dev, out, a, b, logits);
    line(dev, "fuse", out);
}

static void t_prep(struct device *dev, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                   const int *pos, const struct kv *kv, int layer, const int *slot)
{
    INNER.prep(dev, q, k, v, h, pos, kv, layer, slot);
    if (q.data)
        line(dev, "prep q", q);
    if (k.data)
        line(dev, "prep k", k);
}

static void t_attend(struct device *dev, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                     const struct heads *h, const struct batch *b, const struct view *view)
{
    INNER.attend(dev, out, q, kv, layer, h, b, view);
    line(dev, "attend", out);
}

static void t_attend_ragged(struct device *dev, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                            const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    INNER.attend_ragged(dev, out, q, k, v, h, n_seg, q_first, kv_first);
    line(dev, "attend_ragged", out);
}

static void t_pixels(struct device *dev, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    INNER.pixels(dev, out, rgb, scale, shift);
    line(dev, "pixels", out);
}

static void t_conv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                     const struct conv *v)
{
    INNER.conv2d(dev, out, x, w, v);
    line(dev, "conv2d", out);
}

static void t_dwconv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                       const struct conv *v)
{
    INNER.dwconv2d(dev, out, x, w, v);
    line(dev, "dwconv2d", out);
}

static void t_gather(struct device *dev, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    INNER.gather(dev, out, x, taps, idx, w);
    line(dev, "gather", out);
}

static void t_scatter(struct device *dev, struct tensor out, struct tensor x, const int *idx, bool add)
{
    INNER.scatter(dev, out, x, idx, add);
    line(dev, "scatter", out);
}

static void t_mask(struct device *dev, struct tensor logits, const uint32_t *allowed)
{
    INNER.mask(dev, logits, allowed);
    line(dev, "mask", logits);
}

static void t_penalize(struct device *dev, struct tensor logits, const struct seen *seen, const int *first,
                       const struct penalty *p)
{
    INNER.penalize(dev, logits, seen, first, p);
    line(dev, "penalize", logits);
}

static void t_sample(struct device *dev, int *ids, struct tensor logits, const struct sampling *sampling)
{
    INNER.sample(dev, ids, logits, sampling);
    line(dev, "sample", (struct tensor){ ids, I32, logits.rows, 1, 1 });
}

static void t_logprobs(struct device *dev, int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    INNER.logprobs(dev, top, lp, logits, chosen, top_n);
    line(dev, "logprobs", (struct tensor){ lp, F32, logits.rows, 1 + top_n, 1 + top_n });
}

const struct backend *backend_trace(const struct backend *inner, FILE *to)
{
    static struct backend traced; /* lives as long as the process, as every backend */
    trace.inner = inner;
    trace.to = to;
    trace.count = 0;
    traced = *inner;
    traced.record = NULL;
    traced.replay = NULL;
    traced.ops = (struct ops){
        .embed = t_embed, .linear = t_linear, .norm = t_norm, .act = t_act, .add = t_add, .copy = t_copy,
        .fuse = t_fuse, .prep = t_prep, .attend = t_attend, .attend_ragged = t_attend_ragged, .pixels = t_pixels,
        .conv2d = t_conv2d, .dwconv2d = t_dwconv2d, .gather = t_gather, .scatter = t_scatter, .mask = t_mask,
        .penalize = t_penalize, .sample = t_sample, .logprobs = t_logprobs,
    };
    return &traced;
}
