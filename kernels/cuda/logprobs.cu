/* kernels/cuda/logprobs.cu - log-softmax of the chosen token and of the largest
 * ones, one block per row; the largest come one after the other, a pass over
 * the row (in the L2 cache) for each. */
#include "kernels/cuda/tokens.cuh"

/* The sum of doubles over the block, always in the same order. */
static __device__ double block_sum(double mine, double *part)
{
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int n = TOKEN_THREADS / 2; n > 0; n /= 2) {
        if ((int)threadIdx.x < n)
            part[threadIdx.x] += part[threadIdx.x + n];
        __syncthreads();
    }
    return part[0];
}

/* The k-th largest is the best of those that come after the last one in the order of values, then ids. The first pass,
 * which runs also if no alternatives are wanted, finds the maximum that the sum of exponentials needs. */
static __global__ void __launch_bounds__(TOKEN_THREADS)
logprobs_kernel(int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    __shared__ struct best part[TOKEN_THREADS];
    __shared__ double sums[TOKEN_THREADS];
    int r = (int)blockIdx.x, n = logits.cols;
    const float *x = row_of(logits, r);
    top += (size_t)r * (size_t)top_n;
    lp += (size_t)r * (size_t)(top_n + 1);
    struct best last = { INFINITY, -1 };
    float most = 0, log_sum = 0;
    for (int k = 0; k < top_n || k == 0; k++) {
        struct best mine = { -INFINITY, 0x7fffffff };
        for (int i = (int)threadIdx.x; i < n; i += TOKEN_THREADS) {
            struct best b = { clean(x[i]), i };
            if (b.x < last.x || (b.x == last.x && i > last.id))      /* comes after the last one */
                mine = better(b, mine);
        }
        last = block_best(mine, part);
        if (k == 0) {
            double sum = 0;
            most = last.x;
            for (int i = (int)threadIdx.x; i < n; i += TOKEN_THREADS)
                sum += most > -INFINITY ? (double)expf(clean(x[i]) - most) : 1;
            log_sum = (float)log(block_sum(sum, sums));
            if (threadIdx.x == 0)
                lp[0] = most > -INFINITY ? clean(x[chosen[r]]) - most - log_sum : -log_sum;
        }
        if (threadIdx.x == 0 && k < top_n) {
            top[k] = last.id;
            lp[1 + k] = most > -INFINITY ? last.x - most - log_sum : -log_sum;
        }
    }
}

void cuda_logprobs(struct device *dev, int *top, float *lp, struct tensor logits, const int *chosen, int top_n)
{
    if (logits.rows > 0)
        LAUNCH(dev, logprobs_kernel, dim3((unsigned)logits.rows), TOKEN_THREADS, 0, top, lp, logits, chosen, top_n);
}
