/* kernels/slab.c - see slab.h. */
#include "kernels/slab.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/half.h"
#include "kernels/panels.h"
#include "kernels/quant.h"

static bool plain(enum dtype t) { return t == F32 || t == F16 || t == BF16; }

/* Whether n slabs can become a weight of type `want`: the types fit, and their rows are as many as the weight has. What
 * was quantised already is never converted again, since errors would add up. -1: the error names the tensor. */
int slab_check(const struct weight *out, const struct slab *slabs, int n, enum dtype want, struct err *e)
{
    long long rows = 0;
    if (!plain(want) && !(quantised(want) && out->layout == LAYOUT_LINEAR))
        return err_set(e, "a weight cannot be stored as this type");
    for (int i = 0; i < n; i++) {
        if (slabs[i].dtype != want && (!plain(slabs[i].dtype) || slabs[i].form != FORM_ROWS))
            return err_set(e, "tensor %s: a weight that was prepared as %s cannot become %s",
                           slabs[i].name ? slabs[i].name : "without a name", dtype_name(slabs[i].dtype),
                           dtype_name(want));
        rows += slabs[i].rows;
    }
    if (rows != out->out)
        return err_set(e, "a weight of %d rows is made of %lld", out->out, rows);
    return 0;
}

static const char *row_of(const struct slab *s, int r, int in)
{
    return (const char *)s->data + (size_t)r * quant_row_bytes(s->dtype, in);
}

/* Row r of a slab as type `want`, to `to`. -1 if all went well, and otherwise the index of the first number in the row
 * that cannot be represented (only when it is quantised), which the caller puts into its error. */
int slab_row(const struct slab *s, int r, int in, enum dtype want, void *to)
{
    if (s->form == FORM_PANELS) {
        panels_record(s->dtype, s->data, s->scale, in, r, to);
        return -1;
    }
    const char *row = row_of(s, r, in);
    if (s->dtype == want) {
        memcpy(to, row, quant_row_bytes(want, in));
        return -1;
    }
    if (quantised(want))
        return quant_pack_row(want, to, s->dtype, row, in);
    for (int i = 0; i < in; i++)
        half_store(want, to, (size_t)i, half_load(s->dtype, row, (size_t)i));
    return -1;
}

int slab_refuse(const struct slab *s, int r, int column, enum dtype want, struct err *e)
{
    return err_set(e, "tensor %s: row %d, column %d is not a finite number and cannot be stored as %s",
                   s->name ? s->name : "without a name", r, column, dtype_name(want));
}

/* Behind the first `rows` rows; of panels, behind those that hold nothing else. */
static const char *end_of(const struct slab *s, int rows, int in)
{
    if (s->form == FORM_ROWS)
        return row_of(s, rows, in);
    int panels = rows == s->rows ? panels_of(rows) : rows / PANEL;
    return (const char *)s->data + (size_t)panels * panel_bytes(s->dtype, in);
}

/* Tells the system that these rows of a mapped file will not be read again. Only whole pages that belong to no other
 * row. */
void slab_forget(const struct slab *s, int in, int from, int n)
{
    if (!s->mapped || n <= 0)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t a = ((uintptr_t)end_of(s, from, in) + page - 1) / page * page,
        b = (uintptr_t)end_of(s, from + n, in) / page * page;
    if (a < b)
        madvise((void *)a, b - a, MADV_DONTNEED);      /* advice: may fail */
}
