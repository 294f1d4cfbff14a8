/* tests/bench/ops_bench.c - how fast the cpu backend's hot operations are, as
 * shares of what this machine reaches in the plainest loops.
 *
 *   ops_bench [threads [part of a name]]      OPENAUTOGLM_ISA chooses the inner loops
 *
 * Every figure is the best of several runs: other programs only make it worse. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/cpu.h"

static struct device *dev;
static double peak_flops, peak_bytes;

static float *numbers(size_t n)
{
    float *x = backend_cpu.alloc(dev, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return x;
}

static struct tensor matrix(int rows, int cols)
{
    return (struct tensor){ numbers((size_t)rows * (size_t)cols), F32, rows, cols, cols };
}

/* One thread is measured in processor time, so that a busy machine can be used. */
static double now(void)
{
    struct timespec ts;
    if (cpu_threads(dev) > 1)
        return clock_seconds();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Seconds of the fastest call within about half a second. */
static double best(void (*body)(void *), void *arg)
{
    double least = 1e9, end = now() + 0.5;
    body(arg);
    for (int i = 0; i < 3 || now() < end; i++) {
        double t = now();
        body(arg);
        t = now() - t;
        least = t < least ? t : least;
    }
    return least;
}

static const char *only = "";

static void report(const char *name, double seconds, double flops, double bytes)
{
    printf("%-44s %9.3f ms %8.2f GFLOP/s %5.1f %% %8.2f GB/s %5.1f %%", name, seconds * 1e3, flops / seconds * 1e-9,
           100 * flops / seconds / peak_flops, bytes / seconds * 1e-9, 100 * bytes / seconds / peak_bytes);
}

static void row(const char *name, void (*body)(void *), void *arg, double flops, double bytes)
{
    if (!strstr(name, only))
        return;
    report(name, best(body, arg), flops, bytes);
    putchar('\n');
}

/* ---- peaks ---- */

enum { SPIN = 1 << 16, COPY = 32 << 20 };

#if defined(__x86_64__)
__attribute__((target("avx2,fma")))
static void fma_body(void *arg, int index, int worker)
{
    __m256 s[12], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    (void)worker;
    for (int i = 0; i < 12; i++)
        s[i] = _mm256_set1_ps((float)(index + i));
    for (int i = 0; i < SPIN; i++)
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++)
            s[j] = _mm256_fmadd_ps(s[j], a, b);
    for (int i = 0; i < 12; i++)
        ((volatile float *)arg)[index] += _mm256_cvtss_f32(s[i]);
}

static bool can_fma(void) { return kernels_avx2.works(); }
#else
static void fma_body(void *arg, int index, int worker) { (void)arg, (void)index, (void)worker; }
static bool can_fma(void) { return false; }
#endif

static int threads_used;
static float *copies;

static void spin(void *arg) { cpu_run(dev, threads_used, fma_body, arg); }

#if defined(__x86_64__)
__attribute__((target("avx2,fma")))
#endif
/* Reads, because that is what a step with few rows does: every byte of the weights once. */
static void read_body(void *arg, int index, int worker)
{
    typedef float wide __attribute__((vector_size(32)));
    const wide *p = (const wide *)copies + (size_t)index * (COPY / 32 / 64);
    wide s[4] = { { 0 } };
    (void)worker;
    for (size_t i = 0; i < COPY / 32 / 64; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += p[i + (size_t)j];
    ((volatile float *)arg)[index % 64] = (s[0] + s[1] + s[2] + s[3])[0];
}

static void read_all(void *arg) { cpu_run(dev, 64, read_body, arg); }

static void peaks(void)
{
    static float sink[256];
    copies = numbers(COPY / sizeof *copies);
    peak_flops = can_fma() ? (double)threads_used * SPIN * 12 * 8 * 2 / best(spin, sink) : 1e9;
    peak_bytes = COPY / best(read_all, sink);
    printf("%s, %d threads: %.1f GFLOP/s in a loop of 256-bit fma, %.1f GB/s read\n", cpu_kernels(dev)->name,
           threads_used, peak_flops * 1e-9, peak_bytes * 1e-9);
}

/* ---- operations ---- */

struct bench {
    struct tensor out, x, k, v;
    struct weight w;
    struct epilogue ep;
    struct conv conv;
    struct heads heads;
    struct kv kv;
    struct batch batch;
    struct view view;
    struct norm norm;
    int *segments, *rows;
};

static void do_linear(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.linear(dev, b->out, b->x, &b->w, &b->ep);
}

/* The same product with each of these types, in turn, so that a change of the machine's mood meets all of them; the
 * last column is the time of the first divided by this one's. */
static void linear(int m, int n, int k, const enum dtype *types, int n_types)
{
    enum { MOST = 8 };
    struct bench b[MOST];
    double least[MOST], end;
    uint16_t *file = backend_cpu.alloc(dev, (size_t)n * (size_t)k * sizeof *file);
    char name[80];
    for (size_t i = 0; i < (size_t)n * (size_t)k; i++)
        file[i] = (uint16_t)(0x3c00 + i * 2654435761u % 512);
    for (int t = 0; t < n_types; t++) {
        b[t] = (struct bench){ .out = matrix(m, n), .x = matrix(m, k), .w = { .out = n, .in = k } };
        struct slab slab = { .data = file, .dtype = BF16, .rows = n };
        backend_cpu.pack(dev, &b[t].w, &slab, 1, NULL, types[t], NULL);
        least[t] = 1e9;
    }
    end = now() + 0.4 * n_types;
    snprintf(name, sizeof name, "linear M=%d N=%d K=%d", m, n, k);
    for (int round = 0; strstr(name, only) && (round < 4 || now() < end); round++)
        for (int t = 0; t < n_types; t++) {
            double s = now();
            do_linear(&b[t]);
            s = now() - s;
            least[t] = s < least[t] ? s : least[t];
        }
    for (int t = 0; t < n_types; t++) {
        char full[96];
        snprintf(full, sizeof full, "%s %s", name, dtype_name(types[t]));
        if (strstr(name, only)) {
            report(full, least[t], 2.0 * m * n * k, (double)backend_cpu.packed_bytes(&b[t].w, types[t]));
            printf("  x %.2f\n", least[0] / least[t]);
        }
        backend_cpu.release(dev, &b[t].w);
    }
    backend_cpu.free(dev, file);
}

static void do_ragged(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.attend_ragged(dev, b->out, b->x, b->k, b->v, &b->heads, 1, b->segments, b->segments);
}

static void ragged(int n, int heads, int dim)
{
    char name[80];
    int first[] = { 0, n };
    struct bench b = { .out = matrix(n, heads * dim), .x = matrix(n, heads * dim), .k = matrix(n, heads * dim),
                       .v = matrix(n, heads * dim), .heads = { heads, heads, dim, 0.1f, 0, NULL, NULL, NULL },
                           .segments = first };
    snprintf(name, sizeof name, "attend_ragged %d x %d, %d heads of %d", n, n, heads, dim);
    row(name, do_ragged, &b, 4.0 * n * n * heads * dim, 0);
}

static void do_attend(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.attend(dev, b->out, b->x, &b->kv, 0, &b->heads, &b->batch, &b->view);
}

/* `rows` new rows of one sequence that sees `seen` entries in all. */
static void attend(int rows, int seen, int heads, int n_kv, int dim)
{
    char name[80];
    int page = 16, n_pages = seen / page + 1, first[] = { 0, rows };
    int *limit = xcalloc((size_t)rows, sizeof *limit), *pages = xcalloc((size_t)n_pages, sizeof *pages);
    size_t size = (size_t)n_pages * (size_t)(page * n_kv * dim);
    uint16_t *k = backend_cpu.alloc(dev, size * 2), *v = backend_cpu.alloc(dev, size * 2);
    memset(k, 0x11, size * 2), memset(v, 0x11, size * 2);
    double pairs = 0;
    for (int i = 0; i < rows; i++)
        pairs += limit[i] = seen - rows + 1 + i;
    for (int i = 0; i < n_pages; i++)
        pages[i] = i;
    struct bench b = { .out = matrix(rows, heads * dim), .x = matrix(rows, heads * dim),
                       .kv = { BF16, page, n_pages, 1, n_kv, dim, k, v },
                       .heads = { heads, n_kv, dim, 0.1f, 0, NULL, NULL, NULL },
                       .view = { .limit = limit, .pages = pages, .max_pages = n_pages, .max_kv = seen },
                       .batch = { .n_rows = rows, .n_seqs = 1, .max_rows = rows, .first = first } };
    snprintf(name, sizeof name, "attend %d rows of %d, %d/%d heads of %d bf16", rows, seen, heads, n_kv, dim);
    row(name, do_attend, &b, 4.0 * pairs * heads * dim, (double)seen * n_kv * dim * 4);
    free(limit), free(pages);
}

static void do_dwconv(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.dwconv2d(dev, b->out, b->x, &b->w, &b->conv);
}

static void do_conv(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.conv2d(dev, b->out, b->x, &b->w, &b->conv);
}

static void conv(int h, int w, int c, int out, int stride)
{
    char name[80];
    int oh = (h - 1) / stride + 1, ow = (w - 1) / stride + 1;
    struct bench b = { .x = matrix(h * w, c), .out = matrix(oh * ow, out ? out : c),
                       .conv = { h, w, 3, stride, 1, ACT_RELU6 } };
    b.w = (struct weight){ .out = out ? out : c, .in = out ? 9 * c : 9,
                           .layout = out ? LAYOUT_LINEAR : LAYOUT_DEPTHWISE };
    struct slab slab = { .data = numbers((size_t)b.w.out * (size_t)b.w.in), .dtype = F32, .rows = b.w.out };
    backend_cpu.pack(dev, &b.w, &slab, 1, NULL, F32, NULL);
    snprintf(name, sizeof name, "%s 3x3/%d %dx%d, %d channels", out ? "conv2d" : "dwconv2d", stride, h, w, c);
    row(name, out ? do_conv : do_dwconv, &b, 2.0 * b.out.rows * b.w.out * b.w.in,
        4.0 * (h * w * c + b.out.rows * b.w.out));
    backend_cpu.release(dev, &b.w);
}

static void do_norm(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.norm(dev, b->x, &(struct norms){ .norm = &b->norm, .out = b->out });
}

static void norm(int rows, int cols)
{
    char name[80];
    struct bench b = { .x = matrix(rows, cols), .out = matrix(rows, cols), .norm = { matrix(1, cols), { 0 }, 1e-6f,
                                                                                     false } };
    snprintf(name, sizeof name, "norm %d x %d", rows, cols);
    row(name, do_norm, &b, 4.0 * rows * cols, 8.0 * rows * cols);
}

static void do_sample(void *arg)
{
    struct bench *b = arg;
    int id;
    backend_cpu.ops.sample(dev, &id, b->x, &(struct sampling){ 0.8f, 0.9f, 0, 50, 1, 1 });
}

int main(int argc, char **argv)
{
    struct err e;
    if (backend_cpu.open(&dev, &(struct device_options){ .threads = argc > 1 ? atoi(argv[1]) : 0 }, &e))
        return fprintf(stderr, "%s\n", e.text), 1;
    only = argc > 2 ? argv[2] : only;
    threads_used = cpu_threads(dev);
    peaks();
    static const enum dtype all[] = { BF16, Q8, Q4, F8, F16, F32 };
    linear(1, 4096, 4096, all, 6);
    linear(4, 4096, 4096, all, 4);
    linear(8, 4096, 4096, all, 4);
    linear(64, 4096, 4096, all, 4);
    linear(512, 4096, 4096, all, 4);
    linear(20000, 64, 32, &all[5], 1);
    ragged(1024, 8, 80);
    attend(1, 4096, 32, 2, 128);
    attend(1, 4096, 8, 8, 128);
    attend(256, 1024, 32, 2, 128);
    conv(256, 256, 3, 32, 2);
    conv(128, 128, 96, 0, 1);
    conv(128, 128, 96, 0, 2);
    norm(512, 4096);
    struct bench b = { .x = matrix(1, 151936) };
    row("sample top_k 50 top_p 0.9 of 151936", do_sample, &b, 0, 151936 * 4.0);
    return 0;
}
