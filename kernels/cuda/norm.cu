/* kernels/cuda/norm.cu - RMSNorm and LayerNorm plus a residual, and the norm of
 * that, one warp per row (n up to 1024) or one block of eight warps. Two passes
 * per norm over a row that stays in the cache. Bound by bandwidth and, for few
 * rows, by the launch: one or two rows of a decode step are normed by the linear
 * before (linear.cuh). */
#include "kernels/cuda/norm.cuh"

template <int THREADS> static __global__ void __launch_bounds__(THREADS) norm_kernel(struct row_norms s)
{
    __shared__ float part[NORM_LANES / 32];
    norm_both<THREADS>(s, (int)blockIdx.x, part);
}

void cuda_norm(struct device *dev, struct tensor x, const struct norms *norms)
{
    struct row_norms s = row_norms_of(x, norms);
    if (x.rows > 0 && norm_lanes(x.cols) == 32)
        LAUNCH(dev, (norm_kernel<32>), dim3((unsigned)x.rows), 32, 0, s);
    else if (x.rows > 0)
        LAUNCH(dev, (norm_kernel<NORM_LANES>), dim3((unsigned)x.rows), NORM_LANES, 0, s);
}
