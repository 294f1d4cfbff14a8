/* kernels/ref/ref.c - the table and the memory of backend `ref`. Weights are
 * copied into one block of rows as `want` has them, in the order of the slabs. */
#include "kernels/ref/ref.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/host.h"
#include "kernels/quant.h"
#include "kernels/slab.h"

struct device { int unused; };

static int ref_open(struct device **out, const struct device_options *options, struct err *e)
{
    if (options->activations == ACTIVATIONS_INT8)
        return err_set(e, "backend ref multiplies floats alone");
    *out = xcalloc(1, sizeof **out);
    return 0;
}

static void ref_close(struct device *dev) { free(dev); }

/* Stacks the slabs into one block of rows in the type that is wanted. After an error nothing is held. */
static int ref_pack(struct device *dev, struct weight *out, const struct slab *slabs, int n, const float *bias,
                    enum dtype want, struct err *e)
{
    (void)dev;
    if (slab_check(out, slabs, n, want, e))
        return -1;
    size_t row = quant_row_bytes(want, out->in);
    char *to = out->data = xmalloc((size_t)out->out * row);
    out->dtype = want;
    for (int s = 0; s < n; s++) {
        for (int r = 0; r < slabs[s].rows; r++, to += row) {
            int bad = slab_row(&slabs[s], r, out->in, want, to);
            if (bad >= 0) {
                free(out->data);
                out->data = NULL;
                return slab_refuse(&slabs[s], r, bad, want, e);
            }
        }
        slab_forget(&slabs[s], out->in, 0, slabs[s].rows);
    }
    out->bias = bias ? memcpy(xmalloc(sizeof(float) * (size_t)out->out), bias, sizeof(float) * (size_t)out->out) : NULL;
    return 0;
}

static void ref_release(struct device *dev, struct weight *w)
{
    (void)dev;
    free(w->data);
    free(w->bias);
    w->data = NULL;
    w->bias = NULL;
}

static size_t ref_packed_bytes(const struct weight *shape, enum dtype want)
{
    return (size_t)shape->out * quant_row_bytes(want, shape->in);
}

static const char *ref_sync(struct device *dev)
{
    (void)dev;
    return NULL;
}

const struct backend backend_ref = {
    .name = "ref",
    .kv = F32, .kv_rounded = F32,
    .ops = {
        .embed = ref_embed, .linear = ref_linear, .norm = ref_norm, .act = ref_act, .add = ref_add,
        .copy = ref_copy, .fuse = ref_fuse, .route = ref_route, .linear_grouped = ref_linear_grouped,
        .prep = ref_prep, .attend = ref_attend, .attend_ragged = ref_attend_ragged,
        .pixels = ref_pixels, .conv2d = ref_conv2d, .dwconv2d = ref_dwconv2d, .gather = ref_gather,
            .scatter = ref_scatter,
        .mask = ref_mask, .penalize = ref_penalize, .sample = ref_sample, .logprobs = ref_logprobs,
    },
    .open = ref_open, .close = ref_close, .memory = host_memory, .alloc = host_alloc, .free = host_free,
    .take = host_take, .give_back = host_give_back, .upload = host_copy, .download = host_copy, .pack = ref_pack,
    .release = ref_release, .packed_bytes = ref_packed_bytes, .sync = ref_sync,
};
