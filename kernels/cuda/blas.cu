/* kernels/cuda/blas.cu - linear with many rows through cuBLASLt, for who gives
 * up that a row's bits do not depend on the others: the library chooses its
 * algorithm, and with it the order of sums, by the number of rows.
 *
 * x is split into two bfloat16 as in linear.cu, so there are two products, of
 * which the second adds to the first. Bias, ReLU, tanh-GELU and the residual go
 * into their epilogues where nothing else follows; what does not fit there is
 * done by finish.cuh, from a buffer. Rows are taken in runs that fit into that.
 *
 * The library is opened at run time: without it own kernels do everything. Its
 * view is columns first, so W (n, k) by rows is (k, n) to it, and out' = W x'. */
#include "kernels/cuda/blas.cuh"

#include <dlfcn.h>
#include <stdlib.h>

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

enum { WORKSPACE = 32 << 20, BUFFER = 160 << 20, THREADS = 256, MAX_CHOICES = 64, MIN_RUN = 64 };

/* The functions that are needed, without "cublasLt" in front. */
#define FUNCTIONS(X)                                                                                          \
    X(Create) X(Destroy) X(Matmul) X(MatmulAlgoGetHeuristic) X(MatmulDescCreate) X(MatmulDescDestroy)         \
    X(MatmulDescSetAttribute) X(MatrixLayoutCreate) X(MatrixLayoutDestroy) X(MatmulPreferenceCreate)          \
    X(MatmulPreferenceDestroy) X(MatmulPreferenceSetAttribute)

/* One product D = op(A) B + beta C with its epilogue: what the library's choice depends on. */
struct shape { int m, n, k, lda, ldb, ldc, ldd; bool adds; cublasLtEpilogue_t epilogue; };
struct choice { struct shape shape; cublasLtMatmulAlgo_t algo; };

struct blas {
    cublasLtHandle_t handle;             /* owned */
    char  *buffer;                       /* owned: device (WORKSPACE), then (BUFFER) */
    struct choice choice[MAX_CHOICES];   /* a ring */
    int    n_choices;
#define X(f) decltype(&cublasLt##f) f;
    FUNCTIONS(X)
#undef X
};

/* Looks up the functions of cuBLASLt, which is loaded when it is needed and no part of the plug-in, so that a machine
 * without it can still compute. On the emulator they are the emulator's own. -1: the library or one of its functions is
 * missing. */
static int find_functions(struct blas *b, struct err *e)
{
#ifdef CUSIM
    (void)e;
#define X(f) b->f = cublasLt##f;
#else
    void *lib = dlopen("libcublasLt.so." /* CUDA's major version */
#if CUDART_VERSION >= 13000
                       "13",
#else
                       "12",
#endif
                       RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return err_set(e, "%s", dlerror());
#define X(f)                                                       \
    if (!(b->f = (decltype(b->f))dlsym(lib, "cublasLt" #f))) \
        return err_set(e, "cuBLASLt has no cublasLt%s", #f);
#endif
    FUNCTIONS(X)
#undef X
    return 0;
}

/* Takes cuBLASLt's handle and memory for its workspace and for the split rows. After an error nothing is held, and
 * the error says what is missing. */
int blas_open(struct device *dev, struct err *e)
{
    struct blas *b = (struct blas *)calloc(1, sizeof *b);
    if (!b)
        return err_set(e, "out of memory");
    dev->blas = b;
    if (find_functions(b, e) == 0) {
        if (b->Create(&b->handle) != CUBLAS_STATUS_SUCCESS)
            err_set(e, "cuBLASLt does not start");
        else if (cudaMalloc((void **)&b->buffer, WORKSPACE + BUFFER) != cudaSuccess) {
            cudaGetLastError();
            err_set(e, "no CUDA memory for cuBLASLt's %d MiB", (WORKSPACE + BUFFER) >> 20);
        } else
            return 0;
    }
    blas_close(dev);
    return -1;
}

void blas_close(struct device *dev)
{
    struct blas *b = dev->blas;
    if (!b)
        return;
    if (b->handle)
        b->Destroy(b->handle);
    cudaFree(b->buffer);
    free(b);
    dev->blas = NULL;
}

/* ---- one product ---- */

struct parts { cublasLtMatmulDesc_t op; cublasLtMatrixLayout_t a, b, c, d; };

/* The library's descriptions of one product: W is transposed, since its rows are what x is multiplied by. False: one of
 * them could not be made, and parts_free() frees the others. */
static bool parts_make(struct blas *b, struct parts *p, const struct shape *s, const float *bias)
{
    cublasOperation_t transposed = CUBLAS_OP_T;
    memset(p, 0, sizeof *p);
    return b->MatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0 &&
           b->MatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) == 0 &&
           b->MatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &s->epilogue, sizeof s->epilogue) == 0 &&
           (!bias || b->MatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) == 0) &&
           b->MatrixLayoutCreate(&p->a, CUDA_R_16BF, (uint64_t)s->k, (uint64_t)s->n, s->lda) == 0 &&
           b->MatrixLayoutCreate(&p->b, CUDA_R_16BF, (uint64_t)s->k, (uint64_t)s->m, s->ldb) == 0 &&
           b->MatrixLayoutCreate(&p->c, CUDA_R_32F, (uint64_t)s->n, (uint64_t)s->m, s->ldc) == 0 &&
           b->MatrixLayoutCreate(&p->d, CUDA_R_32F, (uint64_t)s->n, (uint64_t)s->m, s->ldd) == 0;
}

static void parts_free(struct blas *b, struct parts *p)
{
    cublasLtMatrixLayout_t all[] = { p->a, p->b, p->c, p->d };
    for (cublasLtMatrixLayout_t l : all)
        if (l)
            b->MatrixLayoutDestroy(l);
    if (p->op)
        b->MatmulDescDestroy(p->op);
}

/* Would the library choose the same way for both? */
static bool same(const struct shape &a, const struct shape &b)
{
    return a.m == b.m && a.n == b.n && a.k == b.k && a.lda == b.lda && a.ldb == b.ldb && a.ldc == b.ldc &&
        a.ldd == b.ldd &&
           a.adds == b.adds && a.epilogue == b.epilogue;
}

/* The algorithm that the library recommends for this shape. Asking takes longer than a small product, so the last
 * MAX_CHOICES answers are kept. NULL: the library has none. */
static const cublasLtMatmulAlgo_t *choose(struct blas *b, const struct parts *p, const struct shape *s)
{
    size_t most = WORKSPACE;
    cublasLtMatmulPreference_t wish = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    for (int i = 0; i < b->n_choices && i < MAX_CHOICES; i++)
        if (same(b->choice[i].shape, *s))
            return &b->choice[i].algo;
    bool ok = b->MatmulPreferenceCreate(&wish) == 0 &&
              b->MatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                                              sizeof most) == 0 &&
              b->MatmulAlgoGetHeuristic(b->handle, p->op, p->a, p->b, p->c, p->d, wish, 1, &found, &n) == 0 && n == 1 &&
              found.state == CUBLAS_STATUS_SUCCESS;
    if (wish)
        b->MatmulPreferenceDestroy(wish);
    if (!ok)
        return NULL;
    struct choice *c = &b->choice[b->n_choices++ % MAX_CHOICES];
    c->shape = *s;
    c->algo = found.algo;
    return &c->algo;
}

/* d = w x (+ c), by the library. false: it cannot, and nothing was computed; run false: only that is asked. A product
 * that was promised and fails is an error of the device. */
static bool product(struct device *dev, const struct shape *s, const float *bias, const bf16 *w, const bf16 *x,
                    const float *c, float *d, bool run)
{
    struct blas *b = dev->blas;
    struct parts p;
    float one = 1, beta = s->adds ? 1 : 0;
    const cublasLtMatmulAlgo_t *algo = parts_make(b, &p, s, bias) ? choose(b, &p, s) : NULL;
    cublasStatus_t e = CUBLAS_STATUS_SUCCESS;
    if (algo && run)
        e = b->Matmul(b->handle, p.op, &one, w, p.a, x, p.b, &beta, c, p.c, d, p.d, algo, b->buffer, WORKSPACE,
                      dev->stream);
    parts_free(b, &p);
    if (run && (!algo || e != CUBLAS_STATUS_SUCCESS))
        device_fail(dev, "cuBLASLt", cudaErrorUnknown);
    return algo != NULL;
}

/* ---- linear ---- */

/* high + low = x, up to 2^-17 of it. */
static __global__ void __launch_bounds__(THREADS) split_kernel(bf16 *high, bf16 *low, struct tensor x, int stride)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, r = i / (size_t)x.cols, c = i % (size_t)x.cols;
    if (r >= (size_t)x.rows)
        return;
    float v = row_of(x, (int)r)[c];
    high[r * (size_t)stride + c] = __float2bfloat16(v);
    low[r * (size_t)stride + c] = __float2bfloat16(rest_of(v, bf16()));
}

/* raw (rows, stride) -> rows r0 .. r0 + rows of the output */
static __global__ void __launch_bounds__(THREADS) finish_kernel(struct finish f, const float *raw, int stride, int r0,
                                                                int rows)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, r = i / (size_t)f.n, c = i % (size_t)f.n;
    if (r >= (size_t)rows)
        return;
    const float *y = raw + r * (size_t)stride + c;
    finish_store(f, r0 + (int)r, (int)c, *y, f.glu ? y[f.n] : 0);
}

/* Whether the library's own epilogue can do all that follows a product; what it can is in *out. Otherwise a kernel of
 * ours finishes the product. */
static bool fused(const struct finish &f, cublasLtEpilogue_t *out)
{
    bool act = f.act != ACT_NONE;
    if (f.glu || f.mul.data || (act && f.act != ACT_RELU && f.act != ACT_GELU_TANH) || (act && f.add.data))
        return false;
    int e = f.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    if (act)
        e = (f.act == ACT_RELU ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_GELU) | (f.bias ? CUBLASLT_EPILOGUE_BIAS
                                                                                     : 0);
    *out = (cublasLtEpilogue_t)e;
    return f.out.stride % 4 == 0 && (size_t)f.out.data % 16 == 0 &&
           (!f.add.data || (f.add.stride % 4 == 0 && (size_t)f.add.data % 16 == 0));
}

struct linear {              /* how a linear is taken apart */
    int  stride, raw_stride, run;        /* of split rows, of the buffer's rows: elements; rows at a time */
    bool direct;                         /* the second product writes the output */
    struct shape first, second;
};

/* Two products, of the high and of the low half of x, the second of which adds to the first. They write the output
 * itself where cuBLASLt can do all of the epilogue, else a buffer that finish_kernel reads. false: the buffers would
 * hold too few rows to be worth it. */
static bool plan(struct linear *l, struct tensor x, const struct weight *w, const struct finish &f)
{
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    *l = {};
    l->stride = packed_stride(w);
    l->direct = fused(f, &epilogue);
    l->raw_stride = l->direct ? 0 : (w->out + 3) / 4 * 4;
    size_t row = (size_t)l->stride * 2 * sizeof(bf16) + (size_t)l->raw_stride * sizeof(float);
    l->run = (int)(BUFFER / row) / 8 * 8;
    l->run = l->run < x.rows ? l->run : x.rows;
    int ldd = l->direct ? f.out.stride : l->raw_stride;
    l->first = { 0, w->out, w->in, l->stride, l->stride, ldd, ldd, false, CUBLASLT_EPILOGUE_DEFAULT };
    l->second = { 0, w->out, w->in, l->stride, l->stride, ldd, ldd, true,
                  l->direct ? epilogue : CUBLASLT_EPILOGUE_DEFAULT };
    if (l->direct && f.add.data) {
        l->first.adds = true;
        l->first.ldc = f.add.stride;
    }
    return l->run >= MIN_RUN;
}

static float *row(const struct tensor &t, int r) { return (float *)t.data + (size_t)r * (size_t)t.stride; }

/* Whether cuBLASLt has an algorithm for both products is asked before anything is launched, so that the caller can
 * still take its own kernels. Then rows go through the buffers in runs. */
bool blas_linear(struct device *dev, struct tensor x, const struct weight *w, const struct finish &f)
{
    struct linear l;
    if (!dev->blas || x.rows < BLAS_ROWS || w->in % 8 || !plan(&l, x, w, f))
        return false;
    bf16 *high = (bf16 *)(dev->blas->buffer + WORKSPACE), *low = high + (size_t)l.run * (size_t)l.stride;
    float *raw = (float *)(low + (size_t)l.run * (size_t)l.stride);
    const float *bias = l.direct ? f.bias : NULL;
    for (int r = 0; r < x.rows; r += l.run) {
        int m = x.rows - r < l.run ? x.rows - r : l.run;
        struct tensor part = { row(x, r), F32, m, x.cols, x.stride };
        float *d = l.direct ? row(f.out, r) : raw;
        const float *c = l.first.adds ? row(f.add, r) : d;
        l.first.m = l.second.m = m;
        if (r == 0 && !(product(dev, &l.first, NULL, NULL, NULL, NULL, NULL, false) &&
                        product(dev, &l.second, bias, NULL, NULL, NULL, NULL, false)))
            return false;
        LAUNCH(dev, split_kernel, dim3(blocks_for((size_t)m * (size_t)x.cols, THREADS)), THREADS, 0, high, low, part,
               l.stride);
        if (dev->error == cudaSuccess)
            product(dev, &l.first, NULL, (const bf16 *)w->data, high, c, d, true);
        if (dev->error == cudaSuccess)
            product(dev, &l.second, bias, (const bf16 *)w->data, low, d, d, true);
        if (!l.direct)
            LAUNCH(dev, finish_kernel, dim3(blocks_for((size_t)m * (size_t)f.n, THREADS)), THREADS, 0, f, raw,
                   l.raw_stride, r, m);
    }
    return true;
}

#else   /* no header: nothing to open */

int blas_open(struct device *dev, struct err *e)
{
    (void)dev;
    return err_set(e, "this library was built without cuBLASLt's header");
}

void blas_close(struct device *dev) { (void)dev; }

bool blas_linear(struct device *dev, struct tensor x, const struct weight *w, const struct finish &f)
{
    (void)dev, (void)x, (void)w, (void)f;
    return false;
}
#endif
