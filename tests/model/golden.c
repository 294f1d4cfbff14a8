/* tests/model/golden.c - arrays of a golden.safetensors file, and comparisons
 * that say where and by how much. Included by tests. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

struct golden { struct weights_file *file; const char *dir; };

static void golden_open(struct golden *g, const char *dir)
{
    char path[600];
    struct err e;
    snprintf(path, sizeof path, "%.512s/golden.safetensors", dir);
    g->dir = dir;
    g->file = weights_open_file(path, &e);
    ck_assert_msg(g->file != NULL, "%s", e.text);
}

static const struct stored *golden_find(const struct golden *g, const char *name, int i)
{
    char full[64];
    snprintf(full, sizeof full, name, i);
    return weights_find(g->file, full);
}

/* Integers of any width as int32_t; free() it. */
static int32_t *golden_ints(const struct golden *g, const char *name, int i, int *n)
{
    const struct stored *t = golden_find(g, name, i);
    ck_assert_msg(t != NULL, "%s: no %s", g->dir, name);
    bool wide = !strcmp(t->dtype, "I64");
    ck_assert_msg(wide || !strcmp(t->dtype, "I32"), "%s is %s", name, t->dtype);
    *n = (int)(t->bytes / (wide ? 8 : 4));
    int32_t *out = malloc((size_t)*n * 4 + 4);
    for (int k = 0; k < *n; k++) {
        int64_t v = 0;
        memcpy(&v, (const char *)t->data + (size_t)k * (wide ? 8 : 4), wide ? 8 : 4);
        out[k] = (int32_t)v; /* little endian: the low half of I64, the whole of I32 */
    }
    return out;
}

static const float *golden_floats(const struct golden *g, const char *name, int i, size_t n)
{
    const struct stored *t = golden_find(g, name, i);
    ck_assert_msg(t != NULL, "%s: no %s", g->dir, name);
    ck_assert_str_eq(t->dtype, "F32");
    ck_assert_msg(t->bytes == n * sizeof(float), "%s: %s has %zu values, not %zu", g->dir, name, t->bytes / 4, n);
    return t->data;
}

/* The largest difference; fails over `tol`. */
static float golden_compare(const char *what, const float *have, const float *want, size_t n, float tol)
{
    float worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(have[i] - want[i]);
        if (!(d <= worst)) {
            worst = d;
            at = i;
        }
    }
    ck_assert_msg(worst <= tol, "%s: value %zu of %zu is %g, not %g", what, at, n, (double)have[at], (double)want[at]);
    return worst;
}
