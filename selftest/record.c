/* selftest/record.c - reads the arrays of a golden.safetensors file and compares numbers with them. See record.h. */
#include "selftest/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

const struct stored *record_find(const struct weights_file *f, const char *name, int i)
{
    char        full[64];
    const char *number = strstr(name, "%d");
    if (number)
        snprintf(full, sizeof full, "%.*s%d%s", (int)(number - name), name, i, number + 2);
    return weights_find(f, number ? full : name);
}

/* record_find() with an error if the array is not there. */
static const struct stored *find(const struct weights_file *f, const char *name, int i, struct err *e)
{
    const struct stored *t = record_find(f, name, i);
    if (!t)
        err_set(e, "the record has no %s (%d)", name, i);
    return t;
}

/* Copies, because the values may be of 64 bits and need not be aligned. Machines are little endian, so the low half of
 * I64 comes first. */
int32_t *record_ints(const struct weights_file *f, const char *name, int i, int *n, struct err *e)
{
    const struct stored *t = find(f, name, i, e);
    if (!t)
        return NULL;
    size_t width = 0;
    if (!strcmp(t->dtype, "I64"))
        width = 8;
    else if (!strcmp(t->dtype, "I32"))
        width = 4;
    if (!width || t->bytes / width > 1 << 24)
        return err_set(e, "%s of the record is %s, %zu bytes", name, t->dtype, t->bytes), NULL;
    *n = (int)(t->bytes / width);
    int32_t *out = xcalloc((size_t)*n, sizeof *out);
    for (int k = 0; k < *n; k++) /* little endian: the low half of I64, the whole of I32 */
        memcpy(&out[k], (const char *)t->data + (size_t)k * width, sizeof *out);
    return out;
}

/* The numbers are borrowed from the file, which has to be aligned for that. NULL: they are not there, or are not n
 * numbers of F32. */
const float *record_floats(const struct weights_file *f, const char *name, int i, size_t n, struct err *e)
{
    const struct stored *t = find(f, name, i, e);
    if (!t)
        return NULL;
    if (strcmp(t->dtype, "F32") == 0 && t->bytes == n * sizeof(float) && (uintptr_t)t->data % sizeof(float) == 0)
        return t->data;
    err_set(e, "%s of the record is %s, %zu bytes, not %zu aligned values of F32", name, t->dtype, t->bytes, n);
    return NULL;
}

/* The comparison is written so that a difference that is no number counts as the worst. */
float record_worst(const float *have, const float *want, size_t n, size_t *at)
{
    float worst = 0;
    *at = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(have[i] - want[i]);
        if (!(d <= worst)) {
            worst = isnan(d) ? INFINITY : d;
            *at = i;
        }
    }
    return worst;
}

double record_cosine(const float *a, const float *b, size_t n)
{
    double both = 0, one = 0, other = 0;
    for (size_t k = 0; k < n; k++) {
        both += (double)a[k] * (double)b[k];
        one += (double)a[k] * (double)a[k];
        other += (double)b[k] * (double)b[k];
    }
    return both / sqrt(one * other);
}

/* For each token: is it the one with the largest logit? If not, was the choice so close that rounding may decide it? */
struct continuation record_continuation(const float *rows, int vocab, const int32_t *greedy, int n,
                                        const float *margins, float limit)
{
    struct continuation c = { .first = -1 };
    for (int i = 0; i < n; i++, rows += vocab) {
        int best = 0;
        for (int k = 1; k < vocab; k++)
            if (rows[k] > rows[best])
                best = k;
        float margin = margins ? margins[i] : rows[best] - rows[greedy[i]];
        if (best == greedy[i])
            c.same++;
        else if (margin <= 2 * limit)
            c.close++;
        else if (!c.wrong++)
            c.first = i;
    }
    return c;
}
