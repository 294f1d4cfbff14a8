/* kernels/cpu/slices.c - operations that are not hot: the reference's
 * functions on slices of rows, in parallel. Each handles its rows one by one,
 * so the slicing cannot be seen in the result. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

enum { SLICE = 16384 };                 /* elements */

struct sliced {                        /* one operation and its arguments */
    void (*slice)(const struct sliced *, int from, int n);
    int           rows, step;
    struct tensor out, a, b, c;
    enum act      act;
    bool          flag;
    int           n;
    const void   *p, *q;
    void         *to, *to2;
};

/* Rows from .. from + n - 1 of a tensor. */
static struct tensor cut(struct tensor t, int from, int n)
{
    t.data = (char *)t.data + (size_t)from * (size_t)t.stride * dtype_size(t.dtype);
    t.rows = n;
    return t;
}

/* The same of a tensor that may be one row for all. */
static struct tensor cut_or_one(struct tensor t, int from, int n) { return t.rows == 1 ? t : cut(t, from, n); }

/* The task of the pool: slice `index`, of which the last one may be shorter. */
static void run_slice(void *arg, int index, int worker)
{
    const struct sliced *c = arg;
    int from = index * c->step;
    (void)worker;
    c->slice(c, from, c->rows - from < c->step ? c->rows - from : c->step);
}

/* In slices of about SLICE elements. */
static void run(struct device *dev, struct sliced c, int rows, int cols)
{
    c.rows = rows;
    c.step = cols > 0 ? SLICE / cols : SLICE;
    c.step = c.step > 0 ? c.step : 1;
    cpu_run(dev, (rows + c.step - 1) / c.step, run_slice, &c);
}

static void act_slice(const struct sliced *c, int from, int n)
{
    ref_act(NULL, cut(c->out, from, n), cut(c->a, from, n), c->act, c->flag);
}

void cpu_act(struct device *dev, struct tensor out, struct tensor x, enum act act, bool glu)
{
    run(dev, (struct sliced){ act_slice, .out = out, .a = x, .act = act, .flag = glu }, out.rows, out.cols);
}

static void add_slice(const struct sliced *c, int from, int n)
{
    ref_add(NULL, cut(c->out, from, n), cut(c->a, from, n), cut_or_one(c->b, from, n));
}

void cpu_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    run(dev, (struct sliced){ add_slice, .out = out, .a = a, .b = b }, out.rows, out.cols);
}

static void copy_slice(const struct sliced *c, int from, int n)
{
    ref_copy(NULL, cut(c->out, from, n), cut(c->a, from, n));
}

void cpu_copy(struct device *dev, struct tensor out, struct tensor x)
{
    run(dev, (struct sliced){ copy_slice, .out = out, .a = x }, out.rows, out.cols);
}

static void fuse_slice(const struct sliced *c, int from, int n)
{
    ref_fuse(NULL, cut(c->out, from, n), cut(c->a, from, n), cut(c->b, from, n), cut(c->c, from, n));
}

void cpu_fuse(struct device *dev, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    run(dev, (struct sliced){ fuse_slice, .out = out, .a = a, .b = b, .c = logits }, out.rows, out.cols);
}

static void choose_slice(const struct sliced *c, int from, int n) { ref_choose(c->p, c->a, c->q, from, n); }

/* The choice is made row by row; only the order of places needs all rows. */
void cpu_route(struct device *dev, const struct routes *out, struct tensor logits, const struct router *r)
{
    run(dev, (struct sliced){ choose_slice, .a = logits, .p = out, .q = r }, logits.rows, 2 * r->n);
    ref_group(out, logits.rows, r);
}

static void pixels_slice(const struct sliced *c, int from, int n)
{
    ref_pixels(NULL, cut(c->out, from, n), (const uint8_t *)c->to + 3 * (size_t)from, c->p, c->q);
}

void cpu_pixels(struct device *dev, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    run(dev, (struct sliced){ pixels_slice, .out = out, .to = (void *)(uintptr_t)rgb, .p = scale, .q = shift },
        out.rows, 3);
}

static void gather_slice(const struct sliced *c, int from, int n)
{
    size_t at = (size_t)from * (size_t)c->n;
    ref_gather(NULL, cut(c->out, from, n), c->a, c->n, (const int *)c->p + at, c->q ? (const float *)c->q + at : NULL);
}

void cpu_gather(struct device *dev, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    run(dev, (struct sliced){ gather_slice, .out = out, .a = x, .n = taps, .p = idx, .q = w }, out.rows, out.cols);
}

static void scatter_slice(const struct sliced *c, int from, int n)
{
    ref_scatter(NULL, c->out, cut(c->a, from, n), (const int *)c->p + from, c->flag);
}

void cpu_scatter(struct device *dev, struct tensor out, struct tensor x, const int *idx, bool add)
{
    run(dev, (struct sliced){ scatter_slice, .out = out, .a = x, .p = idx, .flag = add }, x.rows, x.cols);
}

static void mask_slice(const struct sliced *c, int from, int n)
{
    ref_mask(NULL, cut(c->out, from, n), (const uint32_t *)c->p + (size_t)from * (size_t)((c->out.cols + 31) / 32));
}

void cpu_mask(struct device *dev, struct tensor logits, const uint32_t *allowed)
{
    run(dev, (struct sliced){ mask_slice, .out = logits, .p = allowed }, logits.rows, logits.cols);
}

static void sample_slice(const struct sliced *c, int from, int n)
{
    ref_sample(NULL, (int *)c->to + from, cut(c->a, from, n), (const struct sampling *)c->p + from);
}

void cpu_sample(struct device *dev, int *ids, struct tensor logits, const struct sampling *sampling)
{
    run(dev, (struct sliced){ sample_slice, .to = ids, .a = logits, .p = sampling }, logits.rows, logits.cols);
}

static void logprobs_slice(const struct sliced *c, int from, int n)
{
    ref_logprobs(NULL, (int *)c->to + from * c->n, (float *)c->to2 + from * (c->n + 1), cut(c->a, from, n),
                 (const int *)c->p + from, c->n);
}

void cpu_logprobs(struct device *dev, int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    run(dev, (struct sliced){ logprobs_slice, .to = top, .to2 = lp, .a = logits, .p = chosen, .n = top_n }, logits.rows,
        logits.cols);
}
