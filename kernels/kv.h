/* kernels/kv.h - how keys and values lie in the paged cache, for all backends.
 *
 * A layer of k, and one of v, is n_pages * page entries; an entry is n_kv heads;
 * a head is `dim` numbers of F32, F16 or BF16, or a row of Q8 or F8
 * (kernels/quant.h) that is not rotated: one scale, and numbers of a byte. Such a head with a number
 * that is not finite is all NaN. */
#ifndef KERNELS_KV_H
#define KERNELS_KV_H
#include "kernels/quant.h"

/* Bytes of a head, and of a layer of k. */
static inline size_t kv_head_bytes(const struct kv *kv) { return quant_row_bytes(kv->dtype, kv->dim); }

static inline size_t kv_layer_bytes(const struct kv *kv)
{
    return (size_t)kv->n_pages * (size_t)kv->page * (size_t)kv->n_kv * kv_head_bytes(kv);
}

/* One head: n numbers into it, and number i of it. */
void  kv_put(enum dtype t, void *head, const float *x, int n);
float kv_get(enum dtype t, const void *head, int i);

#endif
