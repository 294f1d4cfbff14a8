/* kernels/cuda/linear.cuh - y = x W' on tensor cores, for every way of keeping
 * W: the tiles, the loop over k, and the fused epilogue. linear.cu and
 * linear_quant.cu say how W becomes bfloat16.
 *
 * x (m, k) float32, split into two bfloat16 on the way to the tensor cores, so
 * that nothing of it is lost; W's numbers are exact in bfloat16, or become so
 * when their scale is left out, which then multiplies the sums. That is twice
 * the work of rounding x, free where W's bytes are what takes the time
 * (decode). float32 sums, one accumulator per element that takes k in order, 16
 * at a time. So every tile shape gives the same bits and a row does not know
 * its batch.
 *
 * The left operand of m16n8k16 has sixteen rows. Up to eight rows of x it is W,
 * and x is the right one: half the multiplications.
 *
 * Where a norm follows and the rows are few (TAIL_ROWS), the last block to be
 * done norms them: a launch less, with the bits of norm.cu.
 *
 * W comes by cp.async through a ring of tiles; x, and scales that change along
 * k, pass through registers into two tiles in turn. */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH
#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/grouping.cuh"
#include "kernels/cuda/norm.cuh"

/* M rows of x, N of W, K columns; STAGES tiles of W in the ring. */
template <int M, int N, int K, int WARPS_M, int WARPS_N, int STAGES> struct tile {
    enum { m = M, n = N, k = K, warps_n = WARPS_N, stages = STAGES, threads = 32 * WARPS_M * WARPS_N, stride = K + 8,
           w_left = M == 8,                             /* W is the left operand               */
           mt = w_left ? 1 : M / WARPS_M / 16, nt = N / WARPS_N / 8, /* 16-row and 8-column parts of a warp */
           sums = w_left ? nt / 2 : nt,                 /* of four floats a lane, for each mt  */
           chunks = M * K / 8 / threads,                /* of 8 floats of x per thread         */
           scales = (N * K / 32 + threads - 1) / threads };     /* of groups of 32 per thread  */
};

/* A way of keeping W is a struct with
 *   per_chunk           numbers in 16 bytes; rows of W are whole chunks, zeros at their end
 *   grouped, scaled     a bfloat16 scale (groups of 32, rows); a float32 scale (rows)
 *   rotated             rows are rotated (kernels/quant.h), and x must be
 *   pad(k)              bytes between rows of k numbers in shared memory, against bank conflicts
 *   fragment<ROW>(r, tile, n, k, lane)   r: factors of rows n .. n + 8, columns k .. k + 32, as two of tc.cuh's b;
 *                       a row of the tile is ROW bytes */
template <class T, class W> struct room {
    enum { row = T::k / W::per_chunk * 16 + W::pad(T::k),/* bytes of W's tile in shared memory */
           x_bytes = 4 * T::m * T::stride * 2, w_bytes = T::stages * T::n * row,
           scale_bytes = W::grouped ? 2 * T::n * (T::k / 32) * 2 : 0, shared = x_bytes + w_bytes + scale_bytes };
};

enum { TAIL_ROWS = 2 };        /* one block norms them one after the other */

struct product {
    const float *x;
    int m, k, x_stride;
    bool x_aligned;            /* rows of x: 16 bytes                      */
    const unsigned char *w;
    size_t w_stride;           /* bytes                                    */
    const void *scale;         /* see W::grouped and W::scaled; or NULL    */
    int rows;                  /* of W                                     */
    struct finish f;
    struct row_norms after;    /* with `arrived`                           */
    unsigned *arrived;         /* see last_block(); NULL: no norm follows  */
};

struct eight { float v[8]; };

/* Eight numbers of row r of x from column k0 on, each split into the two factors that the tensor cores multiply; zeros
 * where x has no such row or column. */
static __device__ __forceinline__ struct eight load_eight(const struct product &p, int r, int k0)
{
    struct eight e = {};
    const float *x = p.x + (size_t)r * (size_t)p.x_stride + k0;
    if (r < p.m && k0 + 8 <= p.k && p.x_aligned) {
        float4 a = *(const float4 *)x, b = *(const float4 *)(x + 4);
        e = { { a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w } };
    } else if (r < p.m) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (k0 + i < p.k)
                e.v[i] = x[i];
    }
    return e;
}

/* A thread's part of the next tile of x, on its way in registers while the tile before is multiplied. */
template <class T> static __device__ __forceinline__ void load_x(eight (&regs)[T::chunks], const struct product &p,
                                                                 int m0, int k0)
{
#pragma unroll
    for (int i = 0; i < T::chunks; i++) {
        int c = (int)threadIdx.x + i * T::threads;
        regs[i] = load_eight(p, m0 + c / (T::k / 8), k0 + c % (T::k / 8) * 8);
    }
}

/* quant_rotate() of 32 numbers, eight in each of four lanes, with the same bits. All lanes of the warp come here. */
static __device__ __forceinline__ void rotate_eight(float (&v)[8])
{
#pragma unroll
    for (int apart = 1; apart < 8; apart *= 2)
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (!(i & apart)) {
                float a = v[i], b = v[i + apart];
                v[i] = a + b;
                v[i + apart] = a - b;
            }
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float partner = __shfl_xor_sync(~0u, v[i], apart);
            v[i] = partner + ((int)threadIdx.x & apart ? -v[i] : v[i]);
        }
}

/* The two halves that x is split into lie in two tiles, one behind the other. */
template <class T, class W> static __device__ __forceinline__ void store_x(bf16 *a, eight (&regs)[T::chunks])
{
#pragma unroll
    for (int i = 0; i < T::chunks; i++) {
        int c = (int)threadIdx.x + i * T::threads;
        bf16 *to = a + c / (T::k / 8) * T::stride + c % (T::k / 8) * 8;
        float (&v)[8] = regs[i].v;
        uint4 high, low;
        if (W::rotated)
            rotate_eight(v);
        split_pair(high.x, low.x, v[0], v[1], bf16());
        split_pair(high.y, low.y, v[2], v[3], bf16());
        split_pair(high.z, low.z, v[4], v[5], bf16());
        split_pair(high.w, low.w, v[6], v[7], bf16());
        *(uint4 *)to = high;
        *(uint4 *)(to + T::m * T::stride) = low;
    }
}

/* Starts the copy of a tile of W. What lies outside becomes zeros, which add nothing to a sum. */
template <class T, class W> static __device__ __forceinline__ void load_w(unsigned char *b, const struct product &p,
                                                                          int n0, int k0)
{
    enum { in_row = T::k / W::per_chunk };
    for (int c = (int)threadIdx.x; c < T::n * in_row; c += T::threads) {
        int j = c / in_row, at = c % in_row, r = finish_weight_row(p.f, n0, j, 8), k = k0 + at * W::per_chunk;
        size_t chunk = (size_t)(k / W::per_chunk) * 16;
        bool valid = r >= 0 && chunk < p.w_stride;           /* not k < p.k: a group's columns are not in order */
        cp_async(b + j * room<T, W>::row + at * 16, p.w + (valid ? (size_t)r * p.w_stride + chunk : 0), valid);
    }
}

/* Scales of the groups from column k0 on; zeros outside. */
template <class T> static __device__ __forceinline__ void load_scales(uint16_t (&regs)[T::scales],
                                                                      const struct product &p, int n0, int k0)
{
#pragma unroll
    for (int i = 0; i < T::scales; i++) {
        int c = (int)threadIdx.x + i * T::threads, group = c / T::n;
        int r = c < T::n * (T::k / 32) && k0 + group * 32 < p.k ? finish_weight_row(p.f, n0, c % T::n, 8) : -1;
        regs[i] = r < 0 ? 0 : ((const uint16_t *)p.scale)[(size_t)(k0 / 32 + group) * (size_t)p.rows + (size_t)r];
    }
}

template <class T> static __device__ __forceinline__ void store_scales(uint16_t *to, const uint16_t (&regs)[T::scales])
{
#pragma unroll
    for (int i = 0; i < T::scales; i++) {
        int c = (int)threadIdx.x + i * T::threads;
        if (c < T::n * (T::k / 32))
            to[c] = regs[i];
    }
}

/* The sums of a group of 32 columns, times its scales. */
template <class T> static __device__ __forceinline__ void
multiply_group(float (&sum)[T::nt][4], const uint32_t (&x)[4][4], const uint32_t (&b)[T::nt][4],
               const float (&scale)[T::nt][2])
{
#pragma unroll
    for (int j = 0; j < T::nt; j++) {
        float part[4] = {};
        mma_split(part, x[0], x[1], b[j][0], b[j][1], bf16());
        mma_split(part, x[2], x[3], b[j][2], b[j][3], bf16());
#pragma unroll
        for (int e = 0; e < 4; e++)
            sum[j][e] = fmaf(part[e], scale[j][e % 2], sum[j][e]);
    }
}

/* The same for a W whose factors need no scale on the way, or one for the whole row, which multiplies the sums in the
 * end. */
template <class T> static __device__ __forceinline__ void
multiply_plain(float (&sum)[T::nt][4], const uint32_t (&x)[4][4], const uint32_t (&b)[T::nt][4])
{
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int j = 0; j < T::nt; j++)
            mma_split(sum[j], x[2 * half], x[2 * half + 1], b[j][2 * half], b[j][2 * half + 1], bf16());
}

/* A lane's scales of rows c and c + more of the tile, for the group of columns k. */
template <class T> static __device__ __forceinline__ void scales_of(float (&to)[2], const uint16_t *scales, int k,
                                                                    int c, int more)
{
    const uint16_t *at = scales + k / 32 * T::n + c;
    to[0] = __uint_as_float((uint32_t)at[0] << 16);
    to[1] = __uint_as_float((uint32_t)at[more] << 16);
}

/* sum += x W' for one tile in shared memory: both halves of x, 32 columns at a time. wm, wn: the warp's first row and
 * column. */
template <class T, class W> static __device__ __forceinline__ void
multiply(float (&sum)[T::mt][T::sums][4], const bf16 *a, const unsigned char *b, const uint16_t *scales, int wm,
         int wn, int lane)
{
#pragma unroll
    for (int k = 0; k < T::k; k += 32) {
        uint32_t bf[T::nt][4];
        float scale[T::nt][2] = {};
#pragma unroll
        for (int j = 0; j < T::nt; j++) {
            W::template fragment<room<T, W>::row>(bf[j], b, wn + j * 8, k, lane);
            if (W::grouped)
                scales_of<T>(scale[j], scales, k, wn + j * 8 + lane % 4 * 2, 1);
        }
#pragma unroll
        for (int i = 0; i < T::mt; i++) {
            uint32_t x[4][4];                            /* both parts of the first sixteen columns, of the others */
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const bf16 *at = a + (wm + i * 16 + lane % 16) * T::stride + k + half * 16 + lane / 16 * 8;
                ldmatrix(x[2 * half], at);
                ldmatrix(x[2 * half + 1], at + T::m * T::stride);
            }
            if constexpr (W::grouped)
                multiply_group<T>(sum[i], x, bf, scale);
            else
                multiply_plain<T>(sum[i], x, bf);
        }
    }
}

/* d += W (high + low)' for 16 rows of W, whose fragments as right operands are b[0] and b[1], and 8 of x; both
 * sixteens. */
static __device__ __forceinline__ void
mma_w_left(float (&d)[4], const uint32_t (&b0)[4], const uint32_t (&b1)[4], const uint32_t (&high)[4],
           const uint32_t (&low)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const uint32_t w[4] = { b0[i], b1[i], b0[i + 1], b1[i + 1] };
        mma(d, w, high[i], high[i + 1], bf16());
        mma(d, w, low[i], low[i + 1], bf16());
    }
}

/* The same with W as the left operand, whose sixteen rows are columns of the output. */
template <class T, class W> static __device__ __forceinline__ void
multiply_w_left(float (&sum)[T::sums][4], const bf16 *a, const unsigned char *b, const uint16_t *scales, int wn,
                int lane)
{
#pragma unroll
    for (int k = 0; k < T::k; k += 32) {
        uint32_t high[4], low[4];
        const bf16 *x = a + lane % 8 * T::stride + k + lane / 8 * 8;
        ldmatrix(high, x);
        ldmatrix(low, x + T::m * T::stride);
#pragma unroll
        for (int j = 0; j < T::sums; j++) {
            uint32_t w[2][4];
            int c = wn + j * 16;
            W::template fragment<room<T, W>::row>(w[0], b, c, k, lane);
            W::template fragment<room<T, W>::row>(w[1], b, c + 8, k, lane);
            if constexpr (W::grouped) {
                float part[4] = {}, scale[2];
                scales_of<T>(scale, scales, k, c + lane / 4, 8);
                mma_w_left(part, w[0], w[1], high, low);
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[j][e] = fmaf(part[e], scale[e / 2], sum[j][e]);
            } else
                mma_w_left(sum[j], w[0], w[1], high, low);
        }
    }
}

/* The sum of row r and row w of the tile of W, and with glu that of the up. */
template <class W> static __device__ __forceinline__ void
store_one(const struct product &p, int r, int n0, int w, float y, float up)
{
    const float *scale = (const float *)p.scale;
    int c = n0 + (p.f.glu ? w / 16 * 8 + w % 8 : w);
    if (r >= p.m || c >= p.f.n)
        return;
    if (W::scaled) {
        y *= scale[c];
        up *= scale[p.f.glu ? p.f.n + c : c];
    }
    finish_store(p.f, r, c, y, up);
}

/* Hands each sum to the epilogue. Which lane holds which element is the layout of mma's accumulator; it differs between
 * the two ways of multiplying. */
template <class T, class W> static __device__ __forceinline__ void
store(const float (&sum)[T::mt][T::sums][4], const struct product &p, int m0, int n0, int wn, int lane)
{
#pragma unroll
    for (int i = 0; i < T::mt; i++)
#pragma unroll
        for (int j = 0; j < T::sums; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)                  /* an up goes with its gate */
                if (T::w_left && !(p.f.glu && e >= 2))
                    store_one<W>(p, m0 + lane % 4 * 2 + e % 2, n0, wn + j * 16 + lane / 4 + e / 2 * 8, sum[i][j][e],
                                 sum[i][j][e | 2]);
                else if (!T::w_left && !(p.f.glu && j % 2))
                    store_one<W>(p, m0 + i * 16 + lane / 4 + e / 2 * 8, n0, wn + j * 8 + lane % 4 * 2 + e % 2,
                                 sum[i][j][e], sum[i][j | 1][e]);
}

/* One tile of the output, from row m0 and column n0 on. In step s the ring delivers W's columns s * T::k and up while
 * the next ones are on their way; x's next columns wait in registers until the tile that they replace has been read. */
template <class T, class W> static __device__ __forceinline__ void
linear_tile(const struct product &p, int m0, int n0, unsigned char *smem_raw)
{
    enum { x_tile = 2 * T::m * T::stride, w_tile = T::n * room<T, W>::row, scale_tile = T::n * (T::k / 32) };
    bf16 *a = (bf16 *)smem_raw;
    unsigned char *b = smem_raw + room<T, W>::x_bytes;
    uint16_t *scales = (uint16_t *)(b + room<T, W>::w_bytes);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, steps = (p.k + T::k - 1) / T::k;
    int wm = warp / T::warps_n * T::mt * 16, wn = warp % T::warps_n * T::nt * 8;
    float sum[T::mt][T::sums][4] = {};
    struct eight x[T::chunks];
    uint16_t scale[T::scales];
#pragma unroll
    for (int s = 0; s < T::stages - 1; s++) {
        if (s < steps)
            load_w<T, W>(b + s * w_tile, p, n0, s * T::k);
        cp_async_commit();
    }
    load_x<T>(x, p, m0, 0);
    if (W::grouped)
        load_scales<T>(scale, p, n0, 0);
    for (int s = 0; s < steps; s++) {
        store_x<T, W>(a + s % 2 * x_tile, x);             /* its last readers have passed the barrier of step s - 1 */
        if (W::grouped)
            store_scales<T>(scales + s % 2 * scale_tile, scale);
        if (s + 1 < steps) {
            load_x<T>(x, p, m0, (s + 1) * T::k);
            if (W::grouped)
                load_scales<T>(scale, p, n0, (s + 1) * T::k);
        }
        cp_async_wait<T::stages - 2>();
        __syncthreads();
        int next = s + T::stages - 1;                    /* takes the place of what step s - 1 read */
        if (next < steps)
            load_w<T, W>(b + next % T::stages * w_tile, p, n0, next * T::k);
        cp_async_commit();
        const bf16 *xs = a + s % 2 * x_tile;
        const unsigned char *ws = b + s % T::stages * w_tile;
        if constexpr (T::w_left)
            multiply_w_left<T, W>(sum[0], xs, ws, scales + s % 2 * scale_tile, wn, lane);
        else
            multiply<T, W>(sum, xs, ws, scales + s % 2 * scale_tile, wm, wn, lane);
    }
    store<T, W>(sum, p, m0 + wm, n0, wn, lane);
}

/* The first column of this block's tile. */
template <class T> static __device__ __forceinline__ int tile_column(const struct product &p)
{
    return (int)blockIdx.x * (p.f.glu ? T::n / 2 : T::n);
}

template <class T, class W> static __global__ void __launch_bounds__(T::threads, 1) linear_kernel(struct product p)
{
    extern __shared__ __align__(16) unsigned char smem_raw[];
    linear_tile<T, W>(p, (int)blockIdx.y * T::m, tile_column<T>(p), smem_raw);
    if constexpr (T::w_left)
        if (p.arrived && last_block(p.arrived, gridDim.x))
            for (int r = 0; r < p.m; r++)
                norm_both<T::threads>(p.after, r, (float *)smem_raw);
}

/* The same where the rows belong to experts: the block finds out whose tile is its own. */
template <class T, class W> static __global__ void __launch_bounds__(T::threads, 1)
grouped_kernel(struct product p, struct grouping g)
{
    extern __shared__ __align__(16) unsigned char smem_raw[];
    int from, e = find_expert(g, T::m, (int)blockIdx.y, &from);
    if (e < 0)
        return;
    int first = g.first[e];
    p.m = g.first[e + 1] - first;
    p.x += (size_t)first * (size_t)p.x_stride;
    p.f.out.data = row_of(p.f.out, first);
    p.w = (const unsigned char *)g.data[e];
    p.scale = p.w + (size_t)p.rows * p.w_stride;
    linear_tile<T, W>(p, from, tile_column<T>(p), smem_raw);
}

/* One block per tile of the output; with experts at least as many as there are. */
template <class T, class W> static void linear_launch(struct device *dev, const struct product &p,
                                                      const struct grouping *g)
{
    if (g) {
        dim3 tiles(blocks_for((size_t)p.f.n, p.f.glu ? T::n / 2 : T::n), most_tiles(g, p.m, T::m));
        ALLOW_SHARED(dev, (grouped_kernel<T, W>), (room<T, W>::shared));
        LAUNCH(dev, (grouped_kernel<T, W>), tiles, T::threads, (room<T, W>::shared), p, *g);
        return;
    }
    dim3 grid(blocks_for((size_t)p.f.n, p.f.glu ? T::n / 2 : T::n), blocks_for((size_t)p.m, T::m));
    ALLOW_SHARED(dev, (linear_kernel<T, W>), (room<T, W>::shared));
    LAUNCH(dev, (linear_kernel<T, W>), grid, T::threads, (room<T, W>::shared), p);
}

enum { ROUNDED_COLUMNS = 1 << 17 };     /* so many products of two bytes still fit into an int32 */

/* linear_int8.cu: W is Q8 of at most ROUNDED_COLUMNS, and x is rounded to int8. */
void linear_rounded(struct device *dev, struct product p);
/* linear_quant.cu: W is Q8, Q4 or F8 of packed.cuh; g: of experts, or NULL. */
void linear_quantised(struct device *dev, const struct product &p, enum dtype type, const struct grouping *g);

#endif
