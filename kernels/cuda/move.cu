/* kernels/cuda/move.cu - gather and scatter of rows, one block per row. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128 };

/* Threads take columns in turn, so that neighbours read neighbouring numbers of a row. */
static __global__ void __launch_bounds__(THREADS) gather_kernel(struct tensor out, struct tensor x, int taps,
                                                                const int *idx, const float *w)
{
    int r = (int)blockIdx.x;
    for (int c = (int)threadIdx.x; c < out.cols; c += THREADS) {
        float sum = 0;
        for (int t = 0; t < taps; t++) {
            size_t i = (size_t)r * (size_t)taps + (size_t)t;
            if (idx[i] >= 0)
                sum += w ? w[i] * row_of(x, idx[i])[c] : row_of(x, idx[i])[c];
        }
        row_of(out, r)[c] = sum;
    }
}

static __global__ void __launch_bounds__(THREADS) scatter_kernel(struct tensor out, struct tensor x, const int *idx,
                                                                 bool add)
{
    int r = (int)blockIdx.x, to = idx[r];
    for (int c = (int)threadIdx.x; to >= 0 && c < x.cols; c += THREADS)
        row_of(out, to)[c] = row_of(x, r)[c] + (add ? row_of(out, to)[c] : 0);
}

void cuda_gather(struct device *dev, struct tensor out, struct tensor x, int taps, const int *idx, const float *w)
{
    if (out.rows > 0)
        LAUNCH(dev, gather_kernel, dim3((unsigned)out.rows), THREADS, 0, out, x, taps, idx, w);
}

void cuda_scatter(struct device *dev, struct tensor out, struct tensor x, const int *idx, bool add)
{
    if (x.rows > 0)
        LAUNCH(dev, scatter_kernel, dim3((unsigned)x.rows), THREADS, 0, out, x, idx, add);
}
