/* tests/cusim/cusim.h - included before everything (-include) when a .cu file
 * is compiled by g++ as C++ for the emulator.
 *
 * NVIDIA's own headers supply the types: float4, dim3, __half, __nv_bfloat16
 * and their conversions work on the host. Here is what they leave out. */
#ifndef TESTS_CUSIM_CUSIM_H
#define TESTS_CUSIM_CUSIM_H
#define CUSIM 1
#include <cuda_runtime.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

using std::isnan;

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
/* Accepts `__shared__ float t[32];`, static at block scope, and `extern __shared__ unsigned char smem_raw[];` alike. */
#define __shared__ thread_local

extern "C" {
typedef void (*warp_fn)(unsigned mask, void *const in[32], void *const out[32]);
int      cusim_barrier(int op, int value, void *pc);
void     cusim_warp(int kind, unsigned mask, const void *in, void *out, warp_fn fn, void *pc);
unsigned cusim_activemask(void);
void     shadow_access(uintptr_t a, int n, int how, void *pc);
void     shadow_fence(void);
unsigned cusim_arrival(unsigned old, unsigned most);
void     cusim_cp_async(void *dst, const void *src, int n, int n_src, void *pc);
void     cusim_cp_async_commit(void);
void     cusim_cp_async_wait(int keep);
void     cusim_error(const char *kind, void *pc, const char *fmt, ...);
cudaError_t cusim_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const void *fn,
                         void (*thunk)(const void *), const void *params, size_t n);
/* const: they do not change during a CUDA thread's life, so the compiler may keep them. */
uint3 cusim_thread_idx(void) __attribute__((const));
uint3 cusim_block_idx(void) __attribute__((const));
uint3 cusim_block_dim(void) __attribute__((const));
uint3 cusim_grid_dim(void) __attribute__((const));
}

#define threadIdx (cusim_thread_idx())
#define blockIdx (cusim_block_idx())
#define blockDim (cusim_block_dim())
#define gridDim (cusim_grid_dim())
#define warpSize 32

/* Not inlined: the return address is then the kernel's line. */
#define CUSIM_CALL __attribute__((noinline, no_sanitize("thread"))) inline
#define CUSIM_PLAIN static inline __attribute__((always_inline))
#define CUSIM_RAW __attribute__((no_sanitize("thread", "undefined")))
#define CUSIM_PC __builtin_return_address(0)
#define CUSIM_FENCE() __asm__ volatile("" ::: "memory")

CUSIM_CALL void __syncthreads() { cusim_barrier(0, 0, CUSIM_PC); CUSIM_FENCE(); }
CUSIM_CALL int __syncthreads_count(int p) { return cusim_barrier(0, p, CUSIM_PC); }
CUSIM_CALL int __syncthreads_and(int p) { return cusim_barrier(1, p, CUSIM_PC); }
CUSIM_CALL int __syncthreads_or(int p) { return cusim_barrier(2, p, CUSIM_PC); }
CUSIM_CALL void __syncwarp(unsigned mask = ~0u) { cusim_warp(0, mask, 0, 0, 0, CUSIM_PC); CUSIM_FENCE(); }
CUSIM_PLAIN unsigned __activemask() { return cusim_activemask(); }

/* ---- warp operations ---- */

namespace cusim {
enum { SHUFFLE = 1, SHUFFLE_XOR, SHUFFLE_DOWN, SHUFFLE_UP, BALLOT, MMA, MMA_S8, LDMATRIX };

struct shuffle_in { uint64_t value; int arg, width; };

template <int KIND> CUSIM_RAW inline void shuffle_fn(unsigned mask, void *const in[32], void *const out[32])
{
    for (int l = 0; l < 32; l++) {
        if (!(mask >> l & 1))
            continue;
        const shuffle_in *s = (const shuffle_in *)in[l];
        int base = l & ~(s->width - 1), from = l;
        if (KIND == SHUFFLE)
            from = base + (s->arg & (s->width - 1));
        else
            from = KIND == SHUFFLE_XOR ? l ^ s->arg : KIND == SHUFFLE_DOWN ? l + s->arg : l - s->arg;
        if (from < base || from >= base + s->width)
            from = l;
        if (!(mask >> from & 1)) {
            cusim_error("shuffle-from-inactive", 0, "lane %d reads lane %d, which is not in mask %08x", l, from, mask);
            from = l;
        }
        *(uint64_t *)out[l] = ((const shuffle_in *)in[from])->value;
    }
}

template <int KIND, class T> CUSIM_CALL T shuffle(unsigned mask, T v, int arg, int width)
{
    static_assert(sizeof(T) <= 8, "at most 8 bytes");
    shuffle_in in = { 0, arg, width };
    uint64_t out = 0;
    T r;
    memcpy(&in.value, &v, sizeof v);
    cusim_warp(KIND, mask, &in, &out, shuffle_fn<KIND>, CUSIM_PC);
    memcpy((void *)&r, &out, sizeof r);
    return r;
}

CUSIM_RAW inline void ballot_fn(unsigned mask, void *const in[32], void *const out[32])
{
    unsigned r = 0;
    for (int l = 0; l < 32; l++)
        r |= (mask >> l & 1) && *(int *)in[l] ? 1u << l : 0;
    for (int l = 0; l < 32; l++)
        if (mask >> l & 1)
            *(unsigned *)out[l] = r;
}
}

template <class T> CUSIM_PLAIN T __shfl_sync(unsigned m, T v, int s,
                                             int w = 32) { return cusim::shuffle<cusim::SHUFFLE>(m, v, s, w); }
template <class T> CUSIM_PLAIN T __shfl_xor_sync(unsigned m, T v, int s,
                                                 int w = 32) { return cusim::shuffle<cusim::SHUFFLE_XOR>(m, v, s, w); }
template <class T> CUSIM_PLAIN T __shfl_down_sync(unsigned m, T v, unsigned s,
                                                  int w = 32) { return cusim::shuffle<cusim::SHUFFLE_DOWN>(m, v,
                                                                                                           (int)s, w); }
template <class T> CUSIM_PLAIN T __shfl_up_sync(unsigned m, T v, unsigned s,
                                                int w = 32) { return cusim::shuffle<cusim::SHUFFLE_UP>(m, v, (int)s,
                                                                                                       w); }

CUSIM_CALL unsigned __ballot_sync(unsigned mask, int p)
{
    unsigned out = 0;
    cusim_warp(cusim::BALLOT, mask, &p, &out, cusim::ballot_fn, CUSIM_PC);
    return out;
}
CUSIM_PLAIN int __any_sync(unsigned m, int p) { return __ballot_sync(m, p) != 0; }
CUSIM_PLAIN int __all_sync(unsigned m, int p) { return __ballot_sync(m, !p) == 0; }

/* One OS thread runs a block, so plain reading and writing is atomic. */
template <class T> CUSIM_CALL T atomicAdd(T *p, T v)
{
    shadow_access((uintptr_t)p, (int)sizeof *p, 3, CUSIM_PC);
    T old = *p;
    *p = old + v;
    return old;
}

/* Comes to 0 again after `most`. */
CUSIM_CALL unsigned atomicInc(unsigned *p, unsigned most)
{
    shadow_access((uintptr_t)p, (int)sizeof *p, 3, CUSIM_PC);
    unsigned old = *p;
    *p = old >= most ? 0 : old + 1;
    CUSIM_FENCE();
    return cusim_arrival(old, most);
}

CUSIM_CALL void __threadfence() { shadow_fence(); CUSIM_FENCE(); }

/* ---- arithmetic ---- */

CUSIM_PLAIN float rsqrtf(float x) { return 1 / sqrtf(x); }
CUSIM_PLAIN int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
CUSIM_PLAIN unsigned __float_as_uint(float x) { unsigned i; memcpy(&i, &x, 4); return i; }
CUSIM_PLAIN float __int_as_float(int i) { float x; memcpy(&x, &i, 4); return x; }
CUSIM_PLAIN float __uint_as_float(unsigned i) { float x; memcpy(&x, &i, 4); return x; }
CUSIM_PLAIN unsigned __byte_perm(unsigned a, unsigned b, unsigned s)
{
    uint64_t all = (uint64_t)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; i++)
        r |= (unsigned)(all >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
    return r;
}
CUSIM_PLAIN int __popc(unsigned x) { return __builtin_popcount(x); }
CUSIM_PLAIN int min(int a, int b) { return a < b ? a : b; }
CUSIM_PLAIN int max(int a, int b) { return a > b ? a : b; }

/* ---- launches ---- */

namespace cusim {
template <class... P> struct params { void (*kernel)(P...); std::tuple<std::decay_t<P>...> values; };

template <class... P> void thunk(const void *p)
{
    const params<P...> *q = (const params<P...> *)p;
    std::apply(q->kernel, q->values);
}

/* Parameters are copied now, as on a GPU. */
template <class... P, class... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            A &&...args)
{
    static_assert((std::is_trivially_copyable<std::decay_t<P>>::value && ...), "parameters are copied bytewise");
    static_assert(sizeof(params<P...>) <= 4096, "parameters are at most 4 KiB");
    params<P...> p = { kernel, std::tuple<std::decay_t<P>...>(static_cast<std::decay_t<P>>(args)...) };
    cusim_launch(name, grid, block, shared, stream, (const void *)kernel, thunk<P...>, &p, sizeof p);
}
}

#endif
