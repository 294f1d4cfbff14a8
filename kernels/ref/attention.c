/* kernels/ref/attention.c - softmax(cap(scale Q K')) V in two passes over the
 * visible entries: the largest score, then the weighted sum. A score is
 * computed twice so that no memory is needed. */
#include <math.h>
#include <string.h>

#include "kernels/kv.h"
#include "kernels/ref/ref.h"

/* What one row attends to. */
struct entries {
    enum dtype  dtype;
    const void *k, *v;
    size_t      k_stride, v_stride; /* bytes from one entry to the next ... */
    size_t      head;               /* ... and from one head                */
    int         from, limit;
    const int  *pages;   /* entry e is in page pages[e / page]; NULL: entries lie end to end */
    const int  *fill;    /* entries in use of a page, or NULL */
    int         page, step;      /* entries of a page, and from one page to the next */
};

/* Where entry e lies, counted in entries; -1: it is not in use. */
static long entry_at(const struct entries *s, int e)
{
    if (!s->pages)
        return e;
    int page = s->pages[e / s->page], i = e % s->page;
    return s->fill && i >= s->fill[page] ? -1 : (long)page * s->step + i;
}

/* One head of the entry that lies at `at`. */
static const void *head_at(const void *from, size_t stride, long at, const struct entries *s, int kv_head)
{
    return (const char *)from + (size_t)at * stride + (size_t)kv_head * s->head;
}

/* q k' times the scale, bent towards the cap where there is one (Gemma Team 2024, Gemma 2). */
static float score(const struct entries *s, long at, int kv_head, const float *q, const struct heads *h)
{
    const void *k = head_at(s->k, s->k_stride, at, s, kv_head);
    float sum = 0;
    for (int i = 0; i < h->dim; i++)
        sum += q[i] * kv_get(s->dtype, k, i);
    sum *= h->scale;
    return h->cap > 0 ? h->cap * tanhf(sum / h->cap) : sum;
}

/* One query of one head over its entries, with the largest score taken off before the exponentials, so that none
 * overflows. */
static void attend_head(float *out, const float *q, const struct entries *s, int kv_head, const struct heads *h)
{
    float max = -INFINITY, total = 0;
    memset(out, 0, sizeof *out * (size_t)h->dim);
    for (int e = s->from; e < s->limit; e++)
        if (entry_at(s, e) >= 0)
            max = fmaxf(max, score(s, entry_at(s, e), kv_head, q, h));
    for (int e = s->from; e < s->limit; e++) {
        long at = entry_at(s, e);
        if (at < 0)
            continue;
        float p = expf(score(s, at, kv_head, q, h) - max);
        const void *v = head_at(s->v, s->v_stride, at, s, kv_head);
        total += p;
        for (int i = 0; i < h->dim; i++)
            out[i] += p * kv_get(s->dtype, v, i);
    }
    for (int i = 0; i < h->dim && total > 0; i++)
        out[i] /= total;
}

/* Several query heads share a head of keys and values where there are more of them (Ainslie et al. 2023). */
static void attend_row(struct tensor out, struct tensor q, int r, const struct entries *s, const struct heads *h)
{
    for (int g = 0; g < h->n; g++)
        attend_head(tensor_row(out, r) + g * h->dim, tensor_row(q, r) + g * h->dim, s, g / (h->n / h->n_kv), h);
}

/* Row by row: an entry's page comes from the view, and entries past what a page holds in use are left out. */
void ref_attend(struct device *dev, struct tensor out, struct tensor q, const struct kv *kv, int layer,
                const struct heads *h, const struct batch *b, const struct view *view)
{
    (void)dev;
    size_t skip = kv_layer_start(kv, layer), head = kv_head_bytes(kv), entry = kv_entry_bytes(kv);
    struct entries s = { .dtype = kv->dtype, .k = (char *)kv->k + skip, .v = (char *)kv->v + skip, .k_stride = entry,
                         .v_stride = entry, .head = head, .fill = view->fill, .page = kv->page,
                         .step = kv_page_step(kv) };
    for (int i = 0; i < b->n_seqs; i++)
        for (int r = b->first[i]; r < b->first[i + 1]; r++) {
            s.from = view->from ? view->from[r] : 0;
            s.limit = view->limit[r];
            s.pages = view->pages + (size_t)i * (size_t)view->max_pages;
            attend_row(out, q, r, &s, h);
        }
}

/* Every row of a segment sees all of that segment, and nothing of the others. */
void ref_attend_ragged(struct device *dev, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                       const struct heads *h, int n_seg, const int *q_first, const int *kv_first)
{
    (void)dev;
    for (int i = 0; i < n_seg; i++)
        for (int r = q_first[i]; r < q_first[i + 1]; r++) {
            struct entries s = { .dtype = F32, .k = tensor_row(k, kv_first[i]), .v = tensor_row(v, kv_first[i]),
                                 .k_stride = sizeof(float) * (size_t)k.stride,
                                     .v_stride = sizeof(float) * (size_t)v.stride,
                                 .head = sizeof(float) * (size_t)h->dim,
                                 .limit = kv_first[i + 1] - kv_first[i] };
            attend_row(out, q, r, &s, h);
        }
}

/* Rotates the leading part of one head of row r (Su et al. 2021). Which position an angle counts is up to `axis`: for
 * images the time, the row or the column. */
static void rotate(float *x, const struct rope *rope, const int *pos, int rows, int r)
{
    int half = rope->rot_dim / 2;
    const float *freq = rope_frequencies(rope, pos, rows, r);
    for (int i = 0; i < half; i++) {
        float angle = (float)pos[rope->axis[i] * rows + r] * freq[i];
        float c = cosf(angle) * rope->mscale, s = sinf(angle) * rope->mscale;
        float *a = rope->interleaved ? x + 2 * i : x + i, *b = rope->interleaved ? a + 1 : a + half;
        float x0 = *a, x1 = *b;
        *a = x0 * c - x1 * s;
        *b = x1 * c + x0 * s;
    }
}

/* Each head of each row: its norm first, where the model has one, then the rotation. */
static void norm_and_rotate(struct tensor x, int n, const struct norm *norm, const struct heads *h, const int *pos)
{
    for (int r = 0; x.data && r < x.rows; r++)
        for (int g = 0; g < n; g++) {
            float *head = tensor_row(x, r) + g * h->dim;
            if (norm)
                ref_norm1(head, head, h->dim, norm, NULL);
            if (h->rope)
                rotate(head, h->rope, pos, x.rows, r);
        }
}

/* Row r goes to entry slot[r] of the layer. */
static void store(void *cache, const struct kv *kv, int layer, struct tensor x, const int *slot)
{
    for (int r = 0; x.data && r < x.rows; r++) {
        if (slot[r] < 0)
            continue;
        char *entry = (char *)cache + kv_slot_start(kv, layer, slot[r]);
        for (int g = 0; g < kv->n_kv; g++)
            kv_put(kv->dtype, entry + (size_t)g * kv_head_bytes(kv), tensor_row(x, r) + g * kv->dim, kv->dim);
    }
}

/* In this order, so that the cache holds keys that are ready to be used. Values are neither normed nor rotated. */
void ref_prep(struct device *dev, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
              const int *pos, const struct kv *kv, int layer, const int *slot)
{
    (void)dev;
    norm_and_rotate(q, h->n, h->q_norm, h, pos);
    norm_and_rotate(k, h->n_kv, h->k_norm, h, pos);
    if (!kv || !slot)
        return;
    store(kv->k, kv, layer, k, slot);
    store(kv->v, kv, layer, v, slot);
}
