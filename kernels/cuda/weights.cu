/* kernels/cuda/weights.cu - weights on their way to the device: converted or
 * quantised row by row into pinned memory, a few megabytes at a time, whose
 * pages of the file are given back. Plain rows end in zeros up to 16 bytes;
 * packed.cuh tells how quantised ones lie. */
#include "kernels/cuda/packed.cuh"

#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/err.h"
#include "kernels/slab.h"
}

/* Bytes of one row on the device. */
static size_t row_bytes(const struct weight *w, enum dtype want)
{
    return quantised(want) ? packed_row_bytes(want, w->in) : (size_t)packed_stride(w) * dtype_size(want);
}

/* Bytes of all scales, which lie behind the rows; 0 where the type has none. */
static size_t scale_bytes(const struct weight *w, enum dtype want)
{
    if (want == Q4)
        return (size_t)packed_groups(w->in) * (size_t)w->out * sizeof(uint16_t);
    return quantised(want) ? (size_t)w->out * sizeof(float) : 0;
}

size_t cuda_packed_bytes(const struct weight *shape, enum dtype want)
{
    return (size_t)shape->out * row_bytes(shape, want) + scale_bytes(shape, want);
}

struct packing {                   /* of one weight */
    const struct weight *w;
    enum dtype want;
    unsigned char *record;         /* owned: one row as quant.h has it */
    unsigned char *scales;         /* owned: of all rows, as on the device */
};

/* The numbers of one group, out of a record, to the places where the kernels read them: two of int4 in a byte, and int8
 * as sign and magnitude. */
static void place_group(enum dtype want, unsigned char *to, const unsigned char *q)
{
    int half = QUANT_GROUP / 2;
    if (want == Q4)
        memset(to, 0, (size_t)half);
    for (int k = 0; k < QUANT_GROUP; k++)
        if (want == Q4) {
            int n = packed_nibble(k), v = q[k % half] >> (k < half ? 0 : 4) & 15;
            to[n / 2] = (unsigned char)(to[n / 2] | v << n % 2 * 4);
        } else {
            int v = want == Q8 ? (signed char)q[k] : q[k];
            to[packed_byte(k)] = (unsigned char)(want == Q8 && v < 0 ? 0x80 | -v : v);
        }
}

/* Puts row `at` of the weight, which p->record holds as quant.h has it, where the kernels read it: its bytes in the
 * order of the tensor cores' fragments, its scales apart from them. */
static void place_row(const struct packing *p, unsigned char *to, int at)
{
    const unsigned char *q = p->record;
    int groups = packed_groups(p->w->in);
    if (p->want != Q4) {
        memcpy(p->scales + sizeof(float) * (size_t)at, q, sizeof(float));
        q += QUANT_HEAD;
    }
    for (int g = 0; g < groups; g++) {
        if (p->want == Q4) {
            memcpy(p->scales + sizeof(uint16_t) * ((size_t)g * (size_t)p->w->out + (size_t)at), q, sizeof(uint16_t));
            place_group(Q4, to + (size_t)g * (QUANT_GROUP / 2), q + sizeof(uint16_t));
            q += QUANT_Q4_BYTES;
        } else {
            place_group(p->want, to + (size_t)g * QUANT_GROUP, q + (size_t)g * QUANT_GROUP);
        }
    }
}

/* Packs row r of a slab, which is row `at` of the weight. -1, or the column of a number that cannot be quantised. */
static int pack_row(const struct packing *p, unsigned char *to, const struct slab *s, int r, int at)
{
    if (quantised(p->want)) {
        int bad = slab_row(s, r, p->w->in, p->want, p->record);
        if (bad < 0)
            place_row(p, to, at);
        return bad;
    }
    size_t used = (size_t)p->w->in * dtype_size(p->want);
    memset(to + used, 0, row_bytes(p->w, p->want) - used);
    return slab_row(s, r, p->w->in, p->want, to);
}

/* Rows are packed into pinned memory as many at a time as fit, sent, and the file's pages behind them given back.
 * `at`: the slab's first row in the weight. */
static int pack_slab(struct device *dev, const struct packing *p, const struct slab *s, int at, struct err *e)
{
    size_t row = row_bytes(p->w, p->want);
    int most = (int)(STAGING / row);
    for (int r = 0; r < s->rows; r += most) {
        int n = s->rows - r < most ? s->rows - r : most;
        unsigned char *to = (unsigned char *)device_stage(dev, (size_t)n * row);
        for (int i = 0; i < n; i++) {
            int bad = pack_row(p, to + (size_t)i * row, s, r + i, at + r + i);
            if (bad >= 0)
                return slab_refuse(s, r + i, bad, p->want, e);
        }
        device_send(dev, (char *)p->w->data + (size_t)(at + r) * row, to, (size_t)n * row);
        slab_forget(s, p->w->in, r, n);
    }
    return 0;
}

/* Scales of quantised rows are collected on the host and sent last, since on the device they lie behind all rows. */
static int pack_all(struct device *dev, const struct weight *w, const struct slab *slabs, int n, struct err *e)
{
    size_t scales = scale_bytes(w, w->dtype);
    struct packing p = { w, w->dtype, NULL, NULL };
    int rc = 0;
    if (scales) {
        p.record = (unsigned char *)malloc(quant_row_bytes(w->dtype, w->in));
        p.scales = (unsigned char *)malloc(scales);
        if (!p.record || !p.scales)
            rc = err_set(e, "out of memory quantising a weight of %d x %d", w->out, w->in);
    }
    for (int i = 0, at = 0; i < n && rc == 0; at += slabs[i++].rows)
        rc = pack_slab(dev, &p, &slabs[i], at, e);
    if (scales && rc == 0)
        cuda_upload(dev, (char *)w->data + (size_t)w->out * row_bytes(w, w->dtype), p.scales, scales);
    free(p.record);
    free(p.scales);
    return rc;
}

void cuda_release(struct device *dev, struct weight *w)
{
    cuda_free(dev, w->data);
    cuda_free(dev, w->bias);
    w->data = NULL;
    w->bias = NULL;
}

/* Takes the memory for rows, scales and bias, and fills it. After an error nothing is held. */
int cuda_pack(struct device *dev, struct weight *out, const struct slab *slabs, int n, const float *bias,
              enum dtype want, struct err *e)
{
    size_t bytes = cuda_packed_bytes(out, want);
    if (slab_check(out, slabs, n, want, e))
        return -1;
    if (row_bytes(out, want) > STAGING)
        return err_set(e, "a weight has %d columns, more than this device takes", out->in);
    out->dtype = want;
    out->data = cuda_alloc(dev, bytes);
    out->bias = bias ? (float *)cuda_alloc(dev, sizeof(float) * (size_t)out->out) : NULL;
    int rc = 0;
    if (!out->data || (bias && !out->bias))
        rc = err_set(e, "no CUDA memory for a weight of %zu bytes", bytes);
    if (rc == 0)
        rc = pack_all(dev, out, slabs, n, e);
    if (rc == 0 && bias)
        cuda_upload(dev, out->bias, bias, sizeof(float) * (size_t)out->out);
    if (rc == 0 && dev->error != cudaSuccess)
        rc = err_set(e, "%s", dev->text);
    if (rc != 0)
        cuda_release(dev, out);
    return rc;
}
