/* tests/cusim/wrappers.cu - one warp calls every wrapper of tc.cuh. Compiled
 * for GPUs and for the emulator, into a library of its own each. */
#include "kernels/cuda/common.cuh"

extern "C" {
#include "tests/cusim/wrappers.h"
}

static __global__ void wrappers_kernel(const struct wrapper_in *in, struct wrapper_out *out)
{
    __shared__ __align__(16) uint16_t rows[32][8], copied[32][8];
    int lane = (int)threadIdx.x;
    float d[4], e[4];
    uint32_t a[4], r[4];
    for (int i = 0; i < 4; i++)
        d[i] = e[i] = in->d[lane][i];
    for (int i = 0; i < 4; i++)
        a[i] = in->bf16_a[lane][i];
    mma(d, a, in->bf16_b[lane][0], in->bf16_b[lane][1], bf16());
    for (int i = 0; i < 4; i++)
        a[i] = in->f16_a[lane][i];
    mma(e, a, in->f16_b[lane][0], in->f16_b[lane][1], f16());
    int sum[4] = { 0, 1, 2, 3 };
    for (int i = 0; i < 4; i++)
        a[i] = in->s8_a[lane][i];
    mma_s8(sum, a, in->s8_b[lane][0], in->s8_b[lane][1]);
    for (int i = 0; i < 4; i++)
        out->mma_s8[lane][i] = sum[i];
    for (int i = 0; i < 8; i++)
        rows[lane][i] = in->rows[lane][i];
    cp_async(copied[lane], in->rows[lane], lane % 2 == 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    ldmatrix(r, rows[lane]);
    for (int i = 0; i < 4; i++)
        out->mma_bf16[lane][i] = d[i], out->mma_f16[lane][i] = e[i], out->ldmatrix[lane][i] = r[i];
    ldmatrix_transposed(r, rows[lane]);
    for (int i = 0; i < 4; i++)
        out->ldmatrix_transposed[lane][i] = r[i];
    for (int i = 0; i < 8; i++)
        out->copied[lane][i] = copied[lane][i];
}

extern "C" __attribute__((visibility("default"))) const char *wrappers_run(const struct wrapper_in *in,
                                                                           struct wrapper_out *out)
{
    struct wrapper_in *din = NULL;
    struct wrapper_out *dout = NULL;
    cudaMalloc((void **)&din, sizeof *din);
    cudaMalloc((void **)&dout, sizeof *dout);
    cudaMemcpyAsync(din, in, sizeof *in, cudaMemcpyHostToDevice, 0);
    LAUNCH_RAW(wrappers_kernel, dim3(1), dim3(32), (size_t)0, (cudaStream_t)0, din, dout);
    cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess)
        e = cudaMemcpyAsync(out, dout, sizeof *out, cudaMemcpyDeviceToHost, 0);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize(0);
    cudaFree(din);
    cudaFree(dout);
    return e == cudaSuccess ? NULL : cudaGetErrorString(e);
}
