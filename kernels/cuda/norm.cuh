/* kernels/cuda/norm.cuh - RMSNorm and LayerNorm of a row by a block of any size:
 * the sums are those of 256 lanes (32, for rows of up to 1024), whoever plays
 * them, so their order depends on the length of the row alone. */
#ifndef KERNELS_CUDA_NORM_CUH
#define KERNELS_CUDA_NORM_CUH
#include "kernels/cuda/common.cuh"

enum { NORM_LANES = 256, NORM_SHORT = 1024 };

__device__ __host__ __forceinline__ int norm_lanes(int n) { return n > NORM_SHORT ? NORM_LANES : 32; }

/* Sum over i of (square ? (in[i] - mean)^2 : in[i]); every thread gets it. part: NORM_LANES / 32 in shared memory. */
template <int THREADS> static __device__ __forceinline__ float norm_sum(const float *in, int n, bool square,
                                                                        float mean, float *part)
{
    enum { SLOTS = NORM_LANES / THREADS };               /* lanes that a thread plays */
    int lanes = norm_lanes(n), t = (int)threadIdx.x;
    float s[SLOTS] = {};
    for (int i0 = t; i0 < n; i0 += lanes)
#pragma unroll
        for (int j = 0; j < SLOTS; j++) {
            int i = i0 + j * THREADS;
            if (t + j * THREADS < lanes && i < n)
                s[j] = square ? fmaf(in[i] - mean, in[i] - mean, s[j]) : s[j] + in[i];
        }
    __syncthreads();                                     /* the last sum has been read */
#pragma unroll
    for (int j = 0; j < SLOTS; j++) {
        float sum = warp_sum(s[j]);
        if (t % 32 == 0)
            part[(t + j * THREADS) / 32] = sum;
    }
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < lanes / 32; i++)
        sum += part[i];
    return sum;
}

/* A thread reads in[], add[] and writes to[] at the columns of its lanes only: they may be the same rows. */
template <int THREADS> static __device__ __forceinline__ void
norm_row(float *to, const float *in, int n, const struct norm &norm, const float *add, float *part)
{
    int lanes = norm_lanes(n), t = (int)threadIdx.x;
    float mean = norm.center ? norm_sum<THREADS>(in, n, false, 0, part) / (float)n : 0;
    float scale = 1 / sqrtf(norm_sum<THREADS>(in, n, true, mean, part) / (float)n + norm.eps);
    for (int i0 = t; i0 < n; i0 += lanes)
#pragma unroll
        for (int j = 0; j < NORM_LANES / THREADS; j++) {
            int i = i0 + j * THREADS;
            if (t + j * THREADS >= lanes || i >= n)
                continue;
            float y = (in[i] - mean) * scale;
            if (norm.w.data)
                y *= row_of(norm.w, 0)[i];
            if (norm.b.data)
                y += row_of(norm.b, 0)[i];
            to[i] = add ? y + add[i] : y;
        }
}

/* The norms of the rows of x as a kernel's argument: struct norms with the norms themselves in it. */
struct row_norms {
    struct tensor out, x, add, then_out;     /* add, then_out: or empty */
    struct norm   norm, then;
};

/* Row r: the first norm, and where there is one the second, which reads what the first has stored. */
template <int THREADS> static __device__ __forceinline__ void norm_both(const struct row_norms &s, int r, float *part)
{
    norm_row<THREADS>(row_of(s.out, r), row_of(s.x, r), s.x.cols, s.norm, s.add.data ? row_of(s.add, r) : NULL, part);
    if (s.then_out.data)
        norm_row<THREADS>(row_of(s.then_out, r), row_of(s.out, r), s.x.cols, s.then, NULL, part);
}

/* On the host: kernels get copies of the norms, since pointers of the host mean nothing to them. */
static inline struct row_norms row_norms_of(struct tensor x, const struct norms *n)
{
    struct row_norms s = { n->out, x, n->add, {}, *n->norm, {} };
    if (n->then)
        s.then_out = n->then_out, s.then = *n->then;
    return s;
}

#endif
