/* kernels/cuda/penalize.cu - masks and penalties on logits, in place. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS) mask_kernel(struct tensor logits, const uint32_t *allowed)
{
    int r = (int)blockIdx.y, i = (int)(blockIdx.x * THREADS + threadIdx.x);
    const uint32_t *row = allowed + (size_t)r * (size_t)((logits.cols + 31) / 32);
    if (i < logits.cols && !(row[i / 32] >> (i % 32) & 1))
        row_of(logits, r)[i] = -INFINITY;
}

void cuda_mask(struct device *dev, struct tensor logits, const uint32_t *allowed)
{
    if (logits.rows > 0)
        LAUNCH(dev, mask_kernel, dim3(blocks_for((size_t)logits.cols, THREADS), (unsigned)logits.rows), THREADS, 0,
               logits, allowed);
}

/* One block per row, one thread per entry: a row names a token once. */
static __global__ void __launch_bounds__(THREADS)
penalize_kernel(struct tensor logits, const struct seen *seen, const int *first, const struct penalty *penalty)
{
    int r = (int)blockIdx.x;
    for (int i = first[r] + (int)threadIdx.x; i < first[r + 1]; i += THREADS) {
        float *at = row_of(logits, r) + seen[i].token, x = *at;
        int count = seen[i].count;
        if (seen[i].in_prompt || count > 0)
            x = x > 0 ? x / penalty[r].repetition : x * penalty[r].repetition;
        if (count > 0)
            x -= penalty[r].frequency * (float)count + penalty[r].presence;
        *at = x + seen[i].bias;
    }
}

void cuda_penalize(struct device *dev, struct tensor logits, const struct seen *seen, const int *first,
                   const struct penalty *penalty)
{
    if (logits.rows > 0)
        LAUNCH(dev, penalize_kernel, dim3((unsigned)logits.rows), THREADS, 0, logits, seen, first, penalty);
}
