/* kernels/cuda/element.cu - act, add, copy, fuse: one thread per element,
 * rows in blockIdx.y. Bound by bandwidth; models call them where a fused
 * epilogue cannot do it. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128, MAX_Y = 32768 };

/* A grid has a limit in y; rows beyond it are taken by the same blocks in turn. */
static dim3 grid_of(const struct tensor &t)
{
    return dim3(blocks_for((size_t)t.cols, THREADS), (unsigned)(t.rows < MAX_Y ? t.rows : MAX_Y));
}

static bool empty(const struct tensor &t) { return t.rows <= 0 || t.cols <= 0; }

static __global__ void __launch_bounds__(THREADS) act_kernel(struct tensor out, struct tensor x, enum act act, bool glu)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int r = (int)blockIdx.y; r < out.rows && c < out.cols; r += (int)gridDim.y) {
        float y = activate(act, row_of(x, r)[c]);
        row_of(out, r)[c] = glu ? y * row_of(x, r)[c + out.cols] : y;
    }
}

static __global__ void __launch_bounds__(THREADS) add_kernel(struct tensor out, struct tensor a, struct tensor b)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int r = (int)blockIdx.y; r < out.rows && c < out.cols; r += (int)gridDim.y)
        row_of(out, r)[c] = row_of(a, r)[c] + row_of(b, b.rows == 1 ? 0 : r)[c];
}

static __global__ void __launch_bounds__(THREADS) copy_kernel(struct tensor out, struct tensor x)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int r = (int)blockIdx.y; r < out.rows && c < out.cols; r += (int)gridDim.y)
        store_as(out.dtype, out.data, (size_t)r * (size_t)out.stride + (size_t)c,
                 load_as(x.dtype, x.data, (size_t)r * (size_t)x.stride + (size_t)c));
}

/* Each thread computes the softmax of its row again: two exponentials cost less than sharing them. */
static __global__ void __launch_bounds__(THREADS) fuse_kernel(struct tensor out, struct tensor a, struct tensor b,
                                                              struct tensor logits)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int r = (int)blockIdx.y; r < out.rows && c < out.cols; r += (int)gridDim.y) {
        const float *l = row_of(logits, r);
        float most = fmaxf(l[0], l[1]), e0 = expf(l[0] - most), e1 = expf(l[1] - most);
        row_of(out, r)[c] = e0 / (e0 + e1) * row_of(a, r)[c] + e1 / (e0 + e1) * row_of(b, r)[c];
    }
}

void cuda_act(struct device *dev, struct tensor out, struct tensor x, enum act act, bool glu)
{
    if (!empty(out))
        LAUNCH(dev, act_kernel, grid_of(out), THREADS, 0, out, x, act, glu);
}

void cuda_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    if (!empty(out))
        LAUNCH(dev, add_kernel, grid_of(out), THREADS, 0, out, a, b);
}

void cuda_copy(struct device *dev, struct tensor out, struct tensor x)
{
    if (!empty(out))
        LAUNCH(dev, copy_kernel, grid_of(out), THREADS, 0, out, x);
}

void cuda_fuse(struct device *dev, struct tensor out, struct tensor a, struct tensor b, struct tensor logits)
{
    if (!empty(out))
        LAUNCH(dev, fuse_kernel, grid_of(out), THREADS, 0, out, a, b, logits);
}
