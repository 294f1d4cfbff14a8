/* kernels/slab.c - see slab.h. */
#include "kernels/slab.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/half.h"
#include "kernels/quant.h"

static bool plain(enum dtype t) { return t == F32 || t == F16 || t == BF16; }

int slab_check(const struct weight *out, const struct slab *slabs, int n, enum dtype want, struct err *e)
{
    long long rows = 0;
    if (!plain(want) && !(quantised(want) && out->layout == LAYOUT_LINEAR))
        return err_set(e, "a weight cannot be stored as this type");
    for (int i = 0; i < n; i++) {
        if (!plain(slabs[i].dtype))
            return err_set(e, "weights are read as float32, float16 or bfloat16 only");
        rows += slabs[i].rows;
    }
    if (rows != out->out)
        return err_set(e, "a weight of %d rows is made of %lld", out->out, rows);
    return 0;
}

static const char *row_of(const struct slab *s, int r, int in)
{
    return (const char *)s->data + (size_t)r * (size_t)in * dtype_size(s->dtype);
}

int slab_row(const struct slab *s, int r, int in, enum dtype want, void *to)
{
    const char *row = row_of(s, r, in);
    if (quantised(want))
        return quant_pack_row(want, to, s->dtype, row, in);
    if (s->dtype == want)
        memcpy(to, row, (size_t)in * dtype_size(want));
    else
        for (int i = 0; i < in; i++)
            half_store(want, to, (size_t)i, half_load(s->dtype, row, (size_t)i));
    return -1;
}

int slab_refuse(const struct slab *s, int r, int column, enum dtype want, struct err *e)
{
    return err_set(e, "tensor %s: row %d, column %d is not a finite number and cannot be stored as %s",
                   s->name ? s->name : "without a name", r, column, dtype_name(want));
}

void slab_forget(const struct slab *s, int in, int from, int n)
{
    if (!s->mapped || n <= 0)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t a = ((uintptr_t)row_of(s, from, in) + page - 1) / page * page,
        b = (uintptr_t)row_of(s, from + n, in) / page * page;
    if (a < b)
        madvise((void *)a, b - a, MADV_DONTNEED);      /* advice: may fail */
}
