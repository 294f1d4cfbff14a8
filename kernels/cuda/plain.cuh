/* kernels/cuda/plain.cuh - a product of matrices in float32 without tensor
 * cores: for float32 and float16 weights, and for convolutions, whose rows are
 * put together from the feature map while they are loaded.
 *
 * A block of 128 threads makes 32 rows x 64 columns, a thread 4 x 4 of them,
 * 16 k at a time through shared memory; every element sums over k in order,
 * whatever the shape. About a third of the fp32 peak; served models have
 * bfloat16 weights and do not come here. */
#ifndef KERNELS_CUDA_PLAIN_CUH
#define KERNELS_CUDA_PLAIN_CUH
#include "kernels/cuda/finish.cuh"

enum { PLAIN_M = 32, PLAIN_N = 64, PLAIN_K = 16, PLAIN_THREADS = 128 };

struct plain_rows { const void *data; enum dtype type; int in, stride; };

/* The tile from row m0 on. Rows is a struct with `__device__ float at(int row, int k) const`, 0 outside. */
template <class Rows> static __device__ __forceinline__ void
plain_tile(const Rows &rows, int m, int m0, const struct plain_rows &w, const struct finish &f)
{
    __shared__ __align__(16) float a[PLAIN_K][PLAIN_M + 4], b[PLAIN_K][PLAIN_N + 4];
    int t = (int)threadIdx.x, tm = t / 16 * 4, tn = t % 16 * 4, k_all = w.in;
    int n0 = (int)blockIdx.y * (f.glu ? PLAIN_N / 2 : PLAIN_N);
    size_t row = (size_t)w.stride;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < k_all; k0 += PLAIN_K) {
        for (int i = t; i < PLAIN_M * PLAIN_K; i += PLAIN_THREADS) {
            int r = m0 + i / PLAIN_K, k = k0 + i % PLAIN_K;
            a[i % PLAIN_K][i / PLAIN_K] = r < m && k < k_all ? rows.at(r, k) : 0;
        }
        for (int i = t; i < PLAIN_N * PLAIN_K; i += PLAIN_THREADS) {
            int r = finish_weight_row(f, n0, i / PLAIN_K, 1), k = k0 + i % PLAIN_K;
            bool inside = r >= 0 && k < k_all;
            b[i % PLAIN_K][i / PLAIN_K] = inside ? load_as(w.type, w.data, (size_t)r * row + (size_t)k) : 0;
        }
        __syncthreads();
        for (int k = 0; k < PLAIN_K; k++) {
            float4 x = *(const float4 *)&a[k][tm], y = *(const float4 *)&b[k][tn];
            const float xs[4] = { x.x, x.y, x.z, x.w }, ys[4] = { y.x, y.y, y.z, y.w };
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sum[i][j] = fmaf(xs[i], ys[j], sum[i][j]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j += f.glu ? 2 : 1) {
            int r = m0 + tm + i, c = n0 + (f.glu ? (tn + j) / 2 : tn + j);
            if (r < m && c < f.n)
                finish_store(f, r, c, sum[i][j], sum[i][j | 1]);
        }
}

template <class Rows> static __global__ void __launch_bounds__(PLAIN_THREADS)
plain_kernel(Rows rows, int m, struct plain_rows w, struct finish f)
{
    plain_tile(rows, m, (int)blockIdx.x * PLAIN_M, w, f);
}

static inline struct plain_rows plain_rows_of(const struct weight *w)
{
    return { w->data, w->dtype, w->in, packed_stride(w) };
}

template <class Rows> static void plain_launch(struct device *dev, Rows rows, int m, const struct weight *w,
                                               const struct finish &f)
{
    /* y has 16 bits */
    dim3 grid(blocks_for((size_t)m, PLAIN_M), blocks_for((size_t)f.n, f.glu ? PLAIN_N / 2 : PLAIN_N));
    LAUNCH(dev, (plain_kernel<Rows>), grid, PLAIN_THREADS, 0, rows, m, plain_rows_of(w), f);
}

#endif
