/* kernels/cuda/conv.cu - dense convolution as a product of matrices whose rows
 * are taken from the feature map on the way (plain.cuh: float32, any weights);
 * depthwise convolution with one thread per output element, channels side by
 * side, bound by bandwidth (taps come from the cache). */
#include "kernels/cuda/plain.cuh"

enum { THREADS = 128 };

/* Row r: output pixel r; k = (ky, kx, channel). */
struct patch_rows {
    struct tensor x;
    struct conv   v;
    int           out_w;
    __device__ float at(int r, int k) const
    {
        int tap = k / x.cols, c = k % x.cols;
        int y = r / out_w * v.stride - v.pad + tap / v.kernel, z = r % out_w * v.stride - v.pad + tap % v.kernel;
        return y < 0 || y >= v.h || z < 0 || z >= v.w ? 0 : row_of(x, y * v.w + z)[c];
    }
};

static int out_width(const struct conv *v) { return (v->w + 2 * v->pad - v->kernel) / v->stride + 1; }

void cuda_conv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct conv *v)
{
    struct finish f = { v->act, false, w->out, w->bias, {}, {}, out };
    if (out.rows > 0)
        plain_launch(dev, patch_rows{ x, *v, out_width(v) }, out.rows, w, f);
}

/* One thread per number of the result: a channel has so few weights that there is nothing to share. */
static __global__ void __launch_bounds__(THREADS)
dwconv_kernel(struct tensor out, struct tensor x, struct weight w, struct conv v, int out_w)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    int r = (int)(i / (size_t)out.cols), c = (int)(i % (size_t)out.cols);
    if (r >= out.rows)
        return;
    float sum = 0;
    for (int t = 0; t < v.kernel * v.kernel; t++) {
        int y = r / out_w * v.stride - v.pad + t / v.kernel, z = r % out_w * v.stride - v.pad + t % v.kernel;
        if (y >= 0 && y < v.h && z >= 0 && z < v.w)
            sum = fmaf(row_of(x, y * v.w + z)[c], load_as(w.dtype, w.data, (size_t)c * (size_t)w.in + (size_t)t), sum);
    }
    row_of(out, r)[c] = activate(v.act, w.bias ? sum + w.bias[c] : sum);
}

void cuda_dwconv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct conv *v)
{
    if (out.rows > 0)
        LAUNCH(dev, dwconv_kernel, dim3(blocks_for((size_t)out.rows * (size_t)out.cols, THREADS)), THREADS, 0, out, x,
               *w, *v, out_width(v));
}
