/* kernels/cuda/embed.cu - rows of the embedding, one block each. */
#include "kernels/cuda/packed.cuh"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS) embed_kernel(struct tensor out, const void *w, enum dtype type,
                                                               int stride, const int *ids)
{
    int r = (int)blockIdx.x;
    size_t from = (size_t)ids[r] * (size_t)stride;
    for (int c = (int)threadIdx.x; c < out.cols; c += THREADS)
        row_of(out, r)[c] = load_as(type, w, from + (size_t)c);
}

/* n: rows of the table, by which packed.cuh finds the scales. A warp takes a whole group of columns, also of those that
 * only fill the last one, as packed_get() needs it. */
static __global__ void __launch_bounds__(THREADS) embed_quantised_kernel(struct tensor out, const void *w,
                                                                         enum dtype type, int n, const int *ids)
{
    int r = (int)blockIdx.x;
    for (int c = (int)threadIdx.x; c < packed_groups(out.cols) * QUANT_GROUP; c += THREADS) {
        float v = packed_get(type, w, n, out.cols, ids[r], c);
        if (c < out.cols)
            row_of(out, r)[c] = v;
    }
}

void cuda_embed(struct device *dev, struct tensor out, const struct weight *w, const int *ids)
{
    if (out.rows <= 0)
        return;
    if (quantised(w->dtype))
        LAUNCH(dev, embed_quantised_kernel, dim3((unsigned)out.rows), THREADS, 0, out, w->data, w->dtype, w->out, ids);
    else
        LAUNCH(dev, embed_kernel, dim3((unsigned)out.rows), THREADS, 0, out, w->data, w->dtype, packed_stride(w), ids);
}
