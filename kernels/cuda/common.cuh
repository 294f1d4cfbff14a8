/* kernels/cuda/common.cuh - the device, launches, and what several kernels
 * share: numbers of every stored type, sums over a warp, activations.
 *
 * Rules for kernel code: no atomics on floats (a row's result would depend on
 * the weather); blocks of a launch meet in last_block() and nowhere else; fmaf where a fused product is meant
 * (contraction is off); __syncwarp() between lanes that exchange through shared memory; dynamic shared memory is called
 * smem_raw. */
#ifndef KERNELS_CUDA_COMMON_CUH
#define KERNELS_CUDA_COMMON_CUH
#include <cuda_runtime.h>

#include "kernels/cuda/tc.cuh"

extern "C" {
#include "kernels/half.h"
#include "kernels/kv.h"
}

enum { STAGING = 4 << 20, STAGES_IN_FLIGHT = 2 };   /* bytes and number of the pinned upload buffers */
enum { WORK = 64 << 20 };                           /* bytes of partial results of split attention   */

struct device {
    cudaStream_t stream;       /* owned */
    cudaError_t  error;        /* the first; everything after it is skipped */
    char         text[256];    /* the error as sync() tells it              */
    char        *staging;      /* owned; pinned (STAGES_IN_FLIGHT, STAGING) */
    cudaEvent_t  copied[STAGES_IN_FLIGHT];  /* owned; a buffer's copies are done */
    int          stage;        /* the buffer that is being filled ...       */
    size_t       staged;       /* ... up to here                            */
    float       *work;         /* owned (WORK bytes)                        */
    unsigned    *arrived;      /* owned; counts blocks, see last_block(); 0 between launches */
    bool         rounds;       /* linear rounds x to int8 where W is int8, see linear_int8.cu */
    int          processors;
    struct blas  *blas;        /* owned; NULL: own kernels multiply, see blas.cu     */
    struct graph *graphs;      /* owned (n_graphs): recorded steps, see graphs.cu ... */
    int          n_graphs, recorded_key;
    bool         recording;    /* ... and one that is not complete */
};

void device_check(struct device *dev, const char *what);         /* remembers an error of the last call */
void device_fail(struct device *dev, const char *what, cudaError_t e);   /* remembers e */
void device_forget_graphs(struct device *dev);
void *device_stage(struct device *dev, size_t n);                /* pinned memory for one upload; n <= STAGING */
void device_send(struct device *dev, void *dst, const void *staged, size_t n);

#ifdef CUSIM
#define LAUNCH_RAW(kernel, grid, block, shared, stream, ...) \
    cusim::launch(#kernel, kernel, (grid), (block), (shared), (stream), __VA_ARGS__)
#else
#define LAUNCH_RAW(kernel, grid, block, shared, stream, ...) \
    (kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#endif

/* A kernel with template arguments goes in parentheses. */
#define LAUNCH(dev, kernel, grid, block, shared, ...)                                        \
    do {                                                                                     \
        if ((dev)->error == cudaSuccess) {                                                   \
            LAUNCH_RAW(kernel, grid, block, (size_t)(shared), (dev)->stream, __VA_ARGS__);   \
            device_check(dev, #kernel);                                                      \
        }                                                                                    \
    } while (0)

/* More than the 48 KiB of dynamic shared memory that every kernel may use: ask once. */
#define ALLOW_SHARED(dev, kernel, bytes)                                                                              \
    do {                                                                                                              \
        static bool asked_;                                                                                           \
        if (!asked_ && (bytes) > 48 << 10) {                                                                          \
            cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes));  \
            device_check(dev, #kernel);                                                                               \
            asked_ = true;                                                                                            \
        }                                                                                                             \
    } while (0)

static inline unsigned blocks_for(size_t n, int per_block)
{
    return (unsigned)((n + (size_t)per_block - 1) / (size_t)per_block);
}

/* Elements from one row of a packed weight to the next: rows of 16 bytes, for cp.async. */
static inline int packed_stride(const struct weight *w)
{
    return w->layout == LAYOUT_DEPTHWISE ? w->in : (w->in + 7) / 8 * 8;
}

__device__ __forceinline__ float *row_of(const struct tensor &t, int r)
{
    return (float *)t.data + (size_t)r * (size_t)t.stride;
}

/* Number i of an array of floats of any type. */
__device__ __forceinline__ float load_as(enum dtype t, const void *p, size_t i)
{
    if (t == F32)
        return ((const float *)p)[i];
    return t == BF16 ? __bfloat162float(((const bf16 *)p)[i]) : __half2float(((const f16 *)p)[i]);
}

__device__ __forceinline__ void store_as(enum dtype t, void *p, size_t i, float x)
{
    if (t == F32)
        ((float *)p)[i] = x;
    else if (t == BF16)
        ((bf16 *)p)[i] = __float2bfloat16(x);
    else
        ((f16 *)p)[i] = __float2half(x);
}

/* Of a cache (kernels/kv.h): a head begins with its scale. */
static __host__ __device__ inline bool has_scale(enum dtype t) { return t == Q8 || t == F8; }

/* The nearest number of int8. */
static __device__ __forceinline__ uint32_t int8_bits(float x)
{
    return (uint32_t)(int)fminf(fmaxf(x + 0x1.8p23f - 0x1.8p23f, -127), 127) & 0xff;
}

/* e4m3, but for NaN: the bits of a float16 that is 2^8 too small. */
static __device__ __forceinline__ float e4m3_of(uint32_t b)
{
    uint16_t h = (uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7);
    f16 x;
    memcpy((void *)&x, &h, sizeof h);
    return __half2float(x) * 256;
}

/* Two floats as one register of a fragment, the first in the low half. */
__device__ __forceinline__ uint32_t pair_of(float a, float b, bf16)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    uint32_t u;
    memcpy(&u, &v, 4);
    return u;
}

__device__ __forceinline__ uint32_t pair_of(float a, float b, f16)
{
    __half2 v = __floats2half2_rn(a, b);
    uint32_t u;
    memcpy(&u, &v, 4);
    return u;
}

__device__ __forceinline__ float float_of(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float float_of(f16 x) { return __half2float(x); }
__device__ __forceinline__ void round_to(bf16 &to, float x) { to = __float2bfloat16(x); }
__device__ __forceinline__ void round_to(f16 &to, float x) { to = __float2half(x); }

template <class H> __device__ __forceinline__ float rest_of(float x, H)     /* what rounding x to H leaves */
{
    H h;
    round_to(h, x);
    return x - float_of(h);
}

/* Two floats as factors for tensor cores without losing them: rounded, and what that leaves, rounded. With bfloat16 the
 * sum of both has 16 to 17 bits. */
template <class H> __device__ __forceinline__ void split_pair(uint32_t &high, uint32_t &low, float a, float b, H)
{
    high = pair_of(a, b, H());
    low = pair_of(rest_of(a, H()), rest_of(b, H()), H());
}

/* d += (high + low) b */
template <class H> __device__ __forceinline__ void
mma_split(float (&d)[4], const uint32_t (&high)[4], const uint32_t (&low)[4], uint32_t b0, uint32_t b1, H)
{
    mma(d, high, b0, b1, H());
    mma(d, low, b0, b1, H());
}

/* The sum over the 32 lanes, which every lane gets: always in the same order. */
__device__ __forceinline__ float warp_sum(float x)
{
    for (int i = 16; i > 0; i >>= 1)
        x += __shfl_xor_sync(~0u, x, i);
    return x;
}

/* The blocks of a launch come here when they are done. True for all threads of the last one, which then sees what the
 * others have stored. arrived: 0 before, and again when the last has come. */
__device__ __forceinline__ bool last_block(unsigned *arrived, unsigned blocks)
{
    __shared__ int last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicInc(arrived, blocks - 1) == blocks - 1;
    __syncthreads();
    if (last)
        __threadfence();
    return last;
}

/* As ref_act1() of kernels/ref, formula by formula; sources stand there. */
__device__ __forceinline__ float activate(enum act act, float x)
{
    switch (act) {
    case ACT_RELU:       return fmaxf(x, 0);
    case ACT_RELU6:      return fminf(fmaxf(x, 0), 6);
    case ACT_SILU:       return x / (1 + expf(-x));
    case ACT_GELU:       return 0.5f * x * (1 + erff(x * 0.70710678f));
    case ACT_GELU_TANH:  return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case ACT_QUICK_GELU: return x / (1 + expf(-1.702f * x));
    case ACT_TANH:       return tanhf(x);
    case ACT_NONE:       break;
    }
    return x;
}

/* ---- the table's functions, one or a few per file ---- */

extern "C" {
void  *cuda_alloc(struct device *, size_t n);
void   cuda_free(struct device *, void *);
void   cuda_upload(struct device *, void *dst, const void *src, size_t n);
int    cuda_pack(struct device *, struct weight *out, const struct slab *, int n, const float *bias, enum dtype want,
                 struct err *);
void   cuda_release(struct device *, struct weight *);
size_t cuda_packed_bytes(const struct weight *shape, enum dtype want);
void cuda_embed(struct device *, struct tensor out, const struct weight *, const int *ids);
void cuda_linear(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct epilogue *);
void cuda_norm(struct device *, struct tensor x, const struct norms *);
void cuda_act(struct device *, struct tensor out, struct tensor x, enum act, bool glu);
void cuda_add(struct device *, struct tensor out, struct tensor a, struct tensor b);
void cuda_copy(struct device *, struct tensor out, struct tensor x);
void cuda_fuse(struct device *, struct tensor out, struct tensor a, struct tensor b, struct tensor logits);
void cuda_route(struct device *, const struct routes *out, struct tensor logits, const struct router *);
void cuda_linear_grouped(struct device *, struct tensor out, struct tensor x, const struct experts *, const int *first,
                         enum act act, bool glu);
void cuda_prep(struct device *, struct tensor q, struct tensor k, struct tensor v, const struct heads *, const int *pos,
               const struct kv *, int layer, const int *slot);
void cuda_attend(struct device *, struct tensor out, struct tensor q, const struct kv *, int layer,
                 const struct heads *, const struct batch *, const struct view *);
void cuda_prep_attend(struct device *, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                      const struct kv *, int layer, const struct heads *, const struct batch *, const struct view *);
void cuda_attend_ragged(struct device *, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                        const struct heads *, int n_seg, const int *q_first, const int *kv_first);
void cuda_pixels(struct device *, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift);
void cuda_resample(struct device *, uint8_t *out, const uint8_t *in, int outer, int from, int inner,
                   const struct resampling *);
void cuda_conv2d(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
void cuda_dwconv2d(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
void cuda_gather(struct device *, struct tensor out, struct tensor x, int taps, const int *idx, const float *w);
void cuda_scatter(struct device *, struct tensor out, struct tensor x, const int *idx, bool add);
void cuda_mask(struct device *, struct tensor logits, const uint32_t *allowed);
void cuda_penalize(struct device *, struct tensor logits, const struct seen *, const int *first,
                   const struct penalty *);
void cuda_sample(struct device *, int *ids, struct tensor logits, const struct sampling *);
void cuda_record(struct device *, int key);
bool cuda_replay(struct device *, int key);
void cuda_logprobs(struct device *, int *top, float *lp, struct tensor logits, const int *chosen, int top_n);
}

#endif
