/* tests/model/golden.c - arrays of a golden.safetensors file (selftest/record.h),
 * and comparisons that say where and by how much. Included by tests. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftest/record.h"

struct golden { struct weights_file *file; const char *dir; };

static void golden_open_file(struct golden *g, const char *dir, const char *name)
{
    char path[600];
    struct err e;
    snprintf(path, sizeof path, "%.512s/%s.safetensors", dir, name);
    g->dir = dir;
    g->file = weights_open_file(path, &e);
    ck_assert_msg(g->file != NULL, "%s", e.text);
}

static inline void golden_open(struct golden *g, const char *dir) { golden_open_file(g, dir, "golden"); }

static inline const struct stored *golden_find(const struct golden *g, const char *name, int i)
{
    return record_find(g->file, name, i);
}

/* free() it. */
static int32_t *golden_ints(const struct golden *g, const char *name, int i, int *n)
{
    struct err e;
    int32_t *out = record_ints(g->file, name, i, n, &e);
    ck_assert_msg(out != NULL, "%s: %s", g->dir, e.text);
    return out;
}

static inline const float *golden_floats(const struct golden *g, const char *name, int i, size_t n)
{
    struct err e;
    const float *out = record_floats(g->file, name, i, n, &e);
    ck_assert_msg(out != NULL, "%s: %s", g->dir, e.text);
    return out;
}

/* The largest difference; fails over `tol`. */
static inline float golden_compare(const char *what, const float *have, const float *want, size_t n, float tol)
{
    size_t at;
    float worst = record_worst(have, want, n, &at);
    ck_assert_msg(worst <= tol, "%s: value %zu of %zu is %g, not %g", what, at, n, (double)have[at], (double)want[at]);
    return worst;
}
