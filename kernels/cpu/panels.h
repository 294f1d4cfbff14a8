/* kernels/cpu/panels.h - weights as the matrix kernels read them: kernels/panels.h
 * says how they lie. A weight that a prepared checkpoint holds in this layout
 * stays in the mapped file. */
#ifndef KERNELS_CPU_PANELS_H
#define KERNELS_CPU_PANELS_H
#include "kernels/cpu/linear.h"
#include "kernels/panels.h"

/* Panel i of a weight. */
static inline const uint8_t *panel_at(const struct weight *w, int i)
{
    return (const uint8_t *)((const struct packed *)w->data)->range[0].data + (size_t)i * panel_bytes(w->dtype, w->in);
}

/* Bytes of all panels and scales of a weight of this shape. */
size_t panels_bytes(const struct weight *shape, enum dtype want);

/* Entries of struct linear_kernel. */
int panels_pack(struct device *, const struct linear_kernel *, struct weight *, const struct slab *, int n,
                enum dtype want, struct err *e);
void panels_row(const struct weight *w, int o, float *to);

#endif
