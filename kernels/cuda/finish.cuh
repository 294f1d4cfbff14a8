/* kernels/cuda/finish.cuh - what a product of matrices does with y before it is
 * stored: bias, activation, gate times up, column scale, residual. */
#ifndef KERNELS_CUDA_FINISH_CUH
#define KERNELS_CUDA_FINISH_CUH
#include "kernels/cuda/common.cuh"

struct finish {
    enum act      act;
    bool          glu;
    int           n;      /* columns of the output            */
    const float  *bias;   /* (n), with glu (2 n); or NULL     */
    struct tensor mul, add, out;
};

/* With glu, gate and up of a column are computed side by side by the same
 * thread: tile columns are `group` gates, the `group` ups that belong to them,
 * and so on. Which row of W is column j of the tile that starts at output
 * column n0? -1: none. */
__device__ __forceinline__ int finish_weight_row(const struct finish &f, int n0, int j, int group)
{
    if (!f.glu)
        return n0 + j < f.n ? n0 + j : -1;
    int c = n0 + j / (2 * group) * group + j % group;
    if (c >= f.n)
        return -1;
    return j / group % 2 ? c + f.n : c;
}

/* In the order of struct epilogue. y is a column's sum, or with glu its gate, and `up` the sum that goes with it. */
__device__ __forceinline__ void finish_store(const struct finish &f, int r, int c, float y, float up)
{
    y = activate(f.act, f.bias ? y + f.bias[c] : y);
    if (f.glu)
        y *= f.bias ? up + f.bias[f.n + c] : up;
    if (f.mul.data)
        y *= row_of(f.mul, 0)[c];
    if (f.add.data)
        y += row_of(f.add, r)[c];
    row_of(f.out, r)[c] = y;
}

#endif
