/* kernels/cuda/linear.cu - y = x W' with the fused epilogue.
 *
 * x (m, k) float32, split into two bfloat16 on the way to the tensor cores, so
 * that nothing of it is lost: W (n, k) bfloat16 is multiplied with both. That
 * is twice the work of rounding x, free where W's bytes are what takes the time
 * (decode). W has rows of 16-byte multiples; float32 sums, one accumulator per
 * element that takes k in order, 16 at a time. So every tile shape gives the
 * same bits and a row does not know its batch.
 *
 * One kernel in three shapes (rows x columns x k of a tile):
 *   16 x 32 x 128, 2 warps   up to 16 rows: decode. W streams through a ring of
 *                            four 8 KiB tiles, read once. Bound by bandwidth.
 *   64 x 64 x 32, 4 warps    up to 64 rows: W is still read once.
 *   128 x 128 x 32, 8 warps  prefill and vision. Bound by the tensor cores.
 * W comes by cp.async; x passes through registers, where it is split, into two
 * tiles in turn.
 *
 * Weights of float32 and float16 take plain.cuh. */
#include "kernels/cuda/plain.cuh"

template <int M, int N, int K, int WARPS_M, int WARPS_N, int STAGES> struct tile {
    enum { m = M, n = N, k = K, warps_n = WARPS_N, stages = STAGES, threads = 32 * WARPS_M * WARPS_N, stride = K + 8,
           mt = M / WARPS_M / 16, nt = N / WARPS_N / 8, /* 16-row and 8-column parts of a warp */
           chunks = M * K / 8 / threads,                /* of 8 floats of x per thread         */
           shared = (4 * M + STAGES * N) * stride * 2 };
};

typedef tile<16, 32, 128, 1, 2, 4> tile_few;
typedef tile<64, 64, 32, 2, 2, 4>  tile_some;
typedef tile<128, 128, 32, 2, 4, 4> tile_many;

struct product { const float *x; int m, k, x_stride; bool x_aligned; const bf16 *w; int w_stride; struct finish f; };

/* Eight numbers, see split_pair(). */
struct eight { uint4 high, low; };

/* Eight numbers of x from (r, k0); zeros outside. */
static __device__ __forceinline__ struct eight load_eight(const struct product &p, int r, int k0)
{
    float v[8] = {};
    const float *x = p.x + (size_t)r * (size_t)p.x_stride + k0;
    if (r < p.m && k0 + 8 <= p.k && p.x_aligned) {
        float4 a = *(const float4 *)x, b = *(const float4 *)(x + 4);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else if (r < p.m) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (k0 + i < p.k)
                v[i] = x[i];
    }
    struct eight out;
    split_pair(out.high.x, out.low.x, v[0], v[1], bf16());
    split_pair(out.high.y, out.low.y, v[2], v[3], bf16());
    split_pair(out.high.z, out.low.z, v[4], v[5], bf16());
    split_pair(out.high.w, out.low.w, v[6], v[7], bf16());
    return out;
}

template <class T> static __device__ __forceinline__ void load_x(eight (&regs)[T::chunks], const struct product &p, int m0, int k0)
{
#pragma unroll
    for (int i = 0; i < T::chunks; i++) {
        int c = (int)threadIdx.x + i * T::threads;
        regs[i] = load_eight(p, m0 + c / (T::k / 8), k0 + c % (T::k / 8) * 8);
    }
}

template <class T> static __device__ __forceinline__ void store_x(bf16 *a, const eight (&regs)[T::chunks])
{
#pragma unroll
    for (int i = 0; i < T::chunks; i++) {
        int c = (int)threadIdx.x + i * T::threads;
        bf16 *to = a + c / (T::k / 8) * T::stride + c % (T::k / 8) * 8;
        *(uint4 *)to = regs[i].high;
        *(uint4 *)(to + T::m * T::stride) = regs[i].low;
    }
}

template <class T> static __device__ __forceinline__ void load_w(bf16 *b, const struct product &p, int n0, int k0)
{
    for (int c = (int)threadIdx.x; c < T::n * T::k / 8; c += T::threads) {
        int j = c / (T::k / 8), k = c % (T::k / 8) * 8, r = finish_weight_row(p.f, n0, j, 8);
        bool valid = r >= 0 && k0 + k < p.k;
        cp_async(b + j * T::stride + k, p.w + (valid ? (size_t)r * (size_t)p.w_stride + (size_t)(k0 + k) : 0), valid);
    }
}

template <class T> static __device__ __forceinline__ void
multiply(float (&sum)[T::mt][T::nt][4], const bf16 *a, const bf16 *b, int wm, int wn, int lane)
{
#pragma unroll
    for (int k = 0; k < T::k; k += 32) {
        uint32_t bf[T::nt][4];
#pragma unroll
        for (int j = 0; j < T::nt; j++)
            ldmatrix(bf[j], b + (wn + j * 8 + lane % 8) * T::stride + k + lane / 8 * 8);
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int i = 0; i < T::mt; i++) {
                uint32_t high[4], low[4];
                const bf16 *at = a + (wm + i * 16 + lane % 16) * T::stride + k + half * 16 + lane / 16 * 8;
                ldmatrix(high, at);
                ldmatrix(low, at + T::m * T::stride);
#pragma unroll
                for (int j = 0; j < T::nt; j++)
                    mma_split(sum[i][j], high, low, bf[j][2 * half], bf[j][2 * half + 1], bf16());
            }
    }
}

template <class T> static __device__ __forceinline__ void
store(const float (&sum)[T::mt][T::nt][4], const struct product &p, int m0, int n0, int wn, int lane)
{
#pragma unroll
    for (int i = 0; i < T::mt; i++)
#pragma unroll
        for (int j = 0; j < T::nt; j++) {
            if (p.f.glu && j % 2)
                continue;                                /* an up: goes with its gate */
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int r = m0 + i * 16 + lane / 4 + e / 2 * 8, c = wn + j * 8;
                c = n0 + (p.f.glu ? c / 2 : c) + lane % 4 * 2 + e % 2;
                if (r < p.m && c < p.f.n)
                    finish_store(p.f, r, c, sum[i][j][e], sum[i][j | 1][e]);
            }
        }
}

template <class T> static __global__ void __launch_bounds__(T::threads, 1) linear_kernel(struct product p)
{
    extern __shared__ __align__(16) unsigned char smem_raw[];
    bf16 *a = (bf16 *)smem_raw, *b = a + 4 * T::m * T::stride;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, steps = (p.k + T::k - 1) / T::k;
    int wm = warp / T::warps_n * T::mt * 16, wn = warp % T::warps_n * T::nt * 8;
    int m0 = (int)blockIdx.y * T::m, n0 = (int)blockIdx.x * (p.f.glu ? T::n / 2 : T::n);
    float sum[T::mt][T::nt][4] = {};
    struct eight x[T::chunks];
#pragma unroll
    for (int s = 0; s < T::stages - 1; s++) {
        if (s < steps)
            load_w<T>(b + s * T::n * T::stride, p, n0, s * T::k);
        cp_async_commit();
    }
    load_x<T>(x, p, m0, 0);
    for (int s = 0; s < steps; s++) {
        store_x<T>(a + s % 2 * 2 * T::m * T::stride, x);     /* its last readers have passed the barrier of step s - 1 */
        if (s + 1 < steps)
            load_x<T>(x, p, m0, (s + 1) * T::k);
        cp_async_wait<T::stages - 2>();
        __syncthreads();
        int next = s + T::stages - 1;                    /* takes the place of what step s - 1 read */
        if (next < steps)
            load_w<T>(b + next % T::stages * T::n * T::stride, p, n0, next * T::k);
        cp_async_commit();
        multiply<T>(sum, a + s % 2 * 2 * T::m * T::stride, b + s % T::stages * T::n * T::stride, wm, wn, lane);
    }
    store<T>(sum, p, m0 + wm, n0, wn, lane);
}

template <class T> static void launch(struct device *dev, const struct product &p)
{
    dim3 grid(blocks_for((size_t)p.f.n, p.f.glu ? T::n / 2 : T::n), blocks_for((size_t)p.m, T::m));
    ALLOW_SHARED(dev, (linear_kernel<T>), T::shared);
    LAUNCH(dev, (linear_kernel<T>), grid, T::threads, T::shared, p);
}

struct matrix_rows {
    struct tensor x;
    __device__ float at(int r, int k) const { return row_of(x, r)[k]; }
};

void cuda_linear(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct epilogue *e)
{
    struct finish f = { e->act, e->glu, e->glu ? w->out / 2 : w->out, w->bias, e->mul, e->add, out };
    if (x.rows <= 0 || f.n <= 0)
        return;
    if (w->dtype != BF16) {
        plain_launch(dev, matrix_rows{ x }, x.rows, w, f);
        return;
    }
    bool aligned = (size_t)x.data % 16 == 0 && x.stride % 4 == 0;
    struct product p = { (const float *)x.data, x.rows, w->in, x.stride, aligned, (const bf16 *)w->data, packed_stride(w), f };
    if (x.rows <= 16)
        launch<tile_few>(dev, p);
    else if (x.rows <= 64)
        launch<tile_some>(dev, p);
    else
        launch<tile_many>(dev, p);
}
