/* kernels/cuda/pixels.cu - bytes of an image to scaled floats, one thread per
 * number. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS)
pixels_kernel(struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    int r = (int)(i / 3), c = (int)(i % 3);
    if (r < out.rows)
        row_of(out, r)[c] = (float)rgb[i] * scale[c] + shift[c];
}

void cuda_pixels(struct device *dev, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift)
{
    if (out.rows > 0)
        LAUNCH(dev, pixels_kernel, dim3(blocks_for((size_t)out.rows * 3, THREADS)), THREADS, 0, out, rgb, scale, shift);
}
