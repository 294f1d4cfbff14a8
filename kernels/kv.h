/* kernels/kv.h - how keys and values lie in the paged cache, for all backends.
 *
 * k, and v likewise, is page after page; a page is layer after layer, so that it
 * can be taken and given back as one piece; a layer of a page is `page` entries;
 * an entry is n_kv heads; a head is `dim` numbers of F32, F16 or BF16, or a row of Q8 or F8
 * (kernels/quant.h) that is not rotated: one scale, and numbers of a byte. Such a head with a number
 * that is not finite is all NaN. Finite numbers beyond the range of F16 become its largest. */
#ifndef KERNELS_KV_H
#define KERNELS_KV_H
#include "kernels/quant.h"

/* Bytes of a head, of an entry, and of all pages of one layer of k. */
static inline size_t kv_head_bytes(const struct kv *kv) { return quant_row_bytes(kv->dtype, kv->dim); }
static inline size_t kv_entry_bytes(const struct kv *kv) { return (size_t)kv->n_kv * kv_head_bytes(kv); }

static inline size_t kv_layer_bytes(const struct kv *kv)
{
    return (size_t)kv->n_pages * (size_t)kv->page * kv_entry_bytes(kv);
}

/* Where the entries of a layer begin in k: bytes before its part of page 0. From there on, entry i of page p lies
 * p * kv_page_step() + i entries further. */
static inline size_t kv_layer_start(const struct kv *kv, int layer)
{
    return (size_t)layer * (size_t)kv->page * kv_entry_bytes(kv);
}

static inline int kv_page_step(const struct kv *kv) { return kv->layers * kv->page; }

/* Where entry `slot` (page * kv.page + entry) of a layer lies in k: bytes from the beginning. */
static inline size_t kv_slot_start(const struct kv *kv, int layer, int slot)
{
    size_t entry = (size_t)(slot / kv->page) * (size_t)kv_page_step(kv) + (size_t)(slot % kv->page);
    return kv_layer_start(kv, layer) + entry * kv_entry_bytes(kv);
}

#define KV_F16_MAX 65504.0f

/* x; for F16 a finite number beyond its range becomes its largest, with the sign of x. */
float kv_fit(enum dtype t, float x);

/* One head: n numbers into it, and number i of it. */
void  kv_put(enum dtype t, void *head, const float *x, int n);
float kv_get(enum dtype t, const void *head, int i);

#endif
