/* kernels/cuda/packed.cuh - how quantised weights (kernels/quant.h) lie in the
 * device's memory: the numbers of all rows, then all scales.
 *
 *   Q8, F8  a byte per number, then `out` float32 scales
 *   Q4      half a byte per number (q + 8, for the level q (8 + |q|)), then bfloat16 scales (groups, out)
 *
 * A row holds whole groups of 32 columns. Within a group the numbers are put so
 * that lane 4 g + t of a warp, which multiplies columns 2t, 2t + 1, 2t + 8 and
 * 2t + 9 of each sixteen (tc.cuh), finds all of its own side by side: 8 bytes,
 * or 4 bytes in which numbers that become one register are 16 bits apart.
 * int8 is kept as sign and magnitude, which turns into bfloat16 by bits. Its rows
 * are rotated, so that x must be, or what is read be turned back: rotate_lanes(). */
#ifndef KERNELS_CUDA_PACKED_CUH
#define KERNELS_CUDA_PACKED_CUH
#include "kernels/cuda/common.cuh"

extern "C" {
#include "kernels/quant.h"
}

static __host__ __device__ inline int packed_groups(int in) { return (in + QUANT_GROUP - 1) / QUANT_GROUP; }

/* Bytes of a row's numbers, a multiple of 16. */
static __host__ __device__ inline size_t packed_row_bytes(enum dtype t, int in)
{
    return (size_t)packed_groups(in) * (size_t)(t == Q4 ? QUANT_GROUP / 2 : QUANT_GROUP);
}

/* Where column k (0 .. 31) of a group is: its byte; its half byte (Q4), the low one first. */
static __host__ __device__ inline int packed_byte(int k) { return k % 8 / 2 * 8 + k / 8 * 2 + k % 2; }
static __host__ __device__ inline int packed_nibble(int k) { return k % 8 / 2 * 8 + k / 8 + k % 2 * 4; }

/* quant_rotate() of 32 numbers, one in each lane of a warp, with the same bits. */
static __device__ __forceinline__ float rotate_lanes(float x)
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int apart = 1; apart < 32; apart *= 2) {
        float partner = __shfl_xor_sync(~0u, x, apart);
        x = partner + (lane & apart ? -x : x);
    }
    return x;
}

/* The number that row r, column k stands for, of a weight of `out` rows of `in`. Where rows are rotated all lanes of a
 * warp are here with the columns of one group, of which the last ones may only fill it. */
static __device__ __forceinline__ float packed_get(enum dtype t, const void *data, int out, int in, int r, int k)
{
    size_t row = packed_row_bytes(t, in);
    const unsigned char *p = (const unsigned char *)data + (size_t)r * row,
        *scales = (const unsigned char *)data + (size_t)out * row;
    if (t == Q4) {
        int group = k / QUANT_GROUP, n = packed_nibble(k % QUANT_GROUP), both = p[group * (QUANT_GROUP / 2) + n / 2];
        float scale = __bfloat162float(((const bf16 *)scales)[(size_t)group * (size_t)out + (size_t)r]);
        int q = (both >> n % 2 * 4 & 15) - 8;
        return (float)(q * (8 + (q < 0 ? -q : q))) * scale;
    }
    int b = p[k / QUANT_GROUP * QUANT_GROUP + packed_byte(k % QUANT_GROUP)];
    float scale = ((const float *)scales)[r];
    if (t == F8)
        return e4m3_of((uint32_t)b) * scale;
    return rotate_lanes((float)(b & 0x80 ? -(b & 0x7f) : b)) * scale;
}

#endif
