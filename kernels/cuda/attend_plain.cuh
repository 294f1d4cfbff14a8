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
    size_t      k_stride, v_stride, head; /* bytes from one entry, and from one head, to the next */
    const int  *pages, *fill; /* pages NULL: entries lie end to end from `first` */
    int         page, step, first; /* entries of a page, and from one page to the next */
};

/* Where entry e lies; -1: not in use. */
__device__ __forceinline__ long entry_at(const struct entries &s, int e)
{
    if (!s.pages)
        return s.first + e;
    int page = s.pages[e / s.page], i = e % s.page;
    return s.fill && i >= s.fill[page] ? -1 : (long)page * s.step + i;
}

/* Where a head of entry `at` begins, and number i of it, as kv_get(). */
__device__ __forceinline__ const char *head_at(const void *from, size_t stride, long at, const struct entries &s,
                                               int kv_head)
{
    return (const char *)from + (size_t)at * stride + (size_t)kv_head * s.head;
}

/* Number i of a head of the cache, whatever its type; those of a byte have a scale before them. */
__device__ __forceinline__ float head_get(enum dtype t, const char *head, int i)
{
    if (!has_scale(t))
        return load_as(t, head, (size_t)i);
    char b = head[QUANT_HEAD + i];
    return (t == Q8 ? (float)(signed char)b : e4m3_of((unsigned char)b)) * *(const float *)head;
}

/* out (dim) = what q (dim) gets from entries from .. limit. A whole warp calls it; q and weight lie in its shared
 * memory. */
__device__ __forceinline__ void
attend_one(float *out, const float *q, float *weight, const struct entries &s, int from, int limit, int kv_head,
           int dim, float scale, float cap, int lane)
{
    float o[PLAIN_DIM / 32] = {}, most = -INFINITY, sum = 0;
    for (int e0 = from / 32 * 32; e0 < limit; e0 += 32) {
        int e = e0 + lane;
        long at = e >= from && e < limit ? entry_at(s, e) : -1;
        float x = -INFINITY;
        if (at >= 0) {
            x = 0;
            const char *k = head_at(s.k, s.k_stride, at, s, kv_head);
            for (int i = 0; i < dim; i++)
                x = fmaf(q[i], head_get(s.dtype, k, i), x);
            x = capped(x * scale, cap);
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
            const char *v = head_at(s.v, s.v_stride, from_lane < 0 ? 0 : from_lane, s, kv_head);
#pragma unroll
            for (int i = 0; i < PLAIN_DIM / 32; i++)
                if (from_lane >= 0 && i * 32 + lane < dim)
                    o[i] = fmaf(weight[j], head_get(s.dtype, v, i * 32 + lane), o[i]);
        }
        __syncwarp();
    }
#pragma unroll
    for (int i = 0; i < PLAIN_DIM / 32; i++)
        if (i * 32 + lane < dim)
            out[i * 32 + lane] = sum > 0 ? o[i] / sum : 0;
}

#endif
