/* kernels/cpu/weights.c - how backend `cpu` keeps weights.
 *
 * A matrix is laid out by the linear kernel that will read it (linear.h). Rows,
 * the layout of the float kernel, are used where they lie, in the mapped
 * checkpoint: packing keeps a list of row ranges and converts only what must
 * change its type, on all threads, a megabyte of the file at a time, whose pages
 * it gives back at once. So no more than the packed weights is in memory at any
 * time. Depthwise weights become
 * (taps, channels) floats. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/panels.h"
#include "kernels/half.h"
#include "kernels/slab.h"

enum { PART = 1 << 20 };               /* bytes of a slab in one task */

struct packing {                       /* of one slab */
    const struct slab *slab;
    int         in, step;              /* columns; rows in a task */
    enum dtype  want;
    char       *to;
    _Atomic int bad;                   /* the first row that cannot be stored; rows: none */
};

/* Task: p->step rows of a slab from row index * step on become the type that is wanted, and their pages of the file go
 * back. The first row that cannot be stored is noted; the caller names it. */
static void pack_part(void *arg, int index, int worker)
{
    struct packing *p = arg;
    int from = index * p->step, left = p->slab->rows - from, n = left < p->step ? left : p->step;
    size_t row = quant_row_bytes(p->want, p->in);
    (void)worker;
    for (int r = from; r < from + n; r++)
        if (slab_row(p->slab, r, p->in, p->want, p->to + (size_t)r * row) >= 0) {
            int first = atomic_load(&p->bad);
            while (r < first && !atomic_compare_exchange_weak(&p->bad, &first, r))
                ;
            return;
        }
    slab_forget(p->slab, p->in, from, n);
}

/* Converts the rows of a slab in parallel, in steps of about PART bytes. What was read of a mapped file is given back
 * to the system at once, so that loading does not need the memory twice. */
static int pack_slab(struct device *dev, const struct slab *s, int in, enum dtype want, char *to, struct err *e)
{
    size_t row = quant_row_bytes(s->dtype, in);
    int step = row < PART ? (int)(PART / (row + 1)) + 1 : 1;
    struct packing p = { s, in, step, want, to, s->rows };
    cpu_run(dev, (s->rows + step - 1) / step, pack_part, &p);
    slab_forget(s, in, 0, s->rows);    /* also what a neighbour's page fault brought back */
    if (p.bad < s->rows)
        return slab_refuse(s, p.bad, slab_row(s, p.bad, in, want, to), want, e);
    return 0;
}

static bool stays(const struct slab *s, enum dtype want)
{
    return s->dtype == want && s->form == FORM_ROWS &&
           (quantised(want) || (uintptr_t)s->data % dtype_size(want) == 0);
}

static void free_packed(struct device *dev, struct packed *p)
{
    blocks_free(cpu_blocks(dev), p->owned);
    free(p);
}

/* Entry `pack` of the float kernel. Slabs that are of the wanted type already stay where they lie; the others are
 * converted into one block, in order. On failure nothing is owned. */
int linear_pack_rows(struct device *dev, const struct linear_kernel *kernel, struct weight *out,
                     const struct slab *slabs, int n, enum dtype want, struct err *e)
{
    struct packed *rows = xcalloc(1, sizeof *rows + (size_t)n * sizeof *rows->range);
    size_t bytes = 0, row = quant_row_bytes(want, out->in);
    int first = 0;
    for (int s = 0; s < n; s++)
        bytes += stays(&slabs[s], want) ? 0 : (size_t)slabs[s].rows * row;
    rows->kernel = kernel;
    rows->n = n;
    rows->owned = bytes ? blocks_alloc(cpu_blocks(dev), bytes) : NULL;
    if (bytes && !rows->owned) {
        free_packed(dev, rows);
        return err_set(e, "out of memory converting a weight of %d x %d", out->out, out->in);
    }
    char *to = rows->owned;
    for (int s = 0; s < n; first += slabs[s++].rows) {
        rows->range[s] = (struct range){ stays(&slabs[s], want) ? slabs[s].data : to, first };
        if (stays(&slabs[s], want))
            continue;
        if (pack_slab(dev, &slabs[s], out->in, want, to, e)) {
            free_packed(dev, rows);
            return -1;
        }
        to += (size_t)slabs[s].rows * row;
    }
    out->data = rows;
    return 0;
}

/* (channels, taps) of slabs becomes (taps, channels) floats. */
static void pack_depthwise(float *to, const struct weight *w, const struct slab *slabs, int n)
{
    int c = 0;
    for (int s = 0; s < n; s++)
        for (int r = 0; r < slabs[s].rows; r++, c++)
            for (int t = 0; t < w->in; t++)
                to[(size_t)t * (size_t)w->out + (size_t)c] =
                    half_load(slabs[s].dtype, slabs[s].data, (size_t)r * (size_t)w->in + (size_t)t);
}

/* Entry `pack` of struct backend: the kernel that fits a matrix lays it out; depthwise weights and biases are
 * copied. */
int cpu_pack(struct device *dev, struct weight *out, const struct slab *slabs, int n, const float *bias,
             enum dtype want, struct err *e)
{
    if (slab_check(out, slabs, n, want, e))
        return -1;
    if (out->layout == LAYOUT_DEPTHWISE) {
        out->dtype = F32;
        out->data = xmalloc((size_t)out->out * (size_t)out->in * sizeof(float));
        pack_depthwise(out->data, out, slabs, n);
    } else {
        out->dtype = want;
        const struct linear_kernel *kernel = cpu_linear_kernel(dev, out, want);
        if (kernel->pack(dev, kernel, out, slabs, n, want, e))
            return -1;
    }
    out->bias = bias ? memcpy(xmalloc(sizeof(float) * (size_t)out->out), bias, sizeof(float) * (size_t)out->out) : NULL;
    return 0;
}

void cpu_release(struct device *dev, struct weight *w)
{
    if (w->layout == LAYOUT_LINEAR && w->data)
        free_packed(dev, w->data);
    else
        free(w->data);
    free(w->bias);
    w->data = NULL;
    w->bias = NULL;
}

/* Entry `slabs` of struct backend: the ranges of rows, or all panels in one. Not for depthwise weights. */
int cpu_slabs(const struct weight *w, struct slab *out, int most)
{
    const struct packed *p = w->data;
    bool panels = p->kernel->pack == panels_pack;
    for (int i = 0; i < p->n && i < most; i++) {
        int end = i + 1 < p->n ? p->range[i + 1].first : w->out;
        out[i] = (struct slab){ .data = p->range[i].data, .dtype = w->dtype, .rows = end - p->range[i].first,
                                .form = panels ? FORM_PANELS : FORM_ROWS, .scale = p->scale };
    }
    return p->n;
}

size_t cpu_packed_bytes(const struct weight *shape, enum dtype want)
{
    if (panels_suit(shape, want))
        return panels_bytes(shape, want);          /* rows of them take no more */
    return (size_t)shape->out * quant_row_bytes(shape->layout == LAYOUT_DEPTHWISE ? F32 : want, shape->in);
}
