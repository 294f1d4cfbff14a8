/* kernels/slab.h - what the pack() of every backend does with its slabs: check
 * them, convert one row at a time, give the pages of the file back. */
#ifndef KERNELS_SLAB_H
#define KERNELS_SLAB_H
#include "kernels/ops.h"

/* 0, or -1 and e: a weight of this shape can be made as `want` from these slabs. */
int slab_check(const struct weight *out, const struct slab *slabs, int n, enum dtype want, struct err *e);

/* Writes row r of `in` numbers as `want`: quant_row_bytes(want, in) bytes. The column whose number `want` cannot hold,
 * or -1: none. */
int slab_row(const struct slab *s, int r, int in, enum dtype want, void *to);

/* The error for what slab_row() returned. Returns -1. */
int slab_refuse(const struct slab *s, int r, int column, enum dtype want, struct err *e);

/* Rows from .. from + n have been read for the last time: where they are mapped, their pages need not stay in memory.
 * (Reading them again would bring them back.) */
void slab_forget(const struct slab *s, int in, int from, int n);

#endif
