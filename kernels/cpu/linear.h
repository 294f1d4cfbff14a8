/* kernels/cpu/linear.h - the list of ways in which backend `cpu` multiplies
 * with a matrix.
 *
 * When a weight is packed, the first entry of the instruction set's list that
 * fits its type lays it out, and stays with it: whoever reads a weight asks
 * weight_kernel(). An operation runs in passes over at most as many rows of x
 * as the device has room to prepare; in each pass prepare() puts the rows into
 * the form that task() reads, once, and then the tasks run. So a new way to
 * multiply is one entry, in one file.
 *
 * Whatever the kernel, the numbers of one row of the output depend on that row
 * of x alone, and are the same for any number of rows, cut in any way. */
#ifndef KERNELS_CPU_LINEAR_H
#define KERNELS_CPU_LINEAR_H
#include "kernels/quant.h"

struct scratch;

struct linear_job {
    struct tensor out, x;
    const struct weight *w;
    const struct epilogue *ep;
    const struct conv *conv;  /* x is a feature map; NULL: its rows are multiplied as they are        */
    const char *prepared;     /* of this pass' rows; NULL: the kernel has no prepare()                */
    int from, n;              /* rows of out in this pass                                             */
    int rows, cols;           /* of out in one task; what they are rounded to is the kernel's affair  */
    int row_tasks;            /* task t: rows t % row_tasks, columns t / row_tasks                    */
};

struct linear_kernel {
    const char *name;         /* for messages and tests */
    /* A weight of this shape, stored as `want`, with activations of at most this precision, is this kernel's. */
    bool   (*fits)(const struct weight *shape, enum dtype want, enum activations);
    /* Lays out n slabs: fills w->data. */
    int (*pack)(struct device *, const struct linear_kernel *, struct weight *w, const struct slab *, int n,
                enum dtype want, struct err *e);
    /* Row o of the weight as floats. */
    void   (*row)(const struct weight *w, int o, float *to);
    /* Rows that are prepared together, and the bytes that each takes; 0: x is read as it is. */
    int    block_rows;
    size_t (*row_bytes)(const struct weight *w);
    /* Writes block b of the pass to job->prepared + (first row of the block) * row_bytes(). */
    void   (*prepare)(const struct linear_job *, int block);
    int    (*blocks)(int rows);
    /* Sets rows, cols and row_tasks for so many threads; returns how many tasks there are. */
    int    (*cut)(struct linear_job *, int threads);
    void   (*task)(const struct linear_job *, int task, struct scratch *);
};

struct packed {               /* data of a LAYOUT_LINEAR weight */
    const struct linear_kernel *kernel; /* that it is laid out for                              */
    void        *owned;       /* what was converted, quantised or laid out anew, or NULL        */
    const float *scale;       /* panels of Q8: (out, padded to whole panels); else NULL         */
    int          n;
    struct range { const void *data; int first; } range[]; /* rows first .. next range's first  */
};

static inline const struct linear_kernel *weight_kernel(const struct weight *w)
{
    return ((const struct packed *)w->data)->kernel;
}

/* weights.c: rows of numbers as kernels/quant.h has them, used where they lie if nothing must change. */
int linear_pack_rows(struct device *, const struct linear_kernel *, struct weight *, const struct slab *, int n,
                     enum dtype want, struct err *e);

/* Row o of a weight that linear_pack_rows() has laid out. */
static inline const void *weight_row(const struct weight *w, int o)
{
    const struct packed *p = w->data;
    int i = p->n - 1;
    while (o < p->range[i].first)
        i--;
    return (const char *)p->range[i].data + (size_t)(o - p->range[i].first) * quant_row_bytes(w->dtype, w->in);
}

#endif
