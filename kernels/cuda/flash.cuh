/* kernels/cuda/flash.cuh - softmax(cap(scale Q K')) V on tensor cores for one warp
 * and its 16 queries, 32 keys at a time (FlashAttention-2): the scores stay in
 * registers, where they become the left operand of P V.
 *
 * No factor is rounded: q and P go to the tensor cores as two numbers each
 * (split_pair), and so do k and v where they are float32. A tile in shared
 * memory is one or two planes of rows of DIM + 8 numbers; the second holds what
 * rounding left. The product of two remainders is dropped, it is 2^-16 of the
 * whole or less.
 *
 * Keys are taken in order; what a query does not see changes nothing, bit by
 * bit, so a query's result does not depend on which others share its block.
 * Every `PART` keys the partial result is merged into the total: whoever
 * computes the parts, one block in turn or many at once, the arithmetic is the
 * same. Contraction is off (-fmad=false), so the compiler cannot spoil that. */
#ifndef KERNELS_CUDA_FLASH_CUH
#define KERNELS_CUDA_FLASH_CUH
#include "kernels/cuda/common.cuh"

enum { KEYS = 32, PART = 256 };

/* What is said of the keys of a tile (KEYS each), or NULL: which are in use; what k and v are to be multiplied by. */
struct marks { const int *ok; const float *k, *v; };

/* A running softmax: its largest score (in powers of 2), the sum of weights. */
struct running { float most, sum; };

/* What to multiply the total and the part by when they are merged; the new maximum becomes total's. */
__device__ __forceinline__ float2 merge_factors(float *most, float part_most)
{
    float m = fmaxf(*most, part_most);
    float2 f = make_float2(*most == -INFINITY ? 0 : exp2f(*most - m),
                           part_most == -INFINITY ? 0 : exp2f(part_most - m));
    *most = m;
    return f;
}

template <int DIM> struct flash {
    enum { stride = DIM + 8, d8 = DIM / 8 };
    float   part[d8][4], total[d8][4];     /* o, as the accumulators of m16n8k16 */
    running now[2], all[2];                /* of rows lane / 4 and + 8; now.sum is this lane's share */
};

template <int DIM> __device__ __forceinline__ void flash_clear_part(flash<DIM> &s)
{
#pragma unroll
    for (int i = 0; i < s.d8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s.part[i][e] = 0;
    s.now[0] = s.now[1] = running{ -INFINITY, 0 };
}

template <int DIM> __device__ __forceinline__ void flash_clear(flash<DIM> &s)
{
    flash_clear_part(s);
#pragma unroll
    for (int i = 0; i < s.d8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            s.total[i][e] = 0;
    s.all[0] = s.all[1] = running{ -INFINITY, 0 };
}

/* Scores of 16 queries (in shared memory, from the warp's first; their second plane is q_plane numbers on) and KEYS
 * keys of KV planes. */
template <class H, int DIM, int KV> __device__ __forceinline__ void
flash_scores(float (&s)[KEYS / 8][4], const H *q, int q_plane, const H *k, int lane)
{
    enum { stride = DIM + 8 };
#pragma unroll
    for (int d = 0; d < DIM; d += 16) {
        uint32_t high[4], low[4];
        const H *row = q + lane % 16 * stride + d + lane / 16 * 8;
        ldmatrix(high, row);
        ldmatrix(low, row + q_plane);
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            uint32_t b[4];
            const H *key = k + (j * 16 + lane % 8 + lane / 16 * 8) * stride + d + lane / 8 % 2 * 8;
            ldmatrix(b, key);
            mma_split(s[2 * j], high, low, b[0], b[1], H());
            mma_split(s[2 * j + 1], high, low, b[2], b[3], H());
            if (KV == 2) {
                ldmatrix(b, key + KEYS * stride);
                mma(s[2 * j], high, b[0], b[1], H());
                mma(s[2 * j + 1], high, b[2], b[3], H());
            }
        }
    }
}

/* A score that is bent towards the cap; 0: it stays. */
__device__ __forceinline__ float capped(float x, float cap) { return cap > 0 ? cap * tanhf(x / cap) : x; }

/* Scores become weights. seen: keys of this tile that row h sees, from <= key < limit, and only those marked in use. */
template <int DIM> __device__ __forceinline__ void
flash_soften(flash<DIM> &f, float (&s)[KEYS / 8][4], int h, int from, int limit, struct marks m, float scale,
             float cap, int lane)
{
    float most = f.now[h].most;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int key = j * 8 + lane % 4 * 2 + e;
            float x = capped(s[j][2 * h + e] * (m.k ? m.k[key] * scale : scale), cap);
            x = key >= from && key < limit && (!m.ok || m.ok[key]) ? x * 1.44269504f : -INFINITY;
            s[j][2 * h + e] = x;
            most = fmaxf(most, x);
        }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    float base = most == -INFINITY ? 0 : most, shrink = most == f.now[h].most ? 1 : exp2f(f.now[h].most - base),
        sum = 0;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            s[j][2 * h + e] = exp2f(s[j][2 * h + e] - base);
            sum += s[j][2 * h + e];
        }
#pragma unroll
    for (int i = 0; i < f.d8; i++) {
        f.part[i][2 * h] *= shrink;
        f.part[i][2 * h + 1] *= shrink;
    }
    f.now[h].most = most;
    f.now[h].sum = f.now[h].sum * shrink + sum;
}

/* part += p v for the KEYS entries of a tile. p is split into two planes so that nothing of it is lost; v has one
 * plane, or two where the cache holds float32. scale: of v's entries, which p takes on; or NULL. */
template <class H, int DIM, int KV> __device__ __forceinline__ void
flash_values(flash<DIM> &f, const float (&p)[KEYS / 8][4], const H *v, const float *scale, int lane)
{
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        uint32_t high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float a = p[2 * k + i / 2][i % 2 * 2], b = p[2 * k + i / 2][i % 2 * 2 + 1];
            int key = (2 * k + i / 2) * 8 + lane % 4 * 2;
            split_pair(high[i], low[i], scale ? a * scale[key] : a, scale ? b * scale[key + 1] : b, H());
        }
#pragma unroll
        for (int d = 0; d < DIM / 16; d++) {
            uint32_t b[4];
            const H *value = v + (k * 16 + lane % 16) * f.stride + d * 16 + lane / 16 * 8;
            ldmatrix_transposed(b, value);
            mma_split(f.part[2 * d], high, low, b[0], b[1], H());
            mma_split(f.part[2 * d + 1], high, low, b[2], b[3], H());
            if (KV == 2) {
                ldmatrix_transposed(b, value + KEYS * f.stride);
                mma(f.part[2 * d], high, b[0], b[1], H());
                mma(f.part[2 * d + 1], high, b[2], b[3], H());
            }
        }
    }
}

/* One tile. from, limit: of the two rows, relative to the tile's first key. */
template <class H, int DIM, int KV> __device__ __forceinline__ void
flash_tile(flash<DIM> &f, const H *q, int q_plane, const H *k, const H *v, const int (&from)[2], const int (&limit)[2],
           struct marks m, float scale, float cap, int lane)
{
    float s[KEYS / 8][4] = {};
    flash_scores<H, DIM, KV>(s, q, q_plane, k, lane);
    flash_soften(f, s, 0, from[0], limit[0], m, scale, cap, lane);
    flash_soften(f, s, 1, from[1], limit[1], m, scale, cap, lane);
    flash_values<H, DIM, KV>(f, s, v, m.v, lane);
}

/* Two neighbouring numbers of row i of a tile, column d: into both planes. */
template <class H, int DIM> __device__ __forceinline__ void tile_put(H *tile, int plane, int i, int d, float a, float b)
{
    uint32_t high, low;
    split_pair(high, low, a, b, H());
    *(uint32_t *)(tile + i * (DIM + 8) + d) = high;
    *(uint32_t *)(tile + plane + i * (DIM + 8) + d) = low;
}

/* The end of a part: sums over the four lanes of a row. */
template <int DIM> __device__ __forceinline__ void flash_end_part(flash<DIM> &f)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        f.now[h].sum += __shfl_xor_sync(~0u, f.now[h].sum, 1);
        f.now[h].sum += __shfl_xor_sync(~0u, f.now[h].sum, 2);
    }
}

/* Adds the part that has just ended to the total, both brought to the larger of their maxima, and begins a new one. */
template <int DIM> __device__ __forceinline__ void flash_merge(flash<DIM> &f)
{
    flash_end_part(f);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float2 by = merge_factors(&f.all[h].most, f.now[h].most);
        f.all[h].sum = f.all[h].sum * by.x + f.now[h].sum * by.y;
#pragma unroll
        for (int i = 0; i < f.d8; i++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++)
                f.total[i][e] = f.total[i][e] * by.x + f.part[i][e] * by.y;
    }
    flash_clear_part(f);
}

/* Calls store(h, column, value) for the numbers that this lane holds. */
template <int DIM, class F> __device__ __forceinline__ void flash_each(const float (&o)[DIM / 8][4], int lane, F store)
{
#pragma unroll
    for (int i = 0; i < DIM / 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            store(e / 2, i * 8 + lane % 4 * 2 + e % 2, o[i][e]);
}

#endif
