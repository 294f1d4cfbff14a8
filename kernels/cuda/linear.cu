/* kernels/cuda/linear.cu - y = x W' with the fused epilogue: which kernel, and
 * bfloat16 weights, rows of 16-byte multiples.
 *
 * One kernel (linear.cuh) in four shapes (rows x columns x k of a tile):
 *   8 x 32 x 128, 2 warps    up to 8 rows; otherwise as
 *   16 x 32 x 128, 2 warps   up to 16 rows: decode. W streams through a ring of
 *                            four 8 KiB tiles, read once. Bound by bandwidth.
 *   64 x 64 x 32, 4 warps    up to 64 rows: W is still read once.
 *   128 x 128 x 32, 8 warps  prefill and vision. Bound by the tensor cores.
 *
 * Weights of float32 and float16 take plain.cuh, quantised ones linear_quant.cu or linear_int8.cu. */
#include "kernels/cuda/blas.cuh"
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/packed.cuh"
#include "kernels/cuda/plain.cuh"

struct plain_weight {
    enum { per_chunk = 8, grouped = 0, scaled = 0, rotated = 0 };
    static constexpr int pad(int) { return 16; }
    template <int ROW> static __device__ __forceinline__ void fragment(uint32_t (&r)[4], const unsigned char *b, int n,
                                                                       int k, int lane)
    {
        ldmatrix(r, b + (n + lane % 8) * ROW + (k + lane / 8 * 8) * 2);
    }
};

struct matrix_rows {
    struct tensor x;
    __device__ float at(int r, int k) const { return row_of(x, r)[k]; }
};

/* Tiles by the number of rows; g: of experts, or NULL. */
static void multiply_bf16(struct device *dev, const struct product &p, const struct grouping *g)
{
    int rows = rows_of_each(g, p.m);
    if (rows <= 8)
        linear_launch<tile<8, 32, 128, 1, 2, 4>, plain_weight>(dev, p, g);
    else if (rows <= 16)
        linear_launch<tile<16, 32, 128, 1, 2, 4>, plain_weight>(dev, p, g);
    else if (rows <= 64)
        linear_launch<tile<64, 64, 32, 2, 2, 4>, plain_weight>(dev, p, g);
    else
        linear_launch<tile<128, 128, 32, 2, 4, 4>, plain_weight>(dev, p, g);
}

/* A product whose factors are not known yet to be those of one weight or of many experts. */
static struct product product_of(struct tensor x, const struct weight *w, const struct finish &f)
{
    bool aligned = (size_t)x.data % 16 == 0 && x.stride % 4 == 0;
    size_t row = quantised(w->dtype) ? packed_row_bytes(w->dtype, w->in) : (size_t)packed_stride(w) * 2;
    return { (const float *)x.data, x.rows, w->in, x.stride, aligned, (const unsigned char *)w->data, row, NULL,
             w->out, f, {}, NULL };
}

/* y and, where the kernel can take them in the same launch, the norms of e->after: false if it did not. */
static bool multiply(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                     const struct epilogue *e)
{
    struct finish f = { e->act, e->glu, e->glu ? w->out / 2 : w->out, w->bias, e->mul, e->add, out };
    if (x.rows <= 0 || f.n <= 0)
        return false;
    if (w->dtype == BF16 && blas_linear(dev, x, w, f))
        return false;
    struct product p = product_of(x, w, f);
    bool in_one = e->after && x.rows <= TAIL_ROWS && (w->dtype == BF16 || quantised(w->dtype));
    if (in_one)
        p.after = row_norms_of(out, e->after), p.arrived = dev->arrived;
    if (quantised(w->dtype)) {
        p.scale = p.w + (size_t)w->out * p.w_stride;
        if (w->dtype == Q8 && dev->rounds && w->in <= ROUNDED_COLUMNS)
            linear_rounded(dev, p);
        else
            linear_quantised(dev, p, w->dtype, NULL);
    } else if (w->dtype != BF16)
        plain_launch(dev, matrix_rows{ x }, x.rows, w, f);
    else
        multiply_bf16(dev, p, NULL);
    return in_one;
}

/* The norms that follow are in the product's own kernel where it has whole rows, and else a launch of their own, with
 * the same bits. */
void cuda_linear(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                 const struct epilogue *e)
{
    bool normed = multiply(dev, out, x, w, e);
    if (e->after && !normed)
        cuda_norm(dev, out, e->after);
}

/* Float32 and float16: as plain_kernel(), with the rows of one expert. */
static __global__ void __launch_bounds__(PLAIN_THREADS)
plain_grouped_kernel(struct tensor x, struct plain_rows w, struct finish f, struct grouping g)
{
    int from, e = find_expert(g, PLAIN_M, (int)blockIdx.x, &from);
    if (e < 0)
        return;
    int first = g.first[e];
    x.data = row_of(x, first);
    f.out.data = row_of(f.out, first);
    w.data = g.data[e];
    plain_tile(matrix_rows{ x }, g.first[e + 1] - first, from, w, f);
}

/* All experts in one launch. x is not rounded to int8, whatever the device does elsewhere. */
void cuda_linear_grouped(struct device *dev, struct tensor out, struct tensor x, const struct experts *experts,
                         const int *first, enum act act, bool glu)
{
    const struct weight *w = experts->w;
    struct grouping g = { first, experts->data, experts->n };
    struct finish f = { act, glu, out.cols, NULL, {}, {}, out };
    if (x.rows <= 0)
        return;
    struct product p = product_of(x, w, f);
    if (quantised(w->dtype))
        linear_quantised(dev, p, w->dtype, &g);
    else if (w->dtype == BF16)
        multiply_bf16(dev, p, &g);
    else {
        dim3 grid(most_tiles(&g, x.rows, PLAIN_M), blocks_for((size_t)f.n, glu ? PLAIN_N / 2 : PLAIN_N));
        LAUNCH(dev, plain_grouped_kernel, grid, PLAIN_THREADS, 0, x, plain_rows_of(w), f, g);
    }
}
