/* kernels/cpu/dot4.h - four products of bytes added up in every 32-bit lane,
 * whatever instruction the processor has for it. All give the same integers.
 *
 *   AVX-512 VNNI, AVX-VNNI   vpdpbusd: unsigned times signed bytes
 *   AVX2, AVX-512 BW         vpmaddubsw adds two products in 16 bits, with
 *                            saturation: it is given |w| <= 127 and x with the
 *                            sign of w, whose two products stay below 2^15
 *   ARM64 with FEAT_DotProd  sdot: signed times signed bytes
 *   other ARM64              smull and addp add two products in 16 bits, which
 *                            holds them, since |x| <= 127; sadalp adds these
 *   others                   the compiler's vectors
 *
 * w comes from dot4_bytes() or dot4_levels(), x is a signed byte. A sum starts
 * at dot4_start(sum of x), because the first kind of instruction takes numbers
 * that are too large by DOT4_ZERO. */
#ifndef KERNELS_CPU_DOT4_H
#define KERNELS_CPU_DOT4_H
#include "kernels/cpu/panels.h"
#include "kernels/cpu/simd.h"

INLINE vi vi_set(int32_t x) { return x - (vi){ 0 }; }
INLINE vi vi_load(const void *p) { return *(const vi *)p; }
INLINE vi vi_lanes(void)
{
#if LANES == 16
    return (vi){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
#elif LANES == 8
    return (vi){ 0, 1, 2, 3, 4, 5, 6, 7 };
#else
    return (vi){ 0, 1, 2, 3 };
#endif
}
INLINE vf vi_float(vi x) { return __builtin_convertvector(x, vf); }

/* Four bytes of x for all lanes. */
INLINE vi dot4_spread(const int8_t *x)
{
    int32_t word;
    memcpy(&word, x, sizeof word);
    return vi_set(word);
}

#if LANES == 16 && defined(__AVX512VNNI__)
#define DOT4_UNSIGNED 1
INLINE vi dot4(vi sum, vi w, vi x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
#elif LANES == 8 && defined(__AVXVNNI__)
#define DOT4_UNSIGNED 1
INLINE vi dot4(vi sum, vi w, vi x)
{
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x);
}
#elif LANES == 16 && defined(__AVX512BW__)
#define DOT4_UNSIGNED 0
INLINE vi dot4(vi sum, vi w, vi x)
{
    __m512i s = (__m512i)w,
            signed_x = _mm512_mask_sub_epi8((__m512i)x, _mm512_movepi8_mask(s), _mm512_setzero_si512(), (__m512i)x);
    __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(s), signed_x);
    return sum + (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}
#elif LANES == 8 && defined(__AVX2__)
#define DOT4_UNSIGNED 0
INLINE vi dot4(vi sum, vi w, vi x)
{
    __m256i s = (__m256i)w, pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(s), _mm256_sign_epi8((__m256i)x, s));
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#elif defined(USE_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define DOT4_UNSIGNED 0
INLINE vi dot4(vi sum, vi w, vi x) { return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x); }
#elif defined(USE_NEON)
#define DOT4_UNSIGNED 0
INLINE vi dot4(vi sum, vi w, vi x)
{
    int8x16_t s = (int8x16_t)w, t = (int8x16_t)x;
    int16x8_t pairs = vpaddq_s16(vmull_s8(vget_low_s8(s), vget_low_s8(t)), vmull_high_s8(s, t));
    return (vi)vpadalq_s16((int32x4_t)sum, pairs);
}
#else
#if defined(EMULATE_SIGNED)
#define DOT4_UNSIGNED 0
#else
#define DOT4_UNSIGNED 1
#endif
INLINE vi dot4(vi sum, vi w, vi x)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vi byte = DOT4_UNSIGNED ? (vi)((vu)w >> 8 * i & 255) : (vi)((vu)w << (24 - 8 * i)) >> 24;
        sum += byte * ((vi)((vu)x << (24 - 8 * i)) >> 24);
    }
    return sum;
}
#endif

enum { DOT4_ZERO = DOT4_UNSIGNED ? 128 : 0 };

/* Bytes of int8 in panels, which are too large by Q8_ZERO. */
INLINE vi dot4_bytes(vi w) { return w ^ (int32_t)(DOT4_UNSIGNED ? 0 : 0x80808080); }

/* Half bytes of int4, each in a byte of its own, become their levels (kernels/quant.h). */
INLINE vi dot4_levels(vi w)
{
#define L(half) (char)((half - 8) * (8 + (half < 8 ? 8 - half : half - 8)) + DOT4_ZERO)
    typedef char v16c __attribute__((vector_size(16)));
    static const v16c levels = { L(0), L(1), L(2), L(3), L(4), L(5), L(6), L(7), L(8), L(9), L(10), L(11), L(12), L(13),
                                 L(14), L(15) };
#undef L
#if LANES == 16 && defined(__AVX512BW__)
    return (vi)_mm512_shuffle_epi8(_mm512_broadcast_i32x4((__m128i)levels), (__m512i)w);
#elif LANES == 8 && defined(__AVX2__)
    return (vi)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256((__m128i)levels), (__m256i)w);
#elif defined(USE_NEON)
    return (vi)vqtbl1q_s8((int8x16_t)levels, (uint8x16_t)w);
#else
    v16c part[LANES / 4];
    memcpy(part, &w, sizeof w);
    for (int i = 0; i < LANES / 4; i++)
        part[i] = __builtin_shuffle(levels, part[i]);
    memcpy(&w, part, sizeof w);
    return w;
#endif
}

INLINE int32_t dot4_start(int32_t sum_of_x) { return -DOT4_ZERO * sum_of_x; }

#endif
