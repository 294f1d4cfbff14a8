/* kernels/cuda/norm.cu - RMSNorm and LayerNorm plus a residual, one warp per row
 * (n up to 1024) or one block of eight warps. Two passes over a row that stays
 * in the cache; the order of the sums depends on n alone. Bound by bandwidth
 * and, for few rows, by the launch. */
#include "kernels/cuda/common.cuh"

enum { MAX_WARPS = 8 };

/* The sum over the block; every thread gets it. */
static __device__ float block_sum(float x, float *part)
{
    int warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32;
    x = warp_sum(x);
    if (warps == 1)
        return x;
    __syncthreads();                       /* the last sum has been read */
    if (threadIdx.x % 32 == 0)
        part[warp] = x;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < warps; i++)
        sum += part[i];
    return sum;
}

static __global__ void __launch_bounds__(32 * MAX_WARPS) norm_kernel(struct tensor out, struct tensor x, struct norm norm,
                                                                           struct tensor add)
{
    __shared__ float part[MAX_WARPS];
    int n = x.cols, first = (int)threadIdx.x, step = (int)blockDim.x;
    const float *in = row_of(x, (int)blockIdx.x);
    float *to = row_of(out, (int)blockIdx.x), mean = 0, square = 0;
    if (norm.center) {
        for (int i = first; i < n; i += step)
            mean += in[i];
        mean = block_sum(mean, part) / (float)n;
    }
    for (int i = first; i < n; i += step)
        square = fmaf(in[i] - mean, in[i] - mean, square);
    float scale = 1 / sqrtf(block_sum(square, part) / (float)n + norm.eps);
    for (int i = first; i < n; i += step) {
        float y = (in[i] - mean) * scale;
        if (norm.w.data)
            y *= row_of(norm.w, 0)[i];
        if (norm.b.data)
            y += row_of(norm.b, 0)[i];
        to[i] = add.data ? y + row_of(add, (int)blockIdx.x)[i] : y;
    }
}

void cuda_norm(struct device *dev, struct tensor out, struct tensor x, const struct norm *norm, struct tensor add)
{
    if (x.rows > 0)
        LAUNCH(dev, norm_kernel, dim3((unsigned)x.rows), x.cols > 1024 ? 32 * MAX_WARPS : 32, 0, out, x, *norm, add);
}
