/* tests/kernels/common.h - an operation runs on the reference and on a variant
 * (backend, instruction set, threads), and the results are compared.
 *
 * Data goes through the backend's own memory functions, so a backend with
 * memory of its own can run the same tests. */
#ifndef TESTS_KERNELS_COMMON_H
#define TESTS_KERNELS_COMMON_H
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/half.h"
#include "kernels/kv.h"
#include "kernels/ops.h"

/* Check writes a file whenever an assertion passes; these are too many for that. */
#define MUST(condition, ...) do { if (!(condition)) ck_abort_msg(__VA_ARGS__); } while (0)

enum { MAX_BLOCKS = 32768 };

struct run {                      /* one open device and what a test has put there */
    const struct backend *b;
    const struct ops     *ops;
    struct device        *dev;
    void  *mem[MAX_BLOCKS];             /* device memory, owned */
    void  *host[MAX_BLOCKS];            /* host memory, owned   */
    int    n_mem, n_host;
};

static inline struct run *run_open_with(const struct backend *b, const struct device_options *options)
{
    struct run *r = xcalloc(1, sizeof *r);
    struct err e;
    r->b = b;
    r->ops = &b->ops;
    MUST(b->open(&r->dev, options, &e) == 0, "%s", e.text);
    return r;
}

static inline struct run *run_open(const struct backend *b, int threads)
{
    return run_open_with(b, &(struct device_options){ .threads = threads });
}

static inline void run_close(struct run *r)
{
    MUST(!r->b->sync(r->dev), "the device failed");
    for (int i = 0; i < r->n_mem; i++)
        r->b->free(r->dev, r->mem[i]);
    for (int i = 0; i < r->n_host; i++)
        free(r->host[i]);
    r->b->close(r->dev);
    free(r);
}

/* Host memory that lives as long as the run. */
static inline void *keep(struct run *r, size_t n)
{
    MUST(r->n_host < MAX_BLOCKS, "too many blocks");
    return r->host[r->n_host++] = xcalloc(1, n);
}

static inline void *put(struct run *r, const void *src, size_t n)
{
    MUST(r->n_mem < MAX_BLOCKS, "too many blocks");
    void *p = r->mem[r->n_mem++] = r->b->alloc(r->dev, n);
    MUST(p, "no memory");
    r->b->upload(r->dev, p, src, n);
    return p;
}

static inline void *get(struct run *r, const void *src, size_t n)
{
    void *p = keep(r, n);
    r->b->download(r->dev, p, src, n);
    MUST(!r->b->sync(r->dev), "the device failed");
    return p;
}

/* Numbers in -scale .. scale, the same for the same seed. */
static inline float *noise(struct run *r, size_t n, unsigned seed, float scale)
{
    float *x = keep(r, n * sizeof *x);
    uint32_t s = seed * 2654435761u + 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525 + 1013904223;
        x[i] = ((float)(s >> 8) / 8388608.0f - 1) * scale;
    }
    return x;
}

/* A device matrix whose gaps between rows hold a number that nothing may touch. */
static inline struct tensor matrix(struct run *r, const float *src, int rows, int cols, int stride)
{
    size_t n = rows ? (size_t)(rows - 1) * (size_t)stride + (size_t)cols : 0;
    float *x = keep(r, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = i % (size_t)stride >= (size_t)cols ? 12345 : src
            ? src[i / (size_t)stride * (size_t)cols + i % (size_t)stride] : 777;
    return (struct tensor){ put(r, x, n * sizeof *x), F32, rows, cols, stride };
}

/* The matrix without gaps, after checking these. */
static inline float *matrix_get(struct run *r, struct tensor t)
{
    size_t n = t.rows ? (size_t)(t.rows - 1) * (size_t)t.stride + (size_t)t.cols : 0;
    float *all = get(r, t.data, n * sizeof *all), *x = keep(r, (size_t)t.rows * (size_t)t.cols * sizeof *x);
    for (size_t i = 0; i < n; i++)
        if (i % (size_t)t.stride < (size_t)t.cols)
            x[i / (size_t)t.stride * (size_t)t.cols + i % (size_t)t.stride] = all[i];
        else
            MUST(all[i] == 12345, "a gap between rows was written");
    return x;
}

/* |got - want| <= tol + eps |want| everywhere, and the mean square error is tiny. */
static inline void near(const char *what, const float *got, const float *want, size_t n, float tol, float eps)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        if (got[i] == want[i])
            continue;
        MUST(fabsf(got[i] - want[i]) <= tol + eps * fabsf(want[i]), "%s: element %zu of %zu is %g, not %g", what, i, n,
                      (double)got[i], (double)want[i]);
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        power += (double)want[i] * (double)want[i];
    }
    MUST(error <= 1e-9 * power + 1e-14 * (double)n, "%s: mean square error %g of %g",
         what, error, power);
}

static inline void same(const char *what, const void *a, const void *b, size_t bytes)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        MUST(x[i] == y[i], "%s: byte %zu of %zu differs", what, i, bytes);
}

/* A weight of n slabs with rows as in `rows`, stored as `have` and packed as `want`. */
static inline struct weight weight_of(struct run *r, enum layout layout, int in, const int *rows, int n,
                                      enum dtype have, enum dtype want, bool bias, unsigned seed)
{
    struct weight w = { .in = in, .layout = layout };
    struct slab slabs[8];
    struct err e;
    for (int s = 0; s < n; s++) {
        size_t count = (size_t)rows[s] * (size_t)in;
        float *x = noise(r, count, seed + (unsigned)s, 1);
        void *file = keep(r, count * dtype_size(have));
        for (size_t i = 0; i < count; i++)
            half_store(have, file, i, x[i]);
        slabs[s] = (struct slab){ .data = file, .dtype = have, .rows = rows[s] };
        w.out += rows[s];
    }
    MUST(r->b->pack(r->dev, &w, slabs, n, bias ? noise(r, (size_t)w.out, seed + 99, 1) : NULL, want, &e) == 0, "%s",
         e.text);
    return w;
}

#endif
