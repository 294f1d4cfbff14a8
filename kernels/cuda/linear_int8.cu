/* kernels/cuda/linear_int8.cu - y = x W' with both factors of int8, for whoever
 * asked for it (struct device_options): four times the multiplications in a
 * tensor core's time, where bfloat16 takes x as two numbers.
 *
 * A row of x is rotated as those of W are, and rounded to int8 with the scale
 * max |x| / 127, first, in a kernel of its own: its bytes lie in groups as those of
 * W do (packed.cuh), so that a lane finds what it multiplies side by side. The sums are of integers and exact
 * (up to ROUNDED_COLUMNS), so every tile gives the same bits and a row does not
 * know its batch; the scales multiply them at the end. What is lost
 * is lost in the rounding: up to 0.4 % of the row's largest number.
 * x and W come by cp.async through one ring. Bound by bandwidth in decode. */
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/packed.cuh"

enum { ROUND_THREADS = 256, ROUND_BYTES = 8 << 20 };    /* BYTES: of x at one time, so that it stays in the cache */
static_assert((int)ROUND_BYTES <= (int)WORK, "x lies in the device's work buffer");

/* One block per row: bytes (groups of 32) and its scale; NaN where a number is not finite. A warp has the columns of a
 * group, one in each lane, and rotates them; once to find the scale and once to round. */
static __global__ void __launch_bounds__(ROUND_THREADS)
round_kernel(unsigned char *to, float *scales, const float *x, int k, int x_stride, int row_bytes)
{
    __shared__ float part[ROUND_THREADS / 32], rests[ROUND_THREADS / 32];
    int t = (int)threadIdx.x, r = (int)blockIdx.x;
    float most = 0, rest = 0;
    x += (size_t)r * (size_t)x_stride;
    for (int i = t; i < row_bytes; i += ROUND_THREADS) {
        float v = rotate_lanes(i < k ? x[i] : 0);
        most = fmaxf(most, fabsf(v)), rest += v - v;
    }
    for (int i = 16; i > 0; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
    rest = warp_sum(rest);
    if (t % 32 == 0)
        part[t / 32] = most, rests[t / 32] = rest;
    __syncthreads();
    for (int i = 0; i < ROUND_THREADS / 32; i++)
        most = fmaxf(most, part[i]), rest += rests[i];
    bool finite = rest == 0, some = finite && most >= 0x1p-100f;
    float scale = some ? most / 127 : 0, inverse = some ? 1 / scale : 0;
    if (t == 0)
        scales[r] = finite ? scale : __uint_as_float(0x7fc00000);
    for (int i = t; i < row_bytes; i += ROUND_THREADS) {
        float v = rotate_lanes(i < k ? x[i] : 0);
        uint32_t byte = some ? int8_bits(v * inverse) : 0, four = 0;
        int w = t % 8, k0 = w / 2 * 2 + w % 2 * 16;      /* the inverse of packed_byte() */
        for (int b = 0; b < 4; b++)
            four |= __shfl_sync(~0u, byte, k0 + b / 2 * 8 + b % 2) << 8 * b;
        if (t % 32 < 8)                                  /* a word each of the group's eight */
            ((uint32_t *)(to + (size_t)r * (size_t)row_bytes + (size_t)(i / 32 * 32)))[w] = four;
    }
}

struct rounded {
    struct product p;              /* of W; x is ... */
    const unsigned char *x;        /* (m, p.w_stride) */
    const float *x_scale;          /* (m)             */
};

template <int M, int N, int K, int WARPS_M, int WARPS_N, int STAGES> struct int8_tile {
    enum { m = M, n = N, k = K, warps_n = WARPS_N, stages = STAGES, threads = 32 * WARPS_M * WARPS_N,
           mt = M / WARPS_M / 16, nt = N / WARPS_N / 8,
           row = K + 32,                                 /* bytes: eight rows of a quarter's lanes meet no bank twice */
           stage = (M + N) * row, shared = STAGES * stage };
};

/* Columns k0 .. of both factors: M rows of x, then N of W. */
template <class T> static __device__ __forceinline__ void load_both(unsigned char *to, const struct rounded &s, int m0,
                                                                    int n0, int k0)
{
    for (int c = (int)threadIdx.x; c < (T::m + T::n) * (T::k / 16); c += T::threads) {
        int j = c / (T::k / 16), at = k0 + c % (T::k / 16) * 16;
        bool of_x = j < T::m;
        int r = of_x ? m0 + j : finish_weight_row(s.p.f, n0, j - T::m, 8);
        bool valid = r >= 0 && (!of_x || r < s.p.m) && (size_t)at < s.p.w_stride;
        const unsigned char *from = of_x ? s.x : s.p.w;
        cp_async(to + j * T::row + c % (T::k / 16) * 16, from + (valid ? (size_t)r * s.p.w_stride + (size_t)at : 0),
                 valid);
    }
}

/* Four bytes of sign and magnitude as signed ones. */
static __device__ __forceinline__ uint32_t signed_bytes(uint32_t v)
{
    uint32_t sign = (v & 0x80808080u) >> 7;
    return ((v & 0x7f7f7f7fu) ^ sign * 0xff) + sign;     /* no byte carries: there is no -0 */
}

/* One step of K of a warp's part: fragments of both operands from shared memory, then integer products, which are exact
 * in any order. */
template <class T> static __device__ __forceinline__ void
multiply_bytes(int (&sum)[T::mt][T::nt][4], const unsigned char *x, const unsigned char *w, int wm, int wn, int lane)
{
#pragma unroll
    for (int k = 0; k < T::k; k += 32) {
        uint32_t b[T::nt][2];
#pragma unroll
        for (int j = 0; j < T::nt; j++) {
            uint2 v = *(const uint2 *)(w + (wn + j * 8 + lane / 4) * T::row + k + lane % 4 * 8);
            b[j][0] = signed_bytes(v.x);
            b[j][1] = signed_bytes(v.y);
        }
#pragma unroll
        for (int i = 0; i < T::mt; i++) {
            const unsigned char *at = x + (wm + i * 16 + lane / 4) * T::row + k + lane % 4 * 8;
            uint2 upper = *(const uint2 *)at, lower = *(const uint2 *)(at + 8 * T::row);
            const uint32_t a[4] = { upper.x, lower.x, upper.y, lower.y };
#pragma unroll
            for (int j = 0; j < T::nt; j++)
                mma_s8(sum[i][j], a, b[j][0], b[j][1]);
        }
    }
}

struct int8_factor { enum { scaled = 1 }; };             /* for store_one(): rows of W have scales */

/* One block per tile of the result. While the tensor cores multiply one step of K, the next stages - 1 are on their way
 * into shared memory; the sums stay in registers and get their scales when they are stored. */
template <class T> static __global__ void __launch_bounds__(T::threads, 1) linear_int8_kernel(struct rounded s)
{
    extern __shared__ __align__(16) unsigned char smem_raw[];
    const struct product &p = s.p;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, steps = ((int)p.w_stride + T::k - 1) / T::k;
    int wm = warp / T::warps_n * T::mt * 16, wn = warp % T::warps_n * T::nt * 8;
    int m0 = (int)blockIdx.y * T::m, n0 = (int)blockIdx.x * (p.f.glu ? T::n / 2 : T::n);
    int sum[T::mt][T::nt][4] = {};
#pragma unroll
    for (int i = 0; i < T::stages - 1; i++) {
        if (i < steps)
            load_both<T>(smem_raw + i * T::stage, s, m0, n0, i * T::k);
        cp_async_commit();
    }
    for (int i = 0; i < steps; i++) {
        cp_async_wait<T::stages - 2>();
        __syncthreads();
        int next = i + T::stages - 1;                    /* takes the place of what step i - 1 read */
        if (next < steps)
            load_both<T>(smem_raw + next % T::stages * T::stage, s, m0, n0, next * T::k);
        cp_async_commit();
        const unsigned char *x = smem_raw + i % T::stages * T::stage;
        multiply_bytes<T>(sum, x, x + T::m * T::row, wm, wn, lane);
    }
#pragma unroll
    for (int i = 0; i < T::mt; i++)
#pragma unroll
        for (int j = 0; j < T::nt; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int r = m0 + wm + i * 16 + lane / 4 + e / 2 * 8;
                float by = r < p.m ? s.x_scale[r] : 0;
                if (!(p.f.glu && j % 2))                 /* an up goes with its gate */
                    store_one<int8_factor>(p, r, n0, wn + j * 8 + lane % 4 * 2 + e % 2, (float)sum[i][j][e] * by,
                                           (float)sum[i][j | 1][e] * by);
            }
    if (p.arrived && last_block(p.arrived, gridDim.x * gridDim.y))
        for (int r = 0; r < p.m; r++)
            norm_both<T::threads>(p.after, r, (float *)smem_raw);
}

template <class T> static void int8_launch(struct device *dev, const struct rounded &s)
{
    dim3 grid(blocks_for((size_t)s.p.f.n, s.p.f.glu ? T::n / 2 : T::n), blocks_for((size_t)s.p.m, T::m));
    ALLOW_SHARED(dev, (linear_int8_kernel<T>), T::shared);
    LAUNCH(dev, (linear_int8_kernel<T>), grid, T::threads, T::shared, s);
}

/* The tensor from this row on; an empty one stays empty. */
static struct tensor rows_from(struct tensor t, int row)
{
    if (t.data)
        t.data = (float *)t.data + (size_t)row * (size_t)t.stride;
    return t;
}

/* So many rows at a time: whole tiles, if it can be. */
static int rows_at_once(int bytes)
{
    int most = ROUND_BYTES / (bytes + (int)sizeof(float));
    return most > 128 ? most / 128 * 128 : most;
}

/* Rounds as many rows of x as the work memory holds, multiplies them, and goes on. Every tile shape sums the same
 * integers, so neither the cut nor the shape shows in the bits. */
void linear_rounded(struct device *dev, struct product p)
{
    int bytes = (int)p.w_stride, rows = p.m, most = rows_at_once(bytes);
    struct finish f = p.f;
    const float *x = p.x;
    for (int from = 0; from < rows; from += most) {
        struct rounded s = { p, (unsigned char *)dev->work, NULL };
        s.p.m = rows - from < most ? rows - from : most;
        float *scales = (float *)((unsigned char *)dev->work + (size_t)s.p.m * (size_t)bytes);
        s.x_scale = scales;
        s.p.f.out = rows_from(f.out, from);
        s.p.f.add = rows_from(f.add, from);
        LAUNCH(dev, round_kernel, dim3((unsigned)s.p.m), ROUND_THREADS, 0, (unsigned char *)dev->work, scales,
               x + (size_t)from * (size_t)p.x_stride, p.k, p.x_stride, bytes);
        if (rows <= 16)
            int8_launch<int8_tile<16, 32, 128, 1, 2, 6>>(dev, s);
        else if (rows <= 64)
            int8_launch<int8_tile<64, 64, 64, 2, 2, 4>>(dev, s);
        else
            int8_launch<int8_tile<128, 128, 64, 2, 4, 4>>(dev, s);
    }
}
