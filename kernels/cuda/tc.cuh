/* kernels/cuda/tc.cuh - tensor cores and asynchronous copies: the only inline
 * PTX of the project. Each has a reference in C++ for the emulator.
 *
 * Fragments of m16n8k16, lane = 4 g + t:
 *   a[0..3]  rows g, g+8, g, g+8; columns 2t, 2t+1 (a[2], a[3]: + 8)
 *   b[0..1]  column g; rows 2t, 2t+1 (b[1]: + 8)
 *   d[0..3]  rows g, g, g+8, g+8; columns 2t, 2t+1, 2t, 2t+1
 * Of m16n8k32, bytes: a and b hold columns 4t .. 4t+3 of a row, and + 16. */
#ifndef KERNELS_CUDA_TC_CUH
#define KERNELS_CUDA_TC_CUH
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;
typedef __half        f16;

#ifndef CUSIM

__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bf16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, f16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Of signed bytes; the sums are exact. */
__device__ __forceinline__ void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four 8x8 matrices of 16-bit numbers; lane 8 i + r gives the address of row r of matrix i. */
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const void *row)
{
    uint32_t s = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s) : "memory");
}

__device__ __forceinline__ void ldmatrix_transposed(uint32_t (&r)[4], const void *row)
{
    uint32_t s = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s) : "memory");
}

/* 16 bytes to shared memory, there after the wait; zeros if not `valid` (then nothing is read). */
__device__ __forceinline__ void cp_async(void *dst, const void *src, bool valid)
{
    uint32_t s = (uint32_t)__cvta_generic_to_shared(dst);
    int n = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(s), "l"(src), "r"(n) : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Until at most N of this thread's groups are not there. */
template <int N> __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#else /* ---- the same on the emulator ---- */

namespace cusim {
struct mma_in { uint32_t a[4], b[2]; float d[4]; };
struct mma_s8_in { uint32_t a[4], b[2]; int d[4]; };
struct ldmatrix_in { const void *row; int transposed; };

CUSIM_RAW static inline float half_of(uint32_t pair, int high, bf16)
{
    uint32_t u = high ? pair & 0xffff0000u : pair << 16;
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}

CUSIM_RAW static inline float half_of(uint32_t pair, int high, f16)
{
    __half_raw h;
    h.x = (unsigned short)(high ? pair >> 16 : pair);
    return __half2float(__half(h));
}

/* The emulator's mma.sync m16n8k16: gathers both matrices from the lanes' registers, multiplies, and deals the sums
 * out. */
template <class T> CUSIM_RAW inline void mma_fn(unsigned mask, void *const in[32], void *const out[32])
{
    typedef float v8 __attribute__((vector_size(32), aligned(4)));     /* the columns; each sums in the order of k */
    float A[16][16], B[16][8], D[16][8];
    if (mask != ~0u)
        cusim_error("mma-divergent", 0, "mma.sync with mask %08x", mask);
    for (int l = 0; l < 32; l++) {
        const mma_in *x = (const mma_in *)in[l];
        int g = l >> 2, t = (l & 3) * 2;
        for (int e = 0; e < 2; e++) {
            for (int i = 0; i < 4; i++)
                A[g + (i & 1) * 8][t + (i >> 1) * 8 + e] = half_of(x->a[i], e, T());
            for (int i = 0; i < 2; i++)
                B[t + i * 8 + e][g] = half_of(x->b[i], e, T());
        }
    }
    for (int r = 0; r < 16; r++) {
        v8 sum = {};
        for (int k = 0; k < 16; k++)
            sum += A[r][k] * *(const v8 *)B[k];
        *(v8 *)D[r] = sum;
    }
    for (int l = 0; l < 32; l++) {
        const float *d = ((const mma_in *)in[l])->d;
        for (int i = 0; i < 4; i++)
            ((float *)out[l])[i] = d[i] + D[(l >> 2) + (i >> 1) * 8][(l & 3) * 2 + (i & 1)];
    }
}

/* The same for m16n8k32 of signed bytes with exact sums. */
CUSIM_RAW inline void mma_s8_fn(unsigned mask, void *const in[32], void *const out[32])
{
    typedef int v8 __attribute__((vector_size(32), aligned(4)));
    int A[16][32], B[32][8], D[16][8];
    if (mask != ~0u)
        cusim_error("mma-divergent", 0, "mma.sync with mask %08x", mask);
    for (int l = 0; l < 32; l++) {
        const mma_s8_in *x = (const mma_s8_in *)in[l];
        int g = l >> 2, t = (l & 3) * 4;
        for (int e = 0; e < 4; e++) {
            for (int i = 0; i < 4; i++)
                A[g + (i & 1) * 8][t + (i >> 1) * 16 + e] = (signed char)(x->a[i] >> 8 * e);
            for (int i = 0; i < 2; i++)
                B[t + i * 16 + e][g] = (signed char)(x->b[i] >> 8 * e);
        }
    }
    for (int r = 0; r < 16; r++) {
        v8 sum = {};
        for (int k = 0; k < 32; k++)
            sum += A[r][k] * *(const v8 *)B[k];
        *(v8 *)D[r] = sum;
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++)
            ((int *)out[l])[i] = ((const mma_s8_in *)in[l])->d[i] + D[(l >> 2) + (i >> 1) * 8][(l & 3) * 2 + (i & 1)];
}

/* The emulator's ldmatrix.x4: lane l gets two numbers of row l / 4 of each of four 8 x 8 matrices, whose rows the lanes
 * name. */
CUSIM_RAW inline void ldmatrix_fn(unsigned mask, void *const in[32], void *const out[32])
{
    if (mask != ~0u)
        cusim_error("ldmatrix-divergent", 0, "ldmatrix with mask %08x", mask);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            uint16_t v[2];
            for (int e = 0; e < 2; e++) {
                int row = l >> 2, col = (l & 3) * 2 + e;
                bool transposed = ((const ldmatrix_in *)in[l])->transposed;
                const ldmatrix_in *from = (const ldmatrix_in *)in[i * 8 + (transposed ? col : row)];
                __builtin_memcpy(&v[e], (const char *)from->row + 2 * (transposed ? row : col), 2);
            }
            ((uint32_t *)out[l])[i] = (uint32_t)v[1] << 16 | v[0];
        }
}
}

template <class T> CUSIM_CALL void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T)
{
    cusim::mma_in in = { { a[0], a[1], a[2], a[3] }, { b0, b1 }, { d[0], d[1], d[2], d[3] } };
    cusim_warp(cusim::MMA, ~0u, &in, d, cusim::mma_fn<T>, CUSIM_PC);
    CUSIM_FENCE();
}

CUSIM_CALL void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    cusim::mma_s8_in in = { { a[0], a[1], a[2], a[3] }, { b0, b1 }, { d[0], d[1], d[2], d[3] } };
    cusim_warp(cusim::MMA_S8, ~0u, &in, d, cusim::mma_s8_fn, CUSIM_PC);
    CUSIM_FENCE();
}

CUSIM_CALL void cusim_ldmatrix(uint32_t (&r)[4], const void *row, int transposed, void *pc)
{
    cusim::ldmatrix_in in = { row, transposed };
    if ((uintptr_t)row & 15)
        cusim_error("misaligned", pc, "the address of a row of ldmatrix is %p", row);
    shadow_access((uintptr_t)row, 16, 0, pc);
    cusim_warp(cusim::LDMATRIX, ~0u, &in, r, cusim::ldmatrix_fn, pc);
    CUSIM_FENCE();
}

CUSIM_CALL void ldmatrix(uint32_t (&r)[4], const void *row) { cusim_ldmatrix(r, row, 0, CUSIM_PC); }
CUSIM_CALL void ldmatrix_transposed(uint32_t (&r)[4], const void *row) { cusim_ldmatrix(r, row, 1, CUSIM_PC); }
CUSIM_CALL void cp_async(void *dst, const void *src, bool valid)
{
    cusim_cp_async(dst, src, 16, valid ? 16 : 0, CUSIM_PC);
    CUSIM_FENCE();
}
CUSIM_PLAIN void cp_async_commit() { cusim_cp_async_commit(); }
template <int N> CUSIM_PLAIN void cp_async_wait() { cusim_cp_async_wait(N); CUSIM_FENCE(); }

#endif
#endif
