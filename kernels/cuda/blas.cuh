/* kernels/cuda/blas.cuh - cuBLASLt for linear with many rows. */
#ifndef KERNELS_CUDA_BLAS_CUH
#define KERNELS_CUDA_BLAS_CUH
#include "kernels/cuda/finish.cuh"

enum { BLAS_ROWS = 256 };        /* fewer rows take linear.cu's kernels */

/* false: not asked for (blas_open), not possible for these shapes; nothing was done. W: (n or, with glu, 2 n, k)
 * bfloat16. */
bool blas_linear(struct device *dev, struct tensor x, const struct weight *w, const struct finish &f);
int  blas_open(struct device *dev, struct err *e);   /* -1: cuBLASLt cannot be had */
void blas_close(struct device *dev);

#endif
