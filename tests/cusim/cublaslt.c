/* tests/cusim/cublaslt.c - the part of cuBLASLt that blas.cu calls: D = A' B +
 * beta C with an epilogue, bfloat16 factors, float32 sums.
 *
 * What the documentation asks for is checked: live handles, matching shapes,
 * leading dimensions, alignment of 16 bytes, types, the algorithm of exactly
 * this shape, its workspace, in-place only with equal layouts. The work runs
 * when its stream does. Sums are made in double: as good as any order. */
#include "tests/cusim/stream.h"

static int n_calls;

/* How many products were asked for, for tests. */
__attribute__((visibility("default"))) int cusim_blas_calls(void) { return n_calls; }

#if __has_include(<cublasLt.h>)       /* without it blas.cu has nothing to call */
#pragma GCC diagnostic ignored "-Wstrict-prototypes"    /* of its header */
#include <cublasLt.h>
#pragma GCC diagnostic error "-Wstrict-prototypes"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"

enum { MAGIC_OP = 0x6f70, MAGIC_LAYOUT = 0x6c61, MAGIC_WISH = 0x7769, NEEDS = 4096 };

struct cublasLtContext { int magic; };
struct op_desc { uint32_t magic; int transposed_a; uint32_t epilogue; const float *bias; };
struct matrix  { uint32_t magic, type; uint64_t rows, cols; int64_t ld; };
struct wish    { uint32_t magic; size_t workspace; };
struct algo    { uint64_t m, n, k, epilogue; int64_t lda, ldb, ldc, ldd; };       /* no padding: compared bytewise */

struct product {             /* one call, until its stream runs */
    float alpha, beta;
    const uint16_t *a, *b;
    const float *c;
    float *d;
    struct algo shape;
    const float *bias;
};

_Static_assert(sizeof(struct algo) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm holds its shape");

static struct cublasLtContext *handle;      /* one is enough */

static cublasStatus_t invalid(const char *why)
{
    stream_refuse(cudaErrorInvalidValue, why);
    cudaGetLastError();
    return CUBLAS_STATUS_INVALID_VALUE;
}

static struct op_desc *op_of(cublasLtMatmulDesc_t d)
{
    struct op_desc *o = (struct op_desc *)d;
    return o && o->magic == MAGIC_OP ? o : NULL;
}

static struct matrix *layout_of(cublasLtMatrixLayout_t d)
{
    struct matrix *l = (struct matrix *)d;
    return l && l->magic == MAGIC_LAYOUT ? l : NULL;
}

/* ---- handles ---- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    if (!out || handle)
        return invalid("cublasLtCreate: one handle at a time");
    *out = handle = calloc(1, sizeof *handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t h)
{
    if (!h || h != handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    cudaDeviceSynchronize();
    free(handle);
    handle = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale)
{
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    struct op_desc *o = calloc(1, sizeof(cublasLtMatmulDescOpaque_t));
    *o = (struct op_desc){ .magic = MAGIC_OP, .epilogue = CUBLASLT_EPILOGUE_DEFAULT };
    *out = (cublasLtMatmulDesc_t)o;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t n)
{
    struct op_desc *o = op_of(d);
    if (!o || !value)
        return invalid("cublasLtMatmulDescSetAttribute");
    if (what == CUBLASLT_MATMUL_DESC_TRANSA && n == sizeof(int32_t))
        o->transposed_a = *(const int32_t *)value == CUBLAS_OP_T;
    else if (what == CUBLASLT_MATMUL_DESC_EPILOGUE && n == sizeof(uint32_t))
        o->epilogue = *(const uint32_t *)value;
    else if (what == CUBLASLT_MATMUL_DESC_BIAS_POINTER && n == sizeof(void *))
        memcpy(&o->bias, value, n);
    else
        return invalid("cublasLtMatmulDescSetAttribute: the size of the value");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    struct matrix *l = calloc(1, sizeof(cublasLtMatrixLayoutOpaque_t));
    *l = (struct matrix){ MAGIC_LAYOUT, type, rows, cols, ld };
    *out = (cublasLtMatrixLayout_t)l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    struct wish *w = calloc(1, sizeof(cublasLtMatmulPreferenceOpaque_t));
    w->magic = MAGIC_WISH;
    *out = (cublasLtMatmulPreference_t)w;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t n)
{
    struct wish *w = (struct wish *)p;
    if (!w || w->magic != MAGIC_WISH || what != CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES || n != sizeof(uint64_t))
        return invalid("cublasLtMatmulPreferenceSetAttribute");
    memcpy(&w->workspace, value, n);
    return CUBLAS_STATUS_SUCCESS;
}

/* The first word says what it is; zero once it is destroyed, while another one does not take its place. */
static cublasStatus_t destroy(void *p, uint32_t magic)
{
    uint32_t *word = p;
    if (!word || *word != magic)
        return invalid("destroying what is not there");
    *word = 0;
    free(word);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return destroy(d, MAGIC_OP); }
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t d) { return destroy(d, MAGIC_LAYOUT); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t d) { return destroy(d, MAGIC_WISH); }

/* ---- products ---- */

/* What is wrong with the shapes; NULL: nothing. */
static const char *look(const struct op_desc *o, const struct matrix *a, const struct matrix *b, const struct matrix *c,
                        const struct matrix *d, struct algo *out)
{
    if (!o || !a || !b || !c || !d)
        return "a descriptor is missing or was destroyed";
    *out = (struct algo){ d->cols, d->rows, a->rows, o->epilogue, a->ld, b->ld, c->ld, d->ld };
    if (!o->transposed_a || a->type != CUDA_R_16BF || b->type != CUDA_R_16BF || c->type != CUDA_R_32F ||
        d->type != CUDA_R_32F)
        return "types or a transposition that this emulation does not know";
    if (a->rows != b->rows || a->cols != d->rows || b->cols != d->cols || c->rows != d->rows || c->cols != d->cols ||
        !out->m || !out->n || !out->k)
        return "the shapes do not fit together";
    if (a->ld < (int64_t)a->rows || b->ld < (int64_t)b->rows || c->ld < (int64_t)c->rows || d->ld < (int64_t)d->rows)
        return "a leading dimension is less than the rows";
    if (a->ld % 8 || b->ld % 8 || c->ld % 4 || d->ld % 4)
        return "a leading dimension is not a multiple of 16 bytes";
    bool known = o->epilogue == CUBLASLT_EPILOGUE_DEFAULT || o->epilogue == CUBLASLT_EPILOGUE_BIAS ||
        o->epilogue == CUBLASLT_EPILOGUE_RELU ||
                 o->epilogue == CUBLASLT_EPILOGUE_RELU_BIAS || o->epilogue == CUBLASLT_EPILOGUE_GELU ||
                 o->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
    if (!known)
        return "an epilogue that this emulation does not know";
    return o->epilogue & CUBLASLT_EPILOGUE_BIAS && !o->bias ? "an epilogue with a bias, and none is given" : NULL;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t p, int most,
                                              cublasLtMatmulHeuristicResult_t out[], int *n)
{
    const struct wish *w = (const struct wish *)p;
    struct algo shape;
    *n = 0;
    if (!h || h != handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const char *wrong = look(op_of(op), layout_of(a), layout_of(b), layout_of(c), layout_of(d), &shape);
    if (wrong || most < 1 || !w || w->magic != MAGIC_WISH)
        return invalid(wrong ? wrong : "cublasLtMatmulAlgoGetHeuristic");
    if (w->workspace < NEEDS)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    memcpy(&out->algo, &shape, sizeof shape);
    out->workspaceSize = NEEDS;
    out->state = CUBLAS_STATUS_SUCCESS;
    *n = 1;
    return CUBLAS_STATUS_SUCCESS;
}

static float epilogue(const struct product *p, uint64_t row, double y)
{
    if (p->shape.epilogue & CUBLASLT_EPILOGUE_BIAS)
        y += (double)p->bias[row];
    if (p->shape.epilogue & CUBLASLT_EPILOGUE_RELU)
        y = y > 0 ? y : 0;
    if (p->shape.epilogue & CUBLASLT_EPILOGUE_GELU)
        y = 0.5 * y * (1 + tanh(0.7978845608028654 * (y + 0.044715 * y * y * y)));
    return (float)y;
}

static void multiply(const void *params)
{
    const struct product *p = params;
    const struct algo *s = &p->shape;
    bool all = true;
    for (uint64_t j = 0; j < s->n; j++)
        all &= shadow_range("cublasLtMatmul: A", p->a + (int64_t)j * s->lda, s->k * 2, false);
    for (uint64_t i = 0; i < s->m; i++) {
        all &= shadow_range("cublasLtMatmul: B", p->b + (int64_t)i * s->ldb, s->k * 2, false);
        if (p->beta != 0)
            all &= shadow_range("cublasLtMatmul: C", p->c + (int64_t)i * s->ldc, s->n * 4, false);
        all &= shadow_range("cublasLtMatmul: D", p->d + (int64_t)i * s->ldd, s->n * 4, true);
    }
    for (uint64_t i = 0; all && i < s->m; i++)
        for (uint64_t j = 0; j < s->n; j++) {
            double sum = 0;
            for (uint64_t k = 0; k < s->k; k++)
                sum += (double)bf16_get(p->a[(int64_t)j * s->lda + (int64_t)k]) *
                    (double)bf16_get(p->b[(int64_t)i * s->ldb + (int64_t)k]);
            sum *= (double)p->alpha;
            if (p->beta != 0)
                sum += (double)p->beta * (double)p->c[(int64_t)i * s->ldc + (int64_t)j];
            p->d[(int64_t)i * s->ldd + (int64_t)j] = epilogue(p, j, sum);
        }
}

static bool aligned(const void *p, size_t n) { return (uintptr_t)p % n == 0; }

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t op, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t al,
                              const void *b, cublasLtMatrixLayout_t bl, const void *beta, const void *c,
                              cublasLtMatrixLayout_t cl, void *d,
                              cublasLtMatrixLayout_t dl, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t n,
                              cudaStream_t stream)
{
    struct algo shape;
    if (!h || h != handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const struct op_desc *o = op_of(op);
    const char *wrong = look(o, layout_of(al), layout_of(bl), layout_of(cl), layout_of(dl), &shape);
    if (wrong)
        return invalid(wrong);
    if (!alpha || !a || !b || !beta || !d || (!c && *(const float *)beta != 0))
        return invalid("cublasLtMatmul: a pointer is missing");
    if (!aligned(a, 16) || !aligned(b, 16) || !aligned(c, 16) || !aligned(d, 16))
        return invalid("cublasLtMatmul: a matrix does not begin at a multiple of 16 bytes");
    if (!algo || memcmp(algo, &shape, sizeof shape) != 0)
        return invalid("cublasLtMatmul: the algorithm is for another shape");
    if (n < NEEDS || !workspace || !aligned(workspace, 256) || !shadow_is_device(workspace))
        return invalid("cublasLtMatmul: the workspace");
    if (c == d && shape.ldc != shape.ldd)
        return invalid("cublasLtMatmul: in place with two layouts");
    struct product p = { *(const float *)alpha, *(const float *)beta, a, b, c, d, shape, o->bias };
    struct op work = { .kind = OP_CALL, .launch = { .name = "cublasLtMatmul", .thunk = multiply,
                                                    .params_size = sizeof p } };
    work.launch.params = memcpy(malloc(sizeof p), &p, sizeof p);
    stream_lock();
    cudaError_t e = stream_enqueue(stream, work);
    n_calls++;
    stream_unlock();
    return e == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
#endif
