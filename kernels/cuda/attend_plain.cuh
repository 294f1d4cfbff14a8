/* kernels/cuda/attend_plain.cuh - attention without tensor cores, for heads that
 * their tiles do not fit: one warp per query and head. A lane scores one of 32
 * keys; then the lanes share the columns of the values. Keys in order, 32 at a
 * time: a row does not know its batch. */
#ifndef KERNELS_CUDA_ATTEND_PLAIN_CUH
#define KERNELS_CUDA_ATTEND_PLAIN_CUH
#include "kernels/cuda/flash.cuh"

enum { PLAIN_WARPS = 4, PLAIN_DIM = 512 };

struct entries {              /* what the rows of one sequence attend to */
    enum dtype  dtype;
    const void *k, *v;
    int         k_stride, v_stride;
    const int  *pages, *fill; /* pages NULL: entries lie end to end from `first` */
    int         page, first;
};

/* Where entry e lies; -1: not in use. */
__device__ __forceinline__ long entry_at(const struct entries &s, int e)
{
    if (!s.pages)
        return s.first + e;
    int page = s.pages[e / s.page], i = e % s.page;
    return s.fill && i >= s.fill[page] ? -1 : (long)page * s.page + i;
}

/* out (dim) = what q (dim) gets from entries from .. limit; called by a whole warp; q and weight are its shared memory. */
__device__ __forceinline__ void
attend_one(float *out, const float *q, float *weight, const struct entries &s, int from, int limit, int kv_head, int dim,
           struct score c, int lane)
{
    float o[PLAIN_DIM / 32] = {}, most = -INFINITY, sum = 0;
    for (int e0 = from / 32 * 32; e0 < limit; e0 += 32) {
        int e = e0 + lane;
        long at = e >= from && e < limit ? entry_at(s, e) : -1;
        float x = -INFINITY;
        if (at >= 0) {
            x = 0;
            for (int i = 0; i < dim; i++)
                x = fmaf(q[i], load_as(s.dtype, s.k, (size_t)at * (size_t)s.k_stride + (size_t)(kv_head * dim + i)), x);
            x *= c.scale;
            x = c.softcap > 0 ? c.softcap * tanhf(x / c.softcap) : x;
        }
        float m = x;
        for (int i = 16; i > 0; i >>= 1)
            m = fmaxf(m, __shfl_xor_sync(~0u, m, i));
        m = fmaxf(m, most);
        float shrink = m == most ? 1 : expf(most - m), p = x == -INFINITY ? 0 : expf(x - m);
        most = m;
        sum = sum * shrink + warp_sum(p);
        weight[lane] = p;
        __syncwarp();
#pragma unroll
        for (int i = 0; i < PLAIN_DIM / 32; i++)
            o[i] *= shrink;
        for (int j = 0; j < 32; j++) {
            long from_lane = __shfl_sync(~0u, at, j);
            size_t v = (size_t)from_lane * (size_t)s.v_stride + (size_t)(kv_head * dim + lane);
#pragma unroll
            for (int i = 0; i < PLAIN_DIM / 32; i++)
                if (from_lane >= 0 && i * 32 + lane < dim)
                    o[i] = fmaf(weight[j], load_as(s.dtype, s.v, v + (size_t)(i * 32)), o[i]);
        }
        __syncwarp();
    }
#pragma unroll
    for (int i = 0; i < PLAIN_DIM / 32; i++)
        if (i * 32 + lane < dim)
            out[i * 32 + lane] = sum > 0 ? o[i] / sum : 0;
}

#endif
