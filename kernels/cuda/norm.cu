/* kernels/cuda/norm.cu - RMSNorm and LayerNorm plus a residual, and the norm of
 * that, one warp per row (n up to 1024) or one block of eight warps. Two passes
 * per norm over a row that stays in the cache, each thread over the columns that
 * it wrote; the order of the sums depends on n alone. Bound by bandwidth and,
 * for few rows, by the launch. */
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

static __device__ void norm_row(float *to, const float *in, int n, const struct norm &norm, const float *add, float *part)
{
    int first = (int)threadIdx.x, step = (int)blockDim.x;
    float mean = 0, square = 0;
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
        to[i] = add ? y + add[i] : y;
    }
}

static __global__ void __launch_bounds__(32 * MAX_WARPS)
norm_kernel(struct tensor out, struct tensor x, struct norm norm, struct tensor add, struct tensor then_out, struct norm then)
{
    __shared__ float part[MAX_WARPS];
    int r = (int)blockIdx.x;
    norm_row(row_of(out, r), row_of(x, r), x.cols, norm, add.data ? row_of(add, r) : NULL, part);
    if (then_out.data)
        norm_row(row_of(then_out, r), row_of(out, r), x.cols, then, NULL, part);
}

void cuda_norm(struct device *dev, struct tensor out, struct tensor x, const struct norm *norm, struct tensor add,
               struct tensor then_out, const struct norm *then)
{
    struct norm none = {};
    if (!then)
        then_out.data = NULL;
    if (x.rows > 0)
        LAUNCH(dev, norm_kernel, dim3((unsigned)x.rows), x.cols > 1024 ? 32 * MAX_WARPS : 32, 0, out, x, *norm, add, then_out,
               then ? *then : none);
}
