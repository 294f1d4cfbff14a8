/* kernels/cpu/simd.h - vectors of LANES floats for the inner loops, in the
 * compiler's vector types; intrinsics only where these give worse code.
 *
 * LANES follows from the instruction set the file is compiled for; a test
 * defines it to try the wide loops on a narrow machine. USE_NEON asks for ARM64's
 * instructions, which the compiler has for every file, also for the generic loops.
 * Every function does the same to each lane, and sums lanes in one order, so a
 * result does not depend on which lane or tile a number lies in. */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/ops.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(USE_NEON)
#include <arm_neon.h>
#endif
#ifndef LANES
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#endif

#pragma GCC diagnostic ignored "-Wpsabi" /* all of these are inlined */
#define INLINE static inline __attribute__((always_inline, unused))

typedef float    vf __attribute__((vector_size(LANES * 4), may_alias));
typedef float    vf_any __attribute__((vector_size(LANES * 4), may_alias, aligned(4))); /* anywhere in memory */
typedef uint32_t vu __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t  vi __attribute__((vector_size(LANES * 4), may_alias));
typedef uint16_t vh __attribute__((vector_size(LANES * 2), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(LANES * 2), may_alias, aligned(2)));
typedef int8_t   vb_any __attribute__((vector_size(LANES), may_alias, aligned(1)));
typedef float    v4 __attribute__((vector_size(16), may_alias));

typedef float    vf_pairs __attribute__((vector_size(LANES * 4), may_alias, aligned(2))); /* of 16-bit numbers   */

INLINE vf   v_set(float x) { return x - (vf){ 0 }; }
INLINE vf   v_load(const float *p) { return *(const vf_any *)p; }
INLINE vf   v_load_pairs(const void *p) { return *(const vf_pairs *)p; }
INLINE void v_store(float *p, vf x) { *(vf_any *)p = x; }

/* The same where many vectors are stored beside multiplications: two stores of half a vector hold them up less than a
 * whole one (int8.inc). */
INLINE void v_store_halves(float *p, vf x)
{
#if LANES == 16 && defined(__AVX512DQ__)
    _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)x));
    _mm256_storeu_ps(p + 8, _mm512_extractf32x8_ps((__m512)x, 1));
#else
    v_store(p, x);
#endif
}

/* The first n lanes, the others zero. */
INLINE vf v_load_n(const float *p, int n)
{
    if (n >= LANES)
        return v_load(p);
    vf x = { 0 };
    memcpy(&x, p, sizeof *p * (size_t)n);
    return x;
}

/* Writes the first n lanes and nothing behind them. */
INLINE void v_store_n(float *p, vf x, int n)
{
    if (n >= LANES)
        v_store(p, x);
    else
        memcpy(p, &x, sizeof *p * (size_t)n);
}

/* Does v_fma() round once? */
#if (LANES == 16 && defined(__AVX512F__)) || (LANES == 8 && defined(__FMA__)) || defined(USE_NEON)
#define V_FMA 1
#else
#define V_FMA 0
#endif

/* a b + c, rounded once where the processor can. */
INLINE vf v_fma(vf a, vf b, vf c)
{
#if LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8 && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(USE_NEON)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

INLINE vf v_select(vu mask, vf yes, vf no) { return (vf)(((vu)yes & mask) | ((vu)no & ~mask)); }

/* b where either is NaN, as the instructions do. */
#if LANES == 16 && defined(__AVX512F__)
INLINE vf v_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf v_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif LANES == 8 && defined(__AVX2__)
INLINE vf v_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf v_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE vf v_max(vf a, vf b) { return v_select((vu)(a > b), a, b); }
INLINE vf v_min(vf a, vf b) { return v_select((vu)(a < b), a, b); }
#endif

/* ((0 + 2) + (1 + 3)) of the four lanes that are left when the upper half has been added to the lower. */
INLINE v4 v_fold(vf x)
{
#if LANES == 16
    typedef float v8 __attribute__((vector_size(32)));
    v8 y = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(y, y, 0, 1, 2, 3) + __builtin_shufflevector(y, y, 4, 5, 6, 7);
#elif LANES == 8
    return __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
#else
    return (v4)x;
#endif
}

/* Four sums at once; each is bit by bit v_sum of its vector. */
INLINE v4 v_sum4(vf a, vf b, vf c, vf d)
{
    v4 p = v_fold(a), q = v_fold(b), r = v_fold(c), s = v_fold(d);
    v4 pq = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
    v4 rs = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
    return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) + __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
}

/* The order is that of v_fold(), whatever the instruction set has for it. */
INLINE float v_sum(vf x)
{
    v4 p = v_fold(x);
    return (p[0] + p[2]) + (p[1] + p[3]);
}

INLINE float v_largest(vf x)
{
#if LANES == 16 && defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    float max = x[0];
    for (int i = 1; i < LANES; i++)
        max = x[i] > max ? x[i] : max;
    return max;
#endif
}

/* LANES numbers of 16 bits, each in 32. */
INLINE vu v_widen(const void *p)
{
#if LANES == 16 && defined(__AVX512F__)
    return (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
#elif LANES == 8 && defined(__AVX2__)
    return (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128(p));
#else
    return __builtin_convertvector(*(const vh_any *)p, vu);
#endif
}

/* LANES bytes with their signs. */
INLINE vi v_widen_bytes(const void *p)
{
#if LANES == 16 && defined(__AVX512F__)
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128(p));
#elif LANES == 8 && defined(__AVX2__)
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
#elif defined(USE_NEON)
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return (vi)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(word))));
#else
    return __builtin_convertvector(*(const vb_any *)p, vi);
#endif
}

/* Integers of -128 .. 127 as bytes, those of a first. */
INLINE vi v_bytes(vi a, vi b, vi c, vi d)
{
#if LANES == 16 && defined(__AVX512BW__)
    __m512i mixed = _mm512_packs_epi16(_mm512_packs_epi32((__m512i)a, (__m512i)b),
                                       _mm512_packs_epi32((__m512i)c, (__m512i)d));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return (vi)_mm512_permutexvar_epi32(order, mixed);
#else
    vi all = { 0 }, from[4] = { a, b, c, d };
    for (int i = 0; i < 4; i++) {
        vb_any bytes = __builtin_convertvector(from[i], vb_any);
        memcpy((char *)&all + i * LANES, &bytes, sizeof bytes);
    }
    return all;
#endif
}

/* e4m3, as f8_get(): moved to a float's place, then 2^120 too small. */
INLINE vf v_f8(vi q) { return (vf)(((vu)q & 0x80000000) | ((vu)q & 0x7f) << 20) * 0x1p120f; }

/* LANES numbers of a plain type as floats. The caller makes t a constant, so that one of the branches remains. */
INLINE vf v_get(enum dtype t, const void *p)
{
    if (t == F32)
        return v_load(p);
    if (t == BF16)
        return (vf)(v_widen(p) << 16);
#if LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif LANES == 8 && defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
#elif defined(USE_NEON)
    uint64_t halves;
    memcpy(&halves, p, sizeof halves);
    return (vf)vcvt_f32_f16(vcreate_f16(halves));
#else
    vu h = v_widen(p), rest = (h & 0x7fff) << 13;         /* as f16_get() */
    vu special = (vu)(rest >= 0x0f800000) & 0x7f800000;
    return (vf)((h & 0x8000) << 16 | special | (vu)((vf)rest * v_set(0x1p112f)));
#endif
}

/* The first n numbers, the others zero; nothing behind them is read. */
INLINE vf v_get_n(enum dtype t, const void *p, int n)
{
    if (n >= LANES)
        return v_get(t, p);
    char part[LANES * 4] = { 0 };
    memcpy(part, p, (size_t)n * dtype_size(t));
    return v_get(t, part);
}

/* Rows are computed in tiles of `most`; what is left over in tiles of the powers of two below. Loops are compiled for
 * these. */
INLINE int tile_size(int left, int most)
{
    if (left >= most)
        return most;
    for (int size = 8; size > 1; size /= 2)
        if (left >= size && size < most)
            return size;
    return 1;
}

/* e^x within 2 units in the last place; 0 under -87.3, finite over 88.4, NaN for NaN (Cephes' polynomial). */
INLINE vf v_exp(vf x)
{
    const vf magic = v_set(0x1.8p23f); /* adding it rounds to an integer in the low bits */
    vf lowest = v_set(-87.33654f);
    vf c = v_min(v_set(88.37f), v_max(lowest, x));
    vf t = v_fma(c, v_set(1.44269504f), magic), n = t - magic;
    vf r = v_fma(n, v_set(2.12194440e-4f), v_fma(n, v_set(-0.693359375f), c));
    vf p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
    return (vf)((vu)(p * (vf)(((vu)t - (vu)magic + 127) << 23)) & ~(vu)(x < lowest));
}

INLINE vf v_sigmoid(vf x) { return 1.0f / (v_exp(-x) + 1.0f); }

/* x times the normal distribution's integral, from erfc (Abramowitz & Stegun 7.1.26, error 1.5e-7). */
INLINE vf v_gelu(vf x)
{
    vf z = (vf)((vu)x & 0x7fffffff) * 0.70710678f, t = 1.0f / (z * 0.3275911f + 1.0f);
    vf p = v_set(1.061405429f);
    p = v_fma(p, t, v_set(-1.453152027f));
    p = v_fma(p, t, v_set(1.421413741f));
    p = v_fma(p, t, v_set(-0.284496736f));
    p = v_fma(p, t, v_set(0.254829592f));
    vf half_erfc = p * t * v_exp(-z * z) * 0.5f;
    return x * v_select((vu)(x < 0.0f), half_erfc, 1.0f - half_erfc);
}

/* 2 sigmoid(2 x) - 1. Near zero it is off by a rounding of 1, not of itself. */
INLINE vf v_tanh(vf x) { return v_sigmoid(x * 2.0f) * 2.0f - 1.0f; }

/* The activation of a vector. The formulas are those of ref.h; gelu_tanh is written with a sigmoid, since 1 + tanh(z) =
 * 2 sigmoid(2 z). */
INLINE vf v_act(enum act act, vf x)
{
    switch (act) {
    case ACT_RELU:       return v_max(x, v_set(0));
    case ACT_RELU6:      return v_min(v_max(x, v_set(0)), v_set(6));
    case ACT_SILU:       return x * v_sigmoid(x);
    case ACT_GELU:       return v_gelu(x);
    case ACT_GELU_TANH:  return x * v_sigmoid((x * x * 0.044715f + 1.0f) * x * 1.59576912f);
    case ACT_QUICK_GELU: return x * v_sigmoid(x * 1.702f);
    case ACT_TANH:       return v_tanh(x);
    case ACT_NONE:       break;
    }
    return x;
}

#endif
