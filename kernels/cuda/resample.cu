/* kernels/cuda/resample.cu - one pass of a separable resize, byte for byte what
 * image/resize.c makes: sums of integers, rounded, shifted and clamped. A thread
 * makes four bytes that lie side by side, so that a store is one word. Bound by
 * the reads, which neighbours share in the cache. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128, BYTES = 4 };

/* A thread makes bytes k0 .. k0 + BYTES - 1 of `out`, of which there are `size`. `inner` bytes lie between two
 * neighbours along the axis that is resized, and the input has `from` of these along it. The last word may lie partly
 * behind `size`, as ops.h allows. */
static __global__ void __launch_bounds__(THREADS)
resample_kernel(uint8_t *out, const uint8_t *in, size_t size, int from, int inner, struct resampling t)
{
    size_t k0 = ((size_t)blockIdx.x * THREADS + threadIdx.x) * BYTES;
    uint32_t word = 0;
    if (k0 >= size)
        return;
    for (int b = 0; b < BYTES && k0 + b < size; b++) {
        size_t k = k0 + b, line = k / inner, outer = line / t.n;
        int i = (int)(line % t.n), sum = 1 << (t.bits - 1);
        const int *weight = t.weight + (size_t)i * t.stride;
        const uint8_t *p = in + (outer * from + t.start[i]) * inner + k % inner;
        for (int j = 0; j < t.count[i]; j++, p += inner)
            sum += *p * weight[j];
        word |= (uint32_t)min(max(sum >> t.bits, 0), 255) << 8 * b;
    }
    *(uint32_t *)(out + k0) = word;
}

void cuda_resample(struct device *dev, uint8_t *out, const uint8_t *in, int outer, int from, int inner,
                   const struct resampling *t)
{
    size_t size = (size_t)outer * (size_t)t->n * (size_t)inner;
    if (size > 0)
        LAUNCH(dev, resample_kernel, dim3(blocks_for(size, THREADS * BYTES)), THREADS, 0, out, in, size, from, inner,
               *t);
}
