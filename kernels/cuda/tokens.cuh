/* kernels/cuda/tokens.cuh - what sampling and log-probabilities share: a block
 * works on one row of logits, every thread on a run of neighbouring ids. */
#ifndef KERNELS_CUDA_TOKENS_CUH
#define KERNELS_CUDA_TOKENS_CUH
#include "kernels/cuda/common.cuh"

#include <float.h>

enum { TOKEN_THREADS = 256 };

/* A logit that can be compared and subtracted: NaN is -infinity, +infinity the largest float, -0 is 0. */
__device__ __forceinline__ float clean(float x) { return isnan(x) ? -INFINITY : fminf(x, FLT_MAX) + 0.0f; }

struct best { float x; int id; };      /* the larger logit; of equal ones, the lower id */

__device__ __forceinline__ struct best better(struct best a, struct best b)
{
    return a.x > b.x || (a.x == b.x && a.id < b.id) ? a : b;
}

/* The best of the block; all threads get it. part: (TOKEN_THREADS) shared. */
__device__ __forceinline__ struct best block_best(struct best mine, struct best *part)
{
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int n = TOKEN_THREADS / 2; n > 0; n /= 2) {
        if ((int)threadIdx.x < n)
            part[threadIdx.x] = better(part[threadIdx.x], part[threadIdx.x + n]);
        __syncthreads();
    }
    struct best b = part[0];
    __syncthreads();
    return b;
}

/* The sum of what the threads before this one have; *total: of all. part: (TOKEN_THREADS) shared. Integers: exact. */
template <class T> __device__ __forceinline__ T block_scan(T mine, T *total, T *part)
{
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int n = 1; n < TOKEN_THREADS; n *= 2) {
        T x = part[threadIdx.x], y = (int)threadIdx.x >= n ? part[threadIdx.x - n] : 0;
        __syncthreads();
        part[threadIdx.x] = x + y;
        __syncthreads();
    }
    T before = part[threadIdx.x] - mine;
    *total = part[TOKEN_THREADS - 1];
    __syncthreads();
    return before;
}

#endif
