/* tests/cusim/gpu_bench.c DEVICE [small] - how long the operations take that
 * AutoGLM-Phone-9B is made of; one JSON object a line for gpu_bench.py. `small`:
 * sizes for the emulator, to try the program itself.
 *
 * A weight is cycled through copies of 256 MB in all, so that no cache holds
 * it. A time is that of a queue of calls, from the first to the end of the
 * last, over their number: what a step of many operations sees. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/half.h"
#include "kernels/kv.h"
#include "kernels/plugin.h"

enum { MAX_COPIES = 64, PAGE = 32 };

static const struct backend *be;
static struct device *dev;
static bool small;

static void die(const char *text)
{
    fprintf(stderr, "gpu_bench: %s\n", text);
    exit(1);
}

static void check(void)
{
    const char *failed = be->sync(dev);
    if (failed)
        die(failed);
}

static int cut(int n) { return !small ? n : n > 256 ? n / 64 / 8 * 8 + 8 : n; }

/* Device memory with noise, or the host's numbers. */
static void *put(const void *host, size_t n)
{
    enum { PART = 1 << 20 };
    static float noise[PART / 4];
    char *p = be->alloc(dev, n);
    if (!p)
        die("no memory");
    if (noise[0] == 0)
        for (size_t i = 0; i < PART / 4; i++)
            noise[i] = (float)(int)(i * 2654435761u >> 8 & 0xffff) / 32768 - 1;
    if (host)
        be->upload(dev, p, host, n);
    for (size_t at = 0; !host && at < n; at += PART)
        be->upload(dev, p + at, noise, n - at < PART ? n - at : PART);
    return p;
}

static struct tensor matrix(int rows, int cols)
{
    return (struct tensor){ put(NULL, (size_t)rows * (size_t)cols * sizeof(float)), F32, rows, cols, cols };
}

static void drop(struct tensor t) { be->free(dev, t.data); }

/* Seconds of one body(arg, i), called again and again. */
static double time_of(void (*body)(void *, int), void *arg)
{
    int n = 1;
    for (double least = small ? 0 : 0.1;;) {
        body(arg, 0);
        check();
        double t = clock_seconds();
        for (int i = 0; i < n; i++)
            body(arg, i);
        check();
        t = clock_seconds() - t;
        if (t >= least || n >= 1 << 14)
            return t / n;
        n = t > least / 50 ? (int)(1.3 * least / t * n) + 1 : n * 16;
    }
}

static void row(const char *name, double seconds, double bytes, double operations)
{
    printf("{\"op\": \"%s\", \"ms\": %.6f, \"bytes\": %.0f, \"flop\": %.0f}\n", name, seconds * 1e3, bytes, operations);
    fflush(stdout);
}

/* ---- linear ---- */

struct linear { struct tensor x, out; struct weight w[MAX_COPIES]; int n; struct epilogue e; };

static void linear(void *arg, int i)
{
    struct linear *l = arg;
    be->ops.linear(dev, l->out, l->x, &l->w[i % l->n], &l->e);
}

static void *host_rows(int out, int in)
{
    uint16_t *w = xmalloc((size_t)out * (size_t)in * 2);
    for (size_t i = 0, n = (size_t)out * (size_t)in; i < n; i++)
        w[i] = i < 1 << 16 ? bf16_put((float)(int)(i * 2654435761u >> 8 & 0xff) / 4096 - 0.03f) : w[i - (1 << 16)];
    return w;
}

static void linears(const char *what, int out, int in, bool glu, enum dtype type, const char *type_name)
{
    static const int rows[] = { 1, 4, 16, 64, 512, 4096 };
    struct linear l = { .e = { .act = glu ? ACT_SILU : ACT_NONE, .glu = glu } };
    struct err e;
    out = cut(out), in = cut(in);
    void *host = host_rows(out, in);
    struct weight shape = { .out = out, .in = in, .layout = LAYOUT_LINEAR };
    size_t bytes = be->packed_bytes(&shape, type);
    l.n = small ? 2 : (int)((256u << 20) / bytes) + 1;
    l.n = l.n > MAX_COPIES ? MAX_COPIES : l.n;
    for (int i = 0; i < l.n; i++) {
        l.w[i] = shape;
        if (be->pack(dev, &l.w[i], &(struct slab){ .data = host, .dtype = BF16, .rows = out }, 1, NULL, type,
                     &e) != 0) {
            fprintf(stderr, "skip: %s weights: %s\n", type_name, e.text);
            l.n = i;
        }
    }
    for (size_t i = 0; l.n && i < sizeof rows / sizeof *rows; i++) {
        char name[96];
        int m = cut(rows[i]);
        l.x = matrix(m, in);
        l.out = matrix(m, glu ? out / 2 : out);
        snprintf(name, sizeof name, "linear %s %s %dx%dx%d", type_name, what, m, in, out);
        row(name, time_of(linear, &l), (double)bytes + 4. * m * (in + l.out.cols), 2. * m * out * in);
        drop(l.x);
        drop(l.out);
    }
    for (int i = 0; i < l.n; i++)
        be->release(dev, &l.w[i]);
    free(host);
}

/* ---- attention ---- */

struct attend { struct tensor q, k, v, out; struct kv kv; struct heads h; struct batch b; struct view view;
                const int *first; };

static void attend(void *arg, int i)
{
    struct attend *a = arg;
    (void)i;
    be->ops.attend(dev, a->out, a->q, &a->kv, 0, &a->h, &a->b, &a->view);
}

static void *put_ints(int *host, int n)
{
    void *p = put(host, (size_t)n * sizeof *host);
    free(host);
    return p;
}

/* seqs sequences of `rows` new rows that see `context` entries in all: GLM-4's heads. */
static void attends(int seqs, int rows, int context)
{
    struct attend a = { .h = { .n = 32, .n_kv = 2, .dim = 128, .scale = 0.088f } };
    char name[96];
    rows = cut(rows), context = cut(context) + rows;
    int n = seqs * rows, pages = (context + PAGE - 1) / PAGE;
    int *limit = xmalloc((size_t)n * sizeof *limit), *first = xmalloc((size_t)(seqs + 1) * sizeof *first);
    int *table = xmalloc((size_t)(seqs * pages) * sizeof *table);
    for (int i = 0; i < n; i++)
        limit[i] = context - rows + i % rows + 1;
    for (int i = 0; i <= seqs; i++)
        first[i] = i * rows;
    for (int i = 0; i < seqs * pages; i++)
        table[i] = seqs * pages - 1 - i;
    a.kv = (struct kv){ be->kv, PAGE, seqs * pages, 1, a.h.n_kv, a.h.dim, NULL, NULL };
    size_t bytes = kv_layer_bytes(&a.kv);
    a.kv.k = put(NULL, bytes), a.kv.v = put(NULL, bytes);
    a.q = matrix(n, a.h.n * a.h.dim);
    a.out = matrix(n, a.h.n * a.h.dim);
    a.view = (struct view){ .limit = put_ints(limit, n), .pages = put_ints(table, seqs * pages), .max_pages = pages,
                            .max_kv = context };
    a.b = (struct batch){ .n_rows = n, .n_seqs = seqs, .max_rows = rows, .first = put_ints(first, seqs + 1),
                          .views = &a.view };
    snprintf(name, sizeof name, "attend %d x %d rows, %d entries", seqs, rows, context);
    double seen = (double)seqs * rows * (context - (rows - 1) / 2.);
    row(name, time_of(attend, &a), 2. * (double)bytes + 8. * n * a.q.cols, 4. * seen * a.q.cols);
    drop(a.q);
    drop(a.out);
    be->free(dev, a.kv.k);
    be->free(dev, a.kv.v);
}

static void ragged(void *arg, int i)
{
    struct attend *a = arg;
    (void)i;
    be->ops.attend_ragged(dev, a->out, a->q, a->k, a->v, &a->h, 1, a->first, a->first);
}

/* The vision encoder's attention over a 1080x2400 screenshot. */
static void raggeds(void)
{
    int n = cut(13416);
    struct attend a = { .h = { .n = 12, .n_kv = 12, .dim = 128, .scale = 0.088f } };
    struct tensor *all[] = { &a.q, &a.k, &a.v, &a.out };
    char name[96];
    for (int i = 0; i < 4; i++)
        *all[i] = matrix(n, a.h.n * a.h.dim);
    int *first = xmalloc(2 * sizeof *first);
    first[0] = 0, first[1] = n;
    a.first = put_ints(first, 2);
    snprintf(name, sizeof name, "attend_ragged %d rows", n);
    row(name, time_of(ragged, &a), 16. * n * a.q.cols, 4. * n * (double)n * a.q.cols);
    for (int i = 0; i < 4; i++)
        drop(*all[i]);
}

/* ---- what only moves bytes ---- */

static void copy(void *arg, int i)
{
    struct attend *a = arg;
    (void)i;
    be->ops.copy(dev, a->out, a->q);
}

static void sample(void *arg, int i)
{
    struct attend *a = arg;
    (void)i;
    be->ops.sample(dev, a->out.data, a->q, a->k.data);
}

static void movers(void)
{
    struct attend a = { .q = matrix(cut(1 << 14), cut(1 << 14)) };
    a.out = matrix(a.q.rows, a.q.cols);
    row("copy", time_of(copy, &a), 8. * a.q.rows * a.q.cols, 0);
    drop(a.q);
    drop(a.out);
    struct sampling s[16];
    for (int i = 0; i < 16; i++)
        s[i] = (struct sampling){ .temperature = 1, .top_p = 0.9f, .top_k = 50, .seed = 1, .step = (uint64_t)i };
    a.q = matrix(16, cut(151552));
    a.out = matrix(16, 1);
    a.k.data = put(s, sizeof s);
    row("sample 16 rows, top_k and top_p", time_of(sample, &a), 64. * a.q.cols, 0);
    drop(a.q);
    drop(a.out);
}

int main(int argc, char **argv)
{
    static const enum dtype types[] = { BF16, Q8, Q4 };
    struct err e;
    small = argc > 2 && strcmp(argv[2], "small") == 0;
    be = argc > 1 ? plugin_load(argv[1], &e) : NULL;
    if (argc < 2)
        die("which device?");
    if (!be || be->open(&dev, &(struct device_options){ 0 }, &e) != 0)
        die(e.text);
    movers();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        linears("qkv", 4608, 4096, false, types[i], dtype_name(types[i]));
        linears("gate and up", 27392, 4096, true, types[i], dtype_name(types[i]));
        linears("down", 4096, 13696, false, types[i], dtype_name(types[i]));
        linears("head", 151552, 4096, false, types[i], dtype_name(types[i]));
    }
    attends(1, 1, 4096);
    attends(16, 1, 4096);
    attends(1, 512, 4096);
    raggeds();
    be->close(dev);
    return 0;
}
